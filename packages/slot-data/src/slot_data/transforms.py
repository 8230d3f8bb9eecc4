"""Pure functions from sample to sample: what they return depends on their arguments alone, and
every frame and every map over it are treated alike.

Published pipelines differ in small choices, so each is an argument.
- Shrinking a picture with or without antialiasing moves pixels by up to 24/255 on CLEVRTex.
- Nearest labels are taken at floor(i * scale) ("nearest" in PyTorch, "opencv" in OpenCV: the
  same, but for how the scale is rounded) or at the nearest centre, floor((i + 1/2) * scale)
  ("nearest-exact": PyTorch's name for Pillow's rule, aligned with the picture).
- A side of 298.7 pixels becomes 299, and an odd margin leaves its extra row below and its extra
  column on the right ("nearest"), or 298, and half a pixel goes to the even side ("torchvision").
"""

from typing import Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from slot_data.sample import NUMBERED_MAPS, DataError, Sample, pixel_maps, with_pixels

LabelResize = Literal["nearest", "nearest-exact", "opencv"]
Interpolation = Literal["bilinear", "bicubic"]
Rounding = Literal["nearest", "torchvision"]


def crop(sample: Sample, top: int, left: int, height: int, width: int) -> Sample:
    """The window [top, top + height) x [left, left + width)."""
    rows, columns = slice(top, top + height), slice(left, left + width)
    maps = {name: pixels[..., rows, columns] for name, pixels in pixel_maps(sample).items()}
    return with_pixels(sample, sample["video"][..., rows, columns], maps)


def centre_crop(sample: Sample, size: int | None, rounding: Rounding = "nearest") -> Sample:
    """The centred square of `size` pixels; None takes the largest. Raises DataError where it does
    not fit."""
    _check("rounding", rounding, get_args(Rounding))
    height, width = sample["video"].shape[-2:]
    size = min(height, width) if size is None else size
    if not 1 <= size <= min(height, width):
        raise DataError(
            f"sample {sample['id']!r} is {height}x{width}: a centre crop of {size} does not fit"
        )
    top, left = ((side - size) // 2 for side in (height, width))
    if rounding == "torchvision":
        top, left = (round((side - size) / 2) for side in (height, width))
    return crop(sample, top, left, size, size)


def resize(
    sample: Sample,
    size: int | tuple[int, int],
    antialias: bool = True,
    label_resize: LabelResize = "nearest-exact",
    interpolation: Interpolation = "bilinear",
) -> Sample:
    """To `size` x `size`, or to (height, width): the picture in float, rounded back to uint8, depth
    and flow likewise, the other maps over it to the nearest. Flow counts new pixels then. Raises
    DataError for a size below 1."""
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < 1:
        raise DataError(f"size {height}x{width} is not at least 1x1")
    _check("label_resize", label_resize, get_args(LabelResize))
    _check("interpolation", interpolation, get_args(Interpolation))
    video, maps = sample["video"], pixel_maps(sample)
    if video.shape[-2:] == (height, width):
        return with_pixels(sample, video, maps)
    rows = nearest_places(video.shape[-2], height, label_resize)
    columns = nearest_places(video.shape[-1], width, label_resize)
    for name, pixels in maps.items():
        if pixels.is_floating_point():
            frames = pixels.reshape(len(pixels), -1, *pixels.shape[-2:])
            frames = F.interpolate(frames, (height, width), mode=interpolation, antialias=antialias)
            maps[name] = frames.reshape(*pixels.shape[:-2], height, width)
        else:
            maps[name] = pixels[..., rows[:, None], columns]
    if "flow" in maps:
        scale = torch.tensor([height / video.shape[-2], width / video.shape[-1]])
        maps["flow"] *= scale[:, None, None]
    pixels = F.interpolate(video.float(), (height, width), mode=interpolation, antialias=antialias)
    return with_pixels(sample, pixels.round_().clamp_(0, 255).to(torch.uint8), maps)


def nearest_places(old: int, new: int, rule: LabelResize) -> Tensor:
    """int64 [new]: which of `old` places each new one copies.

    Each rule computes in the precision of its library, so that places on the border between two
    old ones, such as 42 * 144 / 224 = 27, fall to the same side as there.
    """
    place = torch.arange(new)
    if rule == "opencv":
        return (place.double() * (1 / (new / old))).floor().long().clamp(max=old - 1)
    place = place.float() + (0.5 if rule == "nearest-exact" else 0.0)
    return (place * (torch.tensor(old).float() / new)).floor().long().clamp(max=old - 1)


def size_by_shorter_side(
    height: int, width: int, shorter: int, rounding: Rounding = "nearest"
) -> tuple[int, int]:
    """(height, width) of a picture scaled so that its shorter side has `shorter` pixels."""
    _check("rounding", rounding, get_args(Rounding))
    small, large = sorted((height, width))
    # the product in this order: a tie at half a pixel goes where SlotDiffusion's goes
    longer = round(large * (shorter / small)) if rounding == "nearest" else shorter * large // small
    return (shorter, longer) if height <= width else (longer, shorter)


def relabel(sample: Sample, from_zero: bool = False) -> Sample:
    """Labels, and labels of classes, become 0..K over the whole clip, in the order of the old
    ones, so an object keeps its number through time.

    0 stays the background even where no pixel of it is left; with `from_zero` the first object
    becomes the background there, as in SlotDiffusion's code.
    """
    maps = pixel_maps(sample)
    for name in NUMBERED_MAPS:
        if name in maps:
            present, places = _present(maps[name].numpy())
            numbers = np.arange(len(present)) + int(present[0] != 0 and not from_zero)
            kind = np.uint8 if numbers[-1] < 256 else np.int32
            maps[name] = torch.from_numpy(numbers.astype(kind)[places])
    return with_pixels(sample, sample["video"], maps)


def _present(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The numbers that are there, in order, and of each entry its number's place among these."""
    if numbers.dtype != np.uint8:
        return np.unique(numbers, return_inverse=True)
    there = np.bincount(numbers.reshape(-1), minlength=256) > 0  # sorting takes 20 times as long
    return np.flatnonzero(there), (np.cumsum(there) - 1).astype(np.uint8)[numbers]


def horizontal_flip(sample: Sample) -> Sample:
    maps = {name: pixels.flip(-1) for name, pixels in pixel_maps(sample).items()}
    if "flow" in maps:
        maps["flow"][:, 1].neg_()  # flip has made a copy
    return with_pixels(sample, sample["video"].flip(-1), maps)


def _check(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise DataError(f"{name} {value!r} is not one of {', '.join(known)}")
