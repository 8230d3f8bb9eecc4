"""The embedded dataset: moving flat shapes that hide one another, drawn on demand.

Sample (seed, split, index) is the same on every machine and for every version of NumPy: all of it
is integer arithmetic on the raw bits of a keyed generator. A picture is the first frame of the
video of the same index, and the two levels draw the same scene in different paint:

plain     uniform colours, distinct hues on a dark ground: a small Slot Attention learns it within
          minutes on a CPU, and clustering colours solves it.
textured  every region, the background included, has its own two-tone texture, but all regions of
          a scene share three colours, so clustering colours fails (`tools/bench/shapes.py`).
"""

from typing import NamedTuple

import numpy as np
import torch

from slot_data.outlines import OUTLINES, outline
from slot_data.raw_bits import KEY_LIMIT, SCENES, RawBits
from slot_data.sample import DataError, Sample
from slot_data.textures import SCALES, TEXTURES, texture

SPLITS = {"train": 50_000, "validation": 512, "test": 512}
LEVELS = ("plain", "textured")
# Far from one another and from the ground: near it, a brown object is taken for ground.
HUES = (
    (235, 40, 40),
    (40, 200, 60),
    (50, 70, 240),
    (240, 225, 40),
    (230, 60, 225),
    (40, 220, 230),
    (245, 135, 25),
    (240, 240, 240),
)
QUILTS = (  # colours of one textured scene, from dark to light
    ((38, 70, 83), (42, 157, 143), (138, 177, 125), (233, 196, 106), (231, 111, 81)),
    ((29, 53, 87), (69, 123, 157), (168, 218, 220), (241, 250, 238), (230, 57, 70)),
    ((61, 44, 97), (120, 75, 160), (255, 60, 172), (43, 134, 197), (250, 214, 165)),
    ((53, 47, 44), (151, 104, 68), (214, 164, 98), (244, 226, 196), (96, 130, 105)),
    ((20, 33, 61), (92, 107, 138), (229, 229, 229), (252, 163, 17), (178, 58, 72)),
    ((11, 57, 72), (65, 98, 104), (208, 204, 208), (96, 80, 97), (216, 17, 89)),
    ((45, 30, 47), (241, 90, 41), (247, 176, 91), (169, 229, 187), (80, 100, 140)),
    ((22, 70, 40), (76, 149, 108), (254, 254, 227), (255, 201, 185), (214, 129, 137)),
)
MAX_SAMPLES = 2**32
MIN_IMAGE_SIZE, MAX_IMAGE_SIZE = 32, 1024
TRIES = 20  # places tried for one object before the scene starts afresh
MOST_SCENES = 1_000  # tried for one that has the answer it is to have
FRACTION = 64  # positions and velocities count in 1/64 of a pixel


class Thing(NamedTuple):
    """One object: its stamp, and the top-left corner of that stamp and its motion in 1/FRACTION
    pixels (per frame)."""

    inside: np.ndarray
    top: int
    left: int
    down: int
    right: int


