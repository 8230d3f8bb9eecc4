"""What every decoder is given, slots and in training the video that they are of, and one sentence
where it is not that.

Shapes that do not go together are not always an error of PyTorch: it repeats one frame for all,
and takes the frames of three videos for three frames of one. Whatever is looked at here is known
without asking the device.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from slot_core.errors import InputError

EXPECTED = "[batch time slots {}]"


def check_slots(slots: Any, slot_dim: int, weight: Tensor | None = None) -> None:
    """Raise InputError unless ``slots`` are [batch time slots slot_dim] of at least one of each.

    Args:
        slots: of a batch of videos.
        slot_dim: their width.
        weight: one of those that read them, whose type they are to have; under autocast another
            will do, too. None where that is not known. (Of devices PyTorch's own sentence says as
            much, and weights may come to a device in the last moment.)
    """
    expected = EXPECTED.format(slot_dim)
    if not isinstance(slots, Tensor):
        raise InputError(
            f"the slots are of the type {type(slots).__name__}, expected a tensor "
            f"{expected} of floats"
        )
    shape = list(slots.shape)
    if len(shape) != 4 or shape[-1] != slot_dim:
        raise InputError(
            f"the slots have the shape {shape}, expected {expected}{_advice(shape, slot_dim)}"
        )
    if 0 in shape:
        raise InputError(
            f"the slots have the shape {shape}, expected at least one of each of {expected}"
        )
    if not slots.is_floating_point():
        raise InputError(f"the slots are {slots.dtype}, expected floats")
    if weight is None:
        return
    dtype = weight.dtype
    if not fits(slots, dtype):
        raise InputError(
            f"the slots are {slots.dtype}, expected {dtype} as the weights that read them; "
            f"slots.to({dtype}) makes them that"
        )


def check_target(target: Any, slots: Tensor, size: tuple[int, int], *, channels: int = 3) -> None:
    """Raise InputError unless ``target`` holds the frames of ``slots`` that a decoder is to paint.

    Args:
        target: a normalised video.
        slots: checked already.
        size: height and width of the decoder's frames.
        channels: of the decoder's frames.
    """
    expected = [*slots.shape[:2], channels, *size]
    if not isinstance(target, Tensor):
        raise InputError(
            f"the video is of the type {type(target).__name__}, expected a tensor {expected}"
        )
    if list(target.shape) != expected:
        raise InputError(
            f"the video has the shape {list(target.shape)}, expected {expected}: a frame of the "
            f"decoder's size for those of the slots, which have the shape {list(slots.shape)}"
        )
    if not target.is_floating_point():
        raise InputError(f"the video is {target.dtype}, expected normalised floats")


def check_codes(codes: Any, slots: Tensor, size: tuple[int, ...]) -> None:
    """Raise InputError unless ``codes`` are of the frames of ``slots``, and ``size`` in each.

    Args:
        codes: of a tokenizer.
        slots: checked already.
        size: of what the tokenizer makes of one of the decoder's frames.
    """
    expected, shape = [*slots.shape[:2], *size], list(getattr(codes, "shape", ()))
    if shape != expected:
        raise InputError(
            f"the codes have the shape {shape}, expected {expected}: those of a frame of the "
            f"decoder's size for those of the slots, which have the shape {list(slots.shape)}"
        )


def fits(values: Tensor, dtype: torch.dtype) -> bool:
    """Whether weights of a type take ``values``, as they are or because autocast makes them fit."""
    if values.dtype == dtype:
        return True
    known = values.is_floating_point() and torch.float64 not in (values.dtype, dtype)
    return known and torch.is_autocast_enabled(values.device.type)


def _advice(shape: list[int], slot_dim: int) -> str:
    """What would make slots of it."""
    if len(shape) == 3 and shape[-1] == slot_dim:
        return "; those of pictures are of videos of one frame, slots[:, None]"
    return ""
