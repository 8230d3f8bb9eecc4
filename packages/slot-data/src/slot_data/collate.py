"""Samples -> one batch: the only place where pixels turn from uint8 into float."""

from collections.abc import Sequence
from typing import NotRequired, TypedDict

import torch
from torch import Tensor

from slot_data.sample import DataError, Sample


class Batch(TypedDict):
    """video: float32 [B T 3 H W] in [0, 1]. labels: int64 [B T H W], 0 is the background; only
    where every sample has them. id: one per sample."""

    video: Tensor
    id: list[str]
    labels: NotRequired[Tensor]


def collate(samples: Sequence[Sample]) -> Batch:
    """Raises DataError if two videos differ in frames, height or width, or labels from their
    video."""
    first = samples[0]
    for sample in samples:
        if sample["video"].shape != first["video"].shape:
            raise DataError(
                f"samples {first['id']!r} and {sample['id']!r} of one batch differ in size: "
                f"{_size(first['video'])} and {_size(sample['video'])}; crop or resize them alike"
            )
    video = torch.stack([sample["video"] for sample in samples]).float().div_(255)
    batch: Batch = {"video": video, "id": [sample["id"] for sample in samples]}
    labels = [sample["labels"] for sample in samples if "labels" in sample]
    if len(labels) == len(samples):
        for sample, label in zip(samples, labels, strict=True):
            if label.shape != sample["video"][:, 0].shape:
                raise DataError(
                    f"sample {sample['id']!r}: labels of shape {tuple(label.shape)} do not fit "
                    f"its video of {_size(sample['video'])}"
                )
        batch["labels"] = torch.stack([label.long() for label in labels])
    return batch


def _size(video: Tensor) -> str:
    frames, _, height, width = video.shape
    return f"{frames} frame{'s' * (frames > 1)} of {height}x{width}"
