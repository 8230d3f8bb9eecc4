"""Samples -> one batch: the only place where pixels turn from uint8 into float."""

from collections.abc import Callable, Sequence
from typing import Any, NotRequired, TypedDict, cast

import torch
from torch import Tensor

from slot_data.sample import NUMBERED_MAPS, PIXEL_MAPS, DataError, Sample

INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16)


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
    """Raises DataError if a sample is none, two videos differ in frames, height or width, two sets
    of slots in size, or a map in size from the video it lies over."""
    for sample in samples:
        _check(sample)
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


def _check(sample: Sample) -> None:
    """That of a dataset of one's own is a sample, too."""
    if not isinstance(sample.get("id"), str):
        raise DataError(
            f"a sample has the keys {', '.join(map(str, sample))} and no text as its 'id'; "
            "expected video, id and, where they are known, labels"
        )
    if "video" not in sample and "slots" not in sample:
        raise DataError(f"sample {sample['id']!r} has no 'video'; it has {', '.join(sample)}")
    if "video" in sample:
        video: Any = sample["video"]
        right = isinstance(video, Tensor) and video.dtype == torch.uint8 and video.ndim == 4
        if not right or video.shape[1] != 3:
            raise DataError(
                f"sample {sample['id']!r}: the video is {_described(video)}, expected a tensor of "
                "uint8 [time 3 height width]; a picture is a video of one frame"
            )
    for name in NUMBERED_MAPS:
        labels: Any = sample.get(name)
        if name in sample and not (isinstance(labels, Tensor) and labels.dtype in INTEGERS):
            raise DataError(
                f"sample {sample['id']!r}: {name} are {_described(labels)}, expected a tensor of "
                "integers [time height width]"
            )


def _described(value: Any) -> str:
    """What a value is, in the words of a sentence that refuses it."""
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    kind = type(value).__name__
    return kind if shape is None else f"a {kind} of {dtype} {list(shape)}"


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
