"""Two-tone textures as integer functions of the pixel's place: what tells objects apart when
their colours do not."""

from functools import cache

import numpy as np

TEXTURES = (
    "rows",
    "columns",
    "rising",
    "falling",
    "checkers",
    "dots",
    "grid",
    "bricks",
    "noise",
)
SCALES = 2


def texture(kind: int, height: int, width: int, period: int, phase: int, salt: int) -> np.ndarray:
    """uint8 [height, width] of 0 and 1, each on at least a quarter of the pixels.

    kind indexes TEXTURES, period (>= 4) is the length in pixels of one repetition, phase shifts
    the pattern, salt decides the noise.
    """
    down = np.arange(phase, phase + height)[:, None]
    right = np.arange(phase, phase + width)[None, :]
    if TEXTURES[kind] == "noise":
        return _noise(down // (period // 4), right // (period // 4), salt)
    return np.ascontiguousarray(_tile(kind, period)[down % (2 * period), right % (2 * period)])


@cache
def _tile(kind: int, period: int) -> np.ndarray:
    """One repetition, [2*period, 2*period]: every pattern but the noise repeats within it."""
    down, right = np.mgrid[0 : 2 * period, 0 : 2 * period]
    half = period // 2
    name = TEXTURES[kind]
    if name == "rows":
        bit = down % period < half
    elif name == "columns":
        bit = right % period < half
    elif name == "rising":
        bit = (down + right) % period < half
    elif name == "falling":
        bit = (down - right) % period < half
    elif name == "checkers":
        bit = (down // half + right // half) % 2 == 0
    elif name == "dots":
        away = [2 * (place % period) - period + 1 for place in (down, right)]
        bit = 100 * (away[0] ** 2 + away[1] ** 2) <= 64 * period * period
    elif name == "grid":
        bit = (4 * (down % period) < period) | (4 * (right % period) < period)
    else:  # bricks: courses of half a period, joints of one quarter, every other course shifted
        shift = (down // half) % 2 * half
        joint = max(1, period // 4)
        bit = (down % half < max(1, half // 3)) | ((right + shift) % period < joint)
    return bit.astype(np.uint8)


def _noise(down: np.ndarray, right: np.ndarray, salt: int) -> np.ndarray:
    """A fair bit per cell: the top bit of a multiplicative hash (constants of xxHash32)."""
    mixed = down.astype(np.uint32) * np.uint32(2654435761)
    mixed = mixed ^ (right.astype(np.uint32) * np.uint32(2246822519)) ^ np.uint32(salt)
    for shift, factor in ((15, 2246822519), (13, 3266489917)):
        mixed = (mixed ^ (mixed >> np.uint32(shift))) * np.uint32(factor)
    return (mixed >> np.uint32(31)).astype(np.uint8)
