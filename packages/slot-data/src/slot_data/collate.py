"""Samples -> one batch: the only place where pixels turn from uint8 into float."""

from collections.abc import Callable, Sequence
from typing import Any, NotRequired, TypedDict, cast

import torch
from torch import Tensor

from slot_data.sample import NUMBERED_MAPS, PIXEL_MAPS, DataError, Sample


class Batch(TypedDict):
    """video: float32 [B T 3 H W] in [0, 1]. labels, class_labels: int64 [B T H W], 0 is the
    background. void, overlap: bool [B T H W]. depth: float32 [B T H W]. flow: float32
    [B T 2 H W]. slots: float32 [B T K D]. outcome: bool [B]. id, scenario: one per sample. What
    not every sample has is left out, the video of slots as well."""

    video: Tensor
    id: list[str]
    labels: NotRequired[Tensor]
    class_labels: NotRequired[Tensor]
    void: NotRequired[Tensor]
    overlap: NotRequired[Tensor]
    depth: NotRequired[Tensor]
    flow: NotRequired[Tensor]
    slots: NotRequired[Tensor]
    outcome: NotRequired[Tensor]
    scenario: NotRequired[list[str]]


def collate(samples: Sequence[Sample]) -> Batch:
    """Raises DataError if two videos differ in frames, height or width, two sets of slots in size,
    or a map in size from the video it lies over."""
    batch: dict[str, Any] = {"id": [sample["id"] for sample in samples]}
    if all("video" in sample for sample in samples):
        videos = _alike(samples, "video", _size, "; crop or resize them alike")
        batch["video"] = torch.stack(videos).float().div_(255)
    if all("slots" in sample for sample in samples):
        batch["slots"] = torch.stack(
            _alike(samples, "slots", lambda slots: f"{tuple(slots.shape)}")
        )
    for name in PIXEL_MAPS:
        if all(name in sample for sample in samples):
            maps = [_fitting(sample, name) for sample in samples]
            batch[name] = torch.stack(maps).long() if name in NUMBERED_MAPS else torch.stack(maps)
    if all("outcome" in sample for sample in samples):
        batch["outcome"] = torch.tensor([sample.get("outcome") for sample in samples])
    if all("scenario" in sample for sample in samples):
        batch["scenario"] = [sample.get("scenario") for sample in samples]
    return cast(Batch, batch)


def _alike(
    samples: Sequence[Sample], key: str, size: Callable[[Tensor], str], advice: str = ""
) -> list[Tensor]:
    """What each sample has under a key; they are to be of one size."""
    first, values = samples[0], [cast(dict[str, Any], sample)[key] for sample in samples]
    for sample, value in zip(samples, values, strict=True):
        if value.shape != values[0].shape:
            raise DataError(
                f"samples {first['id']!r} and {sample['id']!r} of one batch differ in size: "
                f"{size(values[0])} and {size(value)}{advice}"
            )
    return values


def _fitting(sample: Sample, name: str) -> Tensor:
    pixels: Tensor = cast(dict[str, Any], sample)[name]
    over = sample["video"][:, :2] if name == "flow" else sample["video"][:, 0]
    if pixels.shape != over.shape:
        raise DataError(
            f"sample {sample['id']!r}: {name} of shape {tuple(pixels.shape)} do not fit its video "
            f"of {_size(sample['video'])}"
        )
    return pixels


def _size(video: Tensor) -> str:
    frames, _, height, width = video.shape
    return f"{frames} frame{'s' * (frames > 1)} of {height}x{width}"
