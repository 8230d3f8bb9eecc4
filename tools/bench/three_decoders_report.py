"""What three_decoders.py says of its runs: scores, curves and pictures."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib import pyplot

from slot_core import CheckpointError
from slot_data import Shapes, collate
from slot_decoders.models import load_model

sys.path.append(str(Path(__file__).parents[2] / "apps"))

from support.colours import matching_colours
from support.logs import read_events
from support.pictures import colour, enlarged, overlay, pixels, sheet

PICTURES = 6  # that are drawn
SCORES = ("fg_ari", "ari", "miou", "mbo")


def events(out: Path, kind: str) -> list[dict[str, Any]]:
    """The lines of one kind of a run's log, as far as there are any."""
    if not (out / "metrics.jsonl").exists():
        return []
    return [event for event in read_events(out) if event["kind"] == kind]


def write_report(folder: Path, names: Sequence[str], seeds: list[int], image_size: int) -> None:
    """The scores and the pictures of what the runs have written so far."""
    table(folder, names, seeds)
    draw_curves(folder, names, seeds)
    draw_found(folder, names, seeds[0], image_size)


def table(folder: Path, names: Sequence[str], seeds: list[int]) -> None:
    """Mean and standard error over the seeds, of the test where a run came to its end."""
    lines = [f"{'decoder':14}{'steps':>7}" + "".join(f"{score:>17}" for score in SCORES)]
    for name in names:
        runs = [folder / f"{name}-{seed}" for seed in seeds]
        last = [events(run, "test") or events(run, "validation")[-1:] for run in runs]
        scored = [found[-1] for found in last if found]
        if not scored:
            continue
        cells = []
        for score in SCORES:
            values = [line[score] for line in scored]
            error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else None
            cells.append(f"{statistics.mean(values):.3f}" + (f" ({error:.3f})" if error else ""))
        lines.append(f"{name:14}{scored[0]['step']:7}" + "".join(f"{cell:>17}" for cell in cells))
    (folder / "scores.txt").write_text("\n".join(lines) + "\n")


def draw_curves(folder: Path, names: Sequence[str], seeds: list[int]) -> None:
    """Curves of validation over the steps' share of the training."""
    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.2))
    for name in names:
        for number, seed in enumerate(seeds):
            lines = events(folder / f"{name}-{seed}", "validation")
            if not lines:
                continue
            for axis, score in zip(axes, ("fg_ari", "miou"), strict=True):
                axis.plot(
                    [line["step"] / lines[-1]["step"] for line in lines],
                    [line[score] for line in lines],
                    color=f"C{list(names).index(name)}",
                    marker=".",  # so that a single validation is seen, too
                    label=name if number == 0 else None,
                )
    for axis, title in zip(axes, ("FG-ARI", "mIoU"), strict=True):
        axis.set(title=title, xlabel="share of the training", ylim=(0, None))
        if axis.lines:
            axis.legend()
    figure.tight_layout()
    figure.savefig(folder / "curves.png", dpi=100)
    pyplot.close(figure)


@torch.no_grad()
def draw_found(folder: Path, names: Sequence[str], seed: int, image_size: int) -> None:
    """Test pictures, their objects, and the segments of each decoder's encoder over them."""
    dataset = Shapes("test", num_samples=PICTURES, level="textured", image_size=image_size)
    batch: Any = collate([dataset[index] for index in range(PICTURES)])
    pictures, truth = pixels(batch["video"])[:, 0], batch["labels"][:, 0].numpy()
    columns = {"picture": list(pictures), "truth": [colour(labels) for labels in truth]}
    for name in names:
        try:
            model = load_model(folder / f"{name}-{seed}")
        except (CheckpointError, OSError):  # none yet, or an older one is being replaced
            continue
        found = model.segment(batch["video"], source="encoder").argmax(2).numpy()
        columns[name] = []
        for picture, labels, own in zip(pictures, truth, found, strict=True):
            colours = matching_colours(own, labels[None], model.num_slots)[own[0]]
            columns[name].append(overlay(enlarged(picture), enlarged(colours)))
    sheet(columns).save(folder / "found.png")