class Shapes:
    """Pictures or videos of `min_objects` to `max_objects` shapes (uniformly many).

    split: "train", "validation" or "test": three disjoint ranges of the generator's keys.
    num_samples: 50,000 for train, 512 for validation and test unless told.
    image_size: height and width, 32 to 1024.
    num_frames: 1 for pictures. In a video's first frame every object shows at least three quarters
        of itself; later it may pass behind another and hide completely.
    level: "plain" or "textured".
    seed: another seed is another dataset.
    speed: how many steps of motion lie between two frames; the first frame does not depend on it.
        More of them hide more objects in a clip of the same length.
    outcome_from: samples have an `outcome`: whether any two objects touch in this frame, counted
        from 0, or in a later one. They do where both cover a pixel, be it hidden or not. Every
        other sample's answer is yes; these are other samples than those without a question.

    Raises DataError for values outside these ranges.
    """

    def __init__(
        self,
        split: str = "train",
        num_samples: int | None = None,
        image_size: int = 64,
        num_frames: int = 1,
        level: str = "plain",
        seed: int = 0,
        min_objects: int = 3,
        max_objects: int = 6,
        speed: int = 1,
        outcome_from: int | None = None,
    ) -> None:
        if split not in SPLITS:
            raise DataError(f"split {split!r} of shapes is not one of {', '.join(SPLITS)}")
        if level not in LEVELS:
            raise DataError(f"level {level!r} of shapes is not one of {', '.join(LEVELS)}")
        num_samples = SPLITS[split] if num_samples is None else num_samples
        _check("num_samples", num_samples, 1, MAX_SAMPLES)
        _check("image_size", image_size, MIN_IMAGE_SIZE, MAX_IMAGE_SIZE)
        _check("num_frames", num_frames, 1, 10_000)
        _check("seed", seed, 0, KEY_LIMIT - 1)
        _check("max_objects", max_objects, 1, len(HUES))
        _check("min_objects", min_objects, 1, max_objects)
        _check("speed", speed, 1, 100)
        if outcome_from is not None:
            _check("outcome_from", outcome_from, 0, num_frames - 1)
        self.split, self.level, self.seed = split, level, seed
        self.num_samples, self.image_size, self.num_frames = num_samples, image_size, num_frames
        self.min_objects, self.max_objects, self.speed = min_objects, max_objects, speed
        self.outcome_from = outcome_from
        self._split_code = list(SPLITS).index(split) * MAX_SAMPLES

    def __len__(self) -> int:
        return self.num_samples

    def __getitem__(self, index: int) -> Sample:
        return self._drawn(index, None)

    def without(self, index: int, label: int) -> Sample:
        """The same scene without one of its objects: what is behind it is seen. The truth of an
        edit that removes it. Nothing else changes, the labels of the others either.

        Raises DataError if there is no such object."""
        return self._drawn(index, label)

    def _drawn(self, index: int, missing: int | None) -> Sample:
        if not 0 <= index < self.num_samples:
            raise IndexError(f"sample {index} of shapes: there are {self.num_samples}")
        bits = RawBits(SCENES, self.seed, self._split_code + index)
        wanted = None if self.outcome_from is None else index % 2 == 1
        things = self._things(bits, wanted)
        if missing is not None and not 1 <= missing <= len(things):
            raise DataError(
                f"sample {index} of shapes has the objects 1 to {len(things)}, and no {missing}"
            )
        if self.level == "plain":
            colours, ground, paints = _plain(bits, things)
        else:
            colours, ground, paints = _textured(bits, things, self.image_size)
        tones = np.empty((self.num_frames, self.image_size, self.image_size), np.uint8)
        for time in range(self.num_frames):
            _draw(tones[time], time * self.speed, things, ground, paints, missing)
        video = np.empty((self.num_frames, 3, *tones.shape[1:]), np.uint8)
        for channel in range(3):
            np.take(colours[channel], tones, out=video[:, channel], mode="clip")
        sample: Sample = {
            "video": torch.from_numpy(video),
            "labels": torch.from_numpy(tones >> 1),
            "id": f"{self.split}-{self.seed}-{index:06d}",
        }
        if wanted is not None:
            sample["outcome"] = wanted
        return sample

    def _things(self, bits: RawBits, wanted: bool | None) -> list[Thing]:
        """The objects of a scene, whose answer is the wanted one if there is a question."""
        for _ in range(MOST_SCENES):
            count = bits.between(self.min_objects, self.max_objects)
            things = _scene(bits, count, self.image_size)
            if self.outcome_from is None:
                return things
            times = range(self.outcome_from * self.speed, self.num_frames * self.speed, self.speed)
            if wanted == any(_touching(things, time, self.image_size) for time in times):
                return things
        rarely = "touch" if wanted else "do not touch"
        raise DataError(
            f"in {MOST_SCENES} scenes of shapes no objects {rarely} from frame "
            f"{self.outcome_from} to {self.num_frames - 1}; change their number, num_frames or "
            "speed"
        )


