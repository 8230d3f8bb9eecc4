"""What a decoder must offer so that any encoder can train with it."""

from __future__ import annotations

from typing import Literal, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from slot_core.outputs import DecoderOutput, LossOutput

MaskSource = Literal["encoder", "decoder"]


class Decoder(Protocol):
    """Turns slots back into video. ``default_mask_source`` names whose masks its papers score."""

    default_mask_source: MaskSource

    def __call__(
        self,
        slots: Float[Tensor, "batch time slots dim"],
        target: Float[Tensor, "batch time channels height width"],
    ) -> LossOutput:
        """The training loss of decoding ``slots`` towards ``target``, a normalised video."""
        ...

    def decode(
        self,
        slots: Float[Tensor, "batch time slots dim"],
        generator: torch.Generator | None = None,
    ) -> DecoderOutput:
        """The video that the slots stand for; ``generator`` draws whatever is random in it."""
        ...
