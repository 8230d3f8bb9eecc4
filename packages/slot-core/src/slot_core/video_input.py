"""What every model is given, a video of floats in [0, 1], and one sentence where it is not that."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from slot_core.errors import InputError

EXPECTED = "[batch time 3 height width]"
# Resizing with a sharp kernel goes a little beyond white and black; other units go far beyond.
MARGIN = 0.25


def check_video(video: Any) -> None:
    """Raise InputError unless ``video`` is a tensor of floats [batch time 3 height width]."""
    if not isinstance(video, Tensor):
        raise InputError(
            f"the video is of the type {type(video).__name__}, expected a tensor {EXPECTED} of "
            "floats in [0, 1]; a uint8 array [height width 3] becomes that by "
            "torch.from_numpy(array).permute(2, 0, 1)[None, None] / 255"
        )
    shape = list(video.shape)
    if len(shape) != 5 or shape[2] != 3:
        raise InputError(f"the video has the shape {shape}, expected {EXPECTED}{_advice(shape)}")
    if shape[1] == 0:
        raise InputError("the video has no frames; expected at least 1")
    if 0 in shape:
        raise InputError(f"the video has the shape {shape}, expected at least one of each")
    if not video.is_floating_point():
        advice = "; video / 255 makes them of bytes" if video.dtype == torch.uint8 else ""
        raise InputError(f"the video is {video.dtype}, expected floats in [0, 1]{advice}")


def check_colours(video: Any) -> None:
    """Raise InputError also if its colours are far outside [0, 1], where a model finds nothing.

    This waits for the device, so the training step has ``check_free_of_charge``.
    """
    check_video(video)
    low, high = torch.stack(torch.aminmax(video.detach())).tolist()
    if not (low >= -MARGIN and high <= 1 + MARGIN):  # also where one of them is NaN
        advice = "; video / 255 makes them of bytes" if low >= 0 and 2 < high <= 255 else ""
        raise InputError(
            f"the colours of the video reach from {low:.4g} to {high:.4g}, expected floats in "
            f"[0, 1]; the model normalises them itself{advice}"
        )


def check_free_of_charge(video: Any) -> None:
    """What ``check_colours`` does, as far as it costs a training step nothing.

    On a GPU it would wait for all that is still computed there, and in a graph of torch.compile
    break it in two; there colours go unseen.
    """
    if isinstance(video, Tensor) and (video.device.type != "cpu" or torch.compiler.is_compiling()):
        check_video(video)
    else:
        check_colours(video)


def _advice(shape: list[int]) -> str:
    """What would make a video of it."""
    if len(shape) == 4 and shape[1] == 3:
        return "; pictures are videos of one frame, pictures[:, None], and one video is video[None]"
    if len(shape) == 3 and shape[0] == 3:
        return "; a picture is a video of one frame: picture[None, None]"
    if shape and shape[-1] == 3:
        return "; colours come before height and width: video.movedim(-1, -3)"
    return ""
