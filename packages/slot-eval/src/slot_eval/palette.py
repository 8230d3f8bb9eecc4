"""Colours for labels: as different as may be from one number to the next, black for 0."""

import colorsys

import numpy as np
from jaxtyping import Integer, UInt8
from torch import Tensor

GOLDEN = 0.61803398875  # turns of the hue that never come back close to where they were


def coloured(
    labels: Integer[Tensor, "time height width"],
) -> UInt8[np.ndarray, "time height width 3"]:
    """Labels as pictures."""
    numbers, places = np.unique(labels.cpu().numpy(), return_inverse=True)
    table = np.array([colour(number) for number in numbers.tolist()]).reshape(-1, 3)
    return (table * 255).astype(np.uint8)[places.reshape(labels.shape)]


def colour(number: int) -> tuple[float, float, float]:
    """That of one label, in [0, 1]."""
    if number == 0:
        return (0.0, 0.0, 0.0)
    return colorsys.hsv_to_rgb(number * GOLDEN % 1, 0.65, 1.0 if number % 2 else 0.7)
