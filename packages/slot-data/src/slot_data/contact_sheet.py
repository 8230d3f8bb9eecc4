"""Samples side by side with their masks: what a dataset looks like, at a glance."""

import colorsys

import numpy as np
from PIL import Image

from slot_data.sample import DataError, Sample, SampleDataset

MARGIN = 2
MOST_FRAMES = 8  # of one clip; a longer one is shown in even steps


def contact_sheet(dataset: SampleDataset, count: int, columns: int) -> Image.Image:
    """The first `count` samples, `columns` to a row, a clip's frames from left to right; under the
    picture its labels, or else those of classes, black for the background and white for void.

    Raises DataError if a sample has no pixels, as those of slots alone."""
    tiles = [_tile(dataset[index]) for index in range(min(count, len(dataset)))]
    height, width = (max(tile.shape[axis] for tile in tiles) + MARGIN for axis in (0, 1))
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    sheet = np.full((rows * height + MARGIN, columns * width + MARGIN, 3), 255, np.uint8)
    for place, tile in enumerate(tiles):
        top = place // columns * height + MARGIN
        left = place % columns * width + MARGIN
        sheet[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return Image.fromarray(sheet)


def _tile(sample: Sample) -> np.ndarray:
    if "video" not in sample:
        raise DataError(
            f"sample {sample['id']!r} has no pixels; the option pixels=true of slots adds them"
        )
    video = sample["video"].permute(0, 2, 3, 1).numpy()
    chosen = np.unique(np.linspace(0, len(video) - 1, MOST_FRAMES).astype(int))
    rows = [np.concatenate(list(video[chosen]), axis=1)]
    labels = sample.get("labels", sample.get("class_labels"))
    if labels is not None:
        colours = _colours(labels.numpy()[chosen])
        if "void" in sample:
            colours[sample["void"].numpy()[chosen]] = 255
        rows.append(np.concatenate(list(colours), axis=1))
    return np.concatenate(rows)


def _colours(labels: np.ndarray) -> np.ndarray:
    """uint8 [T H W 3]: black, then hues a golden section apart, so neighbours differ."""
    numbers, places = np.unique(labels, return_inverse=True)  # ids may be few and large
    table = np.array([_colour(number) for number in numbers.tolist()], np.uint8)
    return table[places.reshape(labels.shape)]


def _colour(number: int) -> list[int]:
    if not number:
        return [0, 0, 0]
    hue = number * 0.618034 % 1
    return [round(255 * part) for part in colorsys.hsv_to_rgb(hue, 0.45 + number % 2 * 0.3, 1)]
