"""Outlines of the embedded dataset's objects: each a boolean stamp [2r+1, 2r+1] around a centre,
decided pixel by pixel by an inequality between integers."""

from functools import cache

import numpy as np

OUTLINES = ("disk", "square", "triangle", "diamond")


@cache
def outline(name: str, radius: int) -> np.ndarray:
    """bool [2*radius+1, 2*radius+1], read-only because it is shared between calls."""
    down, right = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    if name == "disk":
        inside = down * down + right * right <= radius * radius
    elif name == "square":
        inside = 20 * np.maximum(abs(down), abs(right)) <= 17 * radius
    elif name == "triangle":  # apex above, base below the centre, nearly equilateral
        inside = (10 * down <= 7 * radius) & (5 * abs(right) <= 3 * (down + radius))
    elif name == "diamond":
        inside = 5 * (abs(down) + abs(right)) <= 6 * radius
    else:
        raise KeyError(name)
    inside.flags.writeable = False
    return inside