def _check(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise DataError(f"{name} of shapes is {value!r}, not an integer from {low} to {high}")


def _scene(bits: RawBits, num_objects: int, size: int) -> list[Thing]:
    """Objects from back to front, each showing at least three quarters of itself at time 0."""
    while True:
        labels = np.zeros((size, size), np.uint8)
        areas = np.zeros((2, num_objects + 1), np.int64)  # whole, and visible
        things: list[Thing] = []
        while len(things) < num_objects:
            thing = _place(bits, labels, areas, len(things) + 1)
            if thing is None:
                break
            things.append(thing)
        else:
            return things


def _place(bits: RawBits, labels: np.ndarray, areas: np.ndarray, number: int) -> Thing | None:
    """Puts object `number` in front of the others where it leaves enough of each; updates
    `labels` and the `areas` per label. None when TRIES places would not do."""
    size = labels.shape[0]
    whole, visible = areas
    for _ in range(TRIES):
        radius = bits.between(size // 9, size // 5 - 1)
        inside = outline(OUTLINES[bits.below(len(OUTLINES))], radius)
        top, left = (bits.below(size - 2 * radius) for _ in range(2))
        under = labels[top : top + 2 * radius + 1, left : left + 2 * radius + 1]
        after = visible - np.bincount(under[inside], minlength=len(visible))
        if (4 * after < 3 * whole)[1:number].any():
            continue
        whole[number] = after[number] = np.count_nonzero(inside)
        visible[:] = after
        under[inside] = number
        # At 64x64 an object moves 0.5 to 2.6 pixels a frame along each axis.
        speeds = (bits.between(size * FRACTION // 128, size * FRACTION // 24) for _ in range(2))
        down, right = (speed if bits.below(2) else -speed for speed in speeds)
        return Thing(inside, top * FRACTION, left * FRACTION, down, right)
    return None


def _plain(
    bits: RawBits, things: list[Thing]
) -> tuple[np.ndarray, int | np.ndarray, list[int | np.ndarray]]:
    grey = bits.between(24, 40)
    colours = [[grey + bits.between(-10, 10) for _ in range(3)]]
    for hue in bits.choose(len(HUES), len(things)):
        colours.append(_jitter(bits, HUES[hue]))
    table = np.array(colours, np.uint8).repeat(2, axis=0)  # tone 2n and 2n+1 of label n
    return table.T.copy(), 0, [2 * number for number in range(1, len(things) + 1)]


def _jitter(bits: RawBits, colour: tuple[int, int, int]) -> list[int]:
    return [min(255, max(0, part + bits.between(-15, 15))) for part in colour]


def _textured(
    bits: RawBits, things: list[Thing], size: int
) -> tuple[np.ndarray, int | np.ndarray, list[int | np.ndarray]]:
    quilt = QUILTS[bits.below(len(QUILTS))]
    scene = [_jitter(bits, quilt[part]) for part in bits.choose(len(quilt), 3)]
    looks = bits.choose(len(TEXTURES) * SCALES, len(things) + 1)
    colours, layers = [], []
    for number, look in enumerate(looks):
        pair = bits.choose(len(scene), 2)
        colours += [scene[pair[0]], scene[pair[1]]]
        kind, scale = look % len(TEXTURES), look // len(TEXTURES)
        period = max(4, size * (4 + 3 * scale) // 64)
        extent = things[number - 1].inside.shape[0] if number else size
        bit = texture(kind, extent, extent, period, bits.below(2 * period), bits.below(2**32))
        layers.append(bit + np.uint8(2 * number))
    return np.array(colours, np.uint8).T.copy(), layers[0], layers[1:]


def _draw(
    tones: np.ndarray,
    time: int,
    things: list[Thing],
    ground: int | np.ndarray,
    paints: list[int | np.ndarray],
    missing: int | None,
) -> None:
    """Fills `tones` [H W] with 2 * label + tone at `time`, painting from back to front."""
    tones[:] = ground
    for label, (thing, paint) in enumerate(zip(things, paints, strict=True), start=1):
        if label == missing:
            continue
        extent = thing.inside.shape[0]
        top, left = _corner(thing, time, tones.shape[0])
        np.copyto(tones[top : top + extent, left : left + extent], paint, where=thing.inside)


def _touching(things: list[Thing], time: int, size: int) -> bool:
    """Whether two objects cover one pixel at `time`."""
    covered = np.zeros((size, size), bool)
    for thing in things:
        extent = thing.inside.shape[0]
        top, left = _corner(thing, time, size)
        under = covered[top : top + extent, left : left + extent]
        if (under & thing.inside).any():
            return True
        under |= thing.inside
    return False


def _corner(thing: Thing, time: int, size: int) -> tuple[int, int]:
    """The top left pixel of an object's stamp at `time`."""
    room = (size - thing.inside.shape[0]) * FRACTION
    top = _bounce(thing.top + time * thing.down, room) // FRACTION
    left = _bounce(thing.left + time * thing.right, room) // FRACTION
    return top, left


def _bounce(place: int, room: int) -> int:
    """Where a point that runs freely to `place` is when walls at 0 and `room` throw it back."""
    phase = place % (2 * room)
    return min(phase, 2 * room - phase)
