"""Pure functions from sample to sample: what they return depends on their arguments alone, and
every frame and its labels are treated alike.

Two choices differ between published pipelines, so both are arguments. Shrinking a picture with or
without antialiasing moves pixels by up to 24/255 on CLEVRTex. Nearest labels can be taken at
floor(i * scale) ("nearest": PyTorch's and OpenCV's rule) or at the nearest centre,
floor((i + 1/2) * scale) ("nearest-exact": Pillow's rule, aligned with the picture).
"""

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from slot_data.sample import DataError, Sample

LabelResize = Literal["nearest", "nearest-exact"]


def crop(sample: Sample, top: int, left: int, height: int, width: int) -> Sample:
    """The window [top, top + height) x [left, left + width)."""
    rows, columns = slice(top, top + height), slice(left, left + width)
    return _replace(
        sample,
        sample["video"][..., rows, columns],
        sample["labels"][..., rows, columns] if "labels" in sample else None,
    )


def centre_crop(sample: Sample, size: int | None) -> Sample:
    """The centred square of `size` pixels; None takes the largest. An odd margin leaves its extra
    row below and its extra column on the right. Raises DataError where it does not fit."""
    height, width = sample["video"].shape[-2:]
    size = min(height, width) if size is None else size
    if not 1 <= size <= min(height, width):
        raise DataError(
            f"sample {sample['id']!r} is {height}x{width}: a centre crop of {size} does not fit"
        )
    return crop(sample, (height - size) // 2, (width - size) // 2, size, size)


def resize(
    sample: Sample,
    size: int | tuple[int, int],
    antialias: bool = True,
    label_resize: LabelResize = "nearest-exact",
) -> Sample:
    """To `size` x `size`, or to (height, width): the picture bilinearly (in float, rounded back to
    uint8), labels to the nearest. Raises DataError for a size below 1."""
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < 1:
        raise DataError(f"size {height}x{width} is not at least 1x1")
    if label_resize not in get_args(LabelResize):
        raise DataError(
            f"label_resize {label_resize!r} is not one of {', '.join(get_args(LabelResize))}"
        )
    labels = sample.get("labels")
    if labels is not None:
        exact = label_resize == "nearest-exact"
        rows = _nearest(labels.shape[-2], height, exact)
        columns = _nearest(labels.shape[-1], width, exact)
        labels = labels[..., rows[:, None], columns]
    if sample["video"].shape[-2:] == (height, width):
        return _replace(sample, sample["video"], labels)
    pixels = F.interpolate(
        sample["video"].float(), (height, width), mode="bilinear", antialias=antialias
    )
    return _replace(sample, pixels.round_().clamp_(0, 255).to(torch.uint8), labels)


def relabel(sample: Sample) -> Sample:
    """Labels become 0..K over the whole clip, in the order of the old ones, so an object keeps
    its number through time. 0 stays the background even where no pixel of it is left."""
    labels = sample.get("labels")
    if labels is None:
        return sample
    present, compact = labels.unique(return_inverse=True)
    compact = compact + int(present[0] != 0)
    kind = torch.uint8 if int(compact.max()) < 256 else torch.int32
    return _replace(sample, sample["video"], compact.to(kind))


def horizontal_flip(sample: Sample) -> Sample:
    labels = sample.get("labels")
    flipped = None if labels is None else labels.flip(-1)
    return _replace(sample, sample["video"].flip(-1), flipped)


def _nearest(old: int, new: int, exact: bool) -> Tensor:
    """int64 [new]: which of `old` places each new one copies. Integers only: no rounding."""
    place = torch.arange(new)
    return (2 * place + 1) * old // (2 * new) if exact else place * old // new


def _replace(sample: Sample, video: Tensor, labels: Tensor | None) -> Sample:
    changed = sample.copy()
    changed["video"] = video.contiguous()
    if labels is not None:
        changed["labels"] = labels.contiguous()
    return changed
