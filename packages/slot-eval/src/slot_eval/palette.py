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
    numbers = labels.cpu().numpy()
    table = [(0.0, 0.0, 0.0)]
    for number in range(1, int(numbers.max(initial=0)) + 1):
        value = 1.0 if number % 2 else 0.7
        table.append(colorsys.hsv_to_rgb(number * GOLDEN % 1, 0.65, value))
    return (np.array(table) * 255).astype(np.uint8)[numbers]
