"""Regions of a picture as COCO annotates them: polygons and run lengths.

Both become run lengths in COCO's sense: the lengths of alternating runs, first outside the region,
then inside, and so on, down the columns from left to right. A polygon covers exactly the pixels
that COCO's own tools give it, which no usual rasteriser does: its vertices go to a grid five times
as fine, its edges are drawn there one grid point per column or row, and where an edge steps to
another column of the grid through the middle of a column of pixels, it marks the first pixel below
it. A pixel is inside where the number of marks before it, counted down the columns, is odd.

Numbers follow the C of those tools: doubles, cut off towards zero where they become integers.
"""

import numpy as np

from slot_data.sample import DataError

FINENESS = 5  # grid points per pixel


def runs_of_polygon(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """int64 run lengths of a polygon.

    points: float [N 2]: x to the right and y down, in pixels from the top left
        corner of the picture. They may lie outside of it.
    """
    x, y = _outline(np.trunc(FINENESS * points + 0.5).astype(np.int64))
    stepped = x[1:] != x[:-1]
    column = np.minimum(x[1:], x[:-1])[stepped]
    row = np.minimum(y[1:], y[:-1])[stepped]
    column, off_centre = np.divmod(column - FINENESS // 2, FINENESS)
    marking = (off_centre == 0) & (column >= 0) & (column <= width - 1)
    below = -((FINENESS // 2 - row[marking]) // FINENESS)
    marks = np.sort(column[marking] * height + below.clip(0, height))
    return np.diff(marks, prepend=0, append=height * width)


def runs_of_text(text: str) -> np.ndarray:
    """int64 run lengths from COCO's compressed form: each number in units of five bits from the
    lowest on, offset by 48, the sixth bit for "more follows"; from the fourth number on, the
    difference to the last but one. Raises DataError where the text is cut off or has other
    characters."""
    runs: list[int] = []
    value = shift = 0
    for character in text:
        unit = ord(character) - 48
        if not 0 <= unit < 64:
            raise DataError(f"character {character!r} is none of compressed run lengths")
        value |= (unit & 31) << shift
        shift += 5
        if unit & 32:
            continue
        value -= (unit & 16) << (shift - 4)  # the sign, of which the highest bit is the last unit's
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    if shift:
        raise DataError("compressed run lengths are cut off")
    return np.array(runs, dtype=np.int64)


def fill(runs: np.ndarray, height: int, width: int) -> np.ndarray:
    """bool [H W]: the region of these run lengths. What they leave open is outside.

    Raises DataError where they are negative or reach beyond the picture.
    """
    total = int(runs.sum())
    if (runs.size and int(runs.min()) < 0) or total > height * width:
        raise DataError(
            f"run lengths sum up to {total}, or are negative; the picture has {height * width} "
            "pixels"
        )
    inside = np.zeros(height * width, dtype=bool)
    inside[:total] = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return inside.reshape(width, height).T


def _outline(vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int64 [M] each: x and y of the grid points along the closed outline, in its direction. Each
    edge has its two ends and one point per column between them, or per row where it is steep."""
    x0, y0 = vertices.T
    x1, y1 = np.roll(vertices, -1, axis=0).T
    wide, tall = np.abs(x1 - x0), np.abs(y1 - y0)
    flat = wide >= tall
    turned = np.where(flat, x0 > x1, y0 > y1)  # an edge is drawn rightwards or downwards
    left, right = np.where(turned, x1, x0), np.where(turned, x0, x1)
    top, bottom = np.where(turned, y1, y0), np.where(turned, y0, y1)
    steps = np.maximum(wide, tall)
    slope = np.where(flat, bottom - top, right - left) / np.maximum(steps, 1)

    edge = np.repeat(np.arange(len(steps)), steps + 1)
    place = np.arange(len(edge)) - np.repeat(np.cumsum(steps + 1) - (steps + 1), steps + 1)
    place = np.where(turned[edge], steps[edge] - place, place)
    along = np.where(flat, left, top)[edge] + place
    start = np.where(flat, top, left)[edge]
    across = np.trunc(start + slope[edge] * place + 0.5).astype(np.int64)
    return np.where(flat[edge], along, across), np.where(flat[edge], across, along)
