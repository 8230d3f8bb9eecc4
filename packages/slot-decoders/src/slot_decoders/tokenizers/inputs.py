"""What every tokenizer is given, normalised frames or their codes, and one sentence where it is not
that. A network of convolutions takes more than it can give back: pictures of any size, and integers
where floats were meant."""

from __future__ import annotations

from torch import Tensor

from slot_core import InputError


def check_frames(frames: Tensor, stride: int, kind: str, channels: int = 3) -> None:
    """Raise InputError unless ``frames`` are floats [batch channels height width], whose sides are
    multiples of ``stride``.

    Args:
        frames: normalised.
        stride: pixels along a side of the picture for one code.
        kind: of tokenizer, for the sentence.
        channels: of a picture.
    """
    shape = list(frames.shape)
    if len(shape) != 4 or shape[1] != channels or 0 in shape:
        advice = "; those of a video are video.flatten(0, 1)" if len(shape) == 5 else ""
        raise InputError(
            f"the pictures have the shape {shape}, expected [batch {channels} height width], at "
            f"least one of each{advice}"
        )
    if not frames.is_floating_point():
        raise InputError(f"the pictures are {frames.dtype}, expected normalised floats")
    if shape[2] % stride or shape[3] % stride:
        raise InputError(
            f"the pictures are {shape[2]}x{shape[3]}; {kind} needs multiples of {stride}"
        )


def check_latents(latents: Tensor, channels: int) -> None:
    """Raise InputError unless ``latents`` are floats [batch channels height width]."""
    if latents.ndim != 4 or latents.shape[1] != channels or not latents.is_floating_point():
        raise InputError(
            f"the latents are {latents.dtype} of the shape {list(latents.shape)}, expected floats "
            f"[batch {channels} height width]"
        )
