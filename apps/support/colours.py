"""Colours of segments: as different as possible, the same in every run.

Colour 0 is the dark grey of the background, the next are picked by eye. The others are chosen
one by one, each the farthest from all before it in Oklab (Ottosson 2020), where distance follows
perception; the greedy choice is that of Glasbey et al. (2007), "Colour displays for categorical
images". Candidates are bright but not glaring, so that they show on photos as well as on white.
"""

import functools

import numpy as np
from jaxtyping import Float, Int, Integer, UInt8
from scipy.optimize import linear_sum_assignment

PICKED = (
    (44, 44, 48),  # the background
    (66, 133, 214),
    (232, 92, 78),
    (247, 193, 74),
    (86, 180, 112),
    (158, 108, 214),
    (74, 200, 206),
    (240, 132, 186),
    (238, 140, 58),
    (176, 204, 82),
    (150, 100, 74),
    (196, 172, 238),
)
NUM_COLOURS = 256  # as many as a palette PNG holds
LIGHTNESS = (0.55, 0.90)
CHROMA = (0.06, 0.20)

# sRGB (linear) to cone responses, and their cube roots to Oklab.
TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
TO_OKLAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


@functools.cache
def colour_table() -> UInt8[np.ndarray, "256 3"]:
    """The colour of each segment; read-only."""
    steps = np.linspace(0, 255, 18).round().astype(np.uint8)
    candidates = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)
    places = oklab(candidates)
    lightness, chroma = places[:, 0], np.hypot(places[:, 1], places[:, 2])
    good = (lightness > LIGHTNESS[0]) & (lightness < LIGHTNESS[1])
    good &= (chroma > CHROMA[0]) & (chroma < CHROMA[1])
    candidates, places = candidates[good], places[good]
    table = list(np.array(PICKED, np.uint8))
    nearest = np.linalg.norm(places[:, None] - oklab(np.stack(table)), axis=2).min(1)
    while len(table) < NUM_COLOURS:
        chosen = int(nearest.argmax())
        table.append(candidates[chosen])
        nearest = np.minimum(nearest, np.linalg.norm(places - places[chosen], axis=1))
    colours = np.stack(table)
    colours.setflags(write=False)
    return colours


def oklab(colours: UInt8[np.ndarray, "count 3"]) -> Float[np.ndarray, "count 3"]:
    """sRGB colours as (lightness, green to red, blue to yellow)."""
    encoded = colours / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    return np.cbrt(linear @ TO_CONES.T) @ TO_OKLAB.T


def slot_colours(num_slots: int) -> Int[np.ndarray, "{num_slots}"]:
    """Which colour each slot has where nothing says which of them is the background."""
    return 1 + np.arange(num_slots) % (NUM_COLOURS - 1)


def matching_colours(
    predicted: Integer[np.ndarray, "*space"], true: Integer[np.ndarray, "*space"], num_slots: int
) -> Int[np.ndarray, "{num_slots}"]:
    """Which colour each slot has so that it looks like the true segment that it found.

    Slots and true labels are paired one to one with the largest summed IoU. A slot paired with
    nothing has a colour that no true segment has.
    """
    ids, segments = np.unique(true, return_inverse=True)
    counts = np.zeros((len(ids), num_slots))
    np.add.at(counts, (segments.reshape(-1), predicted.reshape(-1)), 1)
    union = counts.sum(0, keepdims=True) + counts.sum(1, keepdims=True) - counts
    true_rows, slots = linear_sum_assignment(counts / union, maximize=True)
    taken = wrapped(ids)
    colours = np.full(num_slots, -1)
    for row, slot in zip(true_rows, slots, strict=True):
        if counts[row, slot]:
            colours[slot] = taken[row]
    used = set(taken.tolist())
    free = (index for index in slot_colours(2 * NUM_COLOURS) if int(index) not in used)
    return np.array([next(free) if index < 0 else index for index in colours])


def wrapped(labels: Integer[np.ndarray, "*space"]) -> Int[np.ndarray, "*space"]:
    """Labels as rows of the table: 0 stays, large ones start again at 1."""
    return np.where(labels > 0, 1 + (labels.astype(int) - 1) % (NUM_COLOURS - 1), 0)
