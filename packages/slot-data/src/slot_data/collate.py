"""Samples -> one batch: the only place where pixels turn from uint8 into float."""

from collections.abc import Sequence
from typing import Any, NotRequired, TypedDict, cast

import torch
from torch import Tensor

from slot_data.sample import NUMBERED_MAPS, PIXEL_MAPS, DataError, Sample


class Batch(TypedDict):
    """video: float32 [B T 3 H W] in [0, 1]. labels, class_labels: int64 [B T H W], 0 is the
    background. void, overlap: bool [B T H W]. depth: float32 [B T H W]. flow: float32
    [B T 2 H W]. outcome: bool [B]. id, scenario: one per sample. What not every sample has is
    left out."""

    video: Tensor
    id: list[str]
    labels: NotRequired[Tensor]
    class_labels: NotRequired[Tensor]
    void: NotRequired[Tensor]
    overlap: NotRequired[Tensor]
    depth: NotRequired[Tensor]
    flow: NotRequired[Tensor]
    outcome: NotRequired[Tensor]
    scenario: NotRequired[list[str]]


def collate(samples: Sequence[Sample]) -> Batch:
    """Raises DataError if two videos differ in frames, height or width, or a map in size from the
    video it lies over."""
    first = samples[0]
    for sample in samples:
        if sample["video"].shape != first["video"].shape:
            raise DataError(
                f"samples {first['id']!r} and {sample['id']!r} of one batch differ in size: "
                f"{_size(first['video'])} and {_size(sample['video'])}; crop or resize them alike"
            )
    batch: dict[str, Any] = {
        "video": torch.stack([sample["video"] for sample in samples]).float().div_(255),
        "id": [sample["id"] for sample in samples],
    }
    for name in PIXEL_MAPS:
        if all(name in sample for sample in samples):
            maps = [_fitting(sample, name) for sample in samples]
            batch[name] = torch.stack(maps).long() if name in NUMBERED_MAPS else torch.stack(maps)
    if all("outcome" in sample for sample in samples):
        batch["outcome"] = torch.tensor([sample.get("outcome") for sample in samples])
    if all("scenario" in sample for sample in samples):
        batch["scenario"] = [sample.get("scenario") for sample in samples]
    return cast(Batch, batch)


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
