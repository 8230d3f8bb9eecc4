"""How fast the embedded dataset draws, and that only its plain level yields to colours.

    uv run python tools/bench/shapes.py

Prints pictures and clips per second of one core through `dataset[i]`, labels included, and the
FG-ARI of k-means on the colours of single pixels (scikit-learn, told the true number of objects).
"""

import time

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from slot_data import Shapes

CLIP_FRAMES = 6
PICTURES_CLUSTERED = 100


def main() -> None:
    torch.set_num_threads(1)
    print(f"{'level':10}{'pictures/s':>12}{f'clips of {CLIP_FRAMES}/s':>15}{'k-means FG-ARI':>18}")
    for level in ("plain", "textured"):
        pictures = samples_per_second(Shapes(level=level), 4000)
        clips = samples_per_second(Shapes(level=level, num_frames=CLIP_FRAMES), 1000)
        score = colour_clustering_score(Shapes("test", level=level))
        print(f"{level:10}{pictures:12.0f}{clips:15.0f}{score:18.3f}")


def samples_per_second(dataset: Shapes, count: int) -> float:
    """Per second of processor time, so that other work on the machine does not count."""
    for index in range(100):  # fills the caches of outlines and texture tiles
        dataset[index]
    start = time.process_time()
    for index in range(count):
        dataset[index]
    return count / (time.process_time() - start)


def colour_clustering_score(dataset: Shapes) -> float:
    """Mean over pictures of the adjusted Rand index on foreground pixels."""
    scores = []
    for index in range(PICTURES_CLUSTERED):
        sample = dataset[index]
        labels = sample.get("labels")
        assert labels is not None, "shapes always has labels"
        colours = sample["video"][0].permute(1, 2, 0).reshape(-1, 3).numpy().astype(np.float64)
        true = labels[0].flatten().numpy()
        clusters = KMeans(int(true.max()) + 1, random_state=0).fit_predict(colours)
        scores.append(adjusted_rand_score(true[true > 0], clusters[true > 0]))
    return float(np.mean(scores))


if __name__ == "__main__":
    main()
