"""What encoders, decoders and models return: named tensors, the same names everywhere.

Sizes: B batch, T frames, K slots, D slot width, N feature positions, H W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class EncoderState:
    """What an encoder carries from one frame to the next.

    Attributes:
        slots: the slots after the last frame.
        predictor: the predictor's own recurrent state; None where it has none.
    """

    slots: Float[Tensor, "batch slots dim"]
    predictor: Any = None


@dataclass(frozen=True)
class SlotOutput:
    """Slots of a video.

    Attributes:
        slots: after the last iteration on each frame.
        attention: of the last iteration, softmax over the slots, before the normalisation over
            positions; detached from the graph.
        feature_size: height and width of the feature grid; their product is ``positions``.
        state: from which the next frames go on.
    """

    slots: Float[Tensor, "batch time slots dim"]
    attention: Float[Tensor, "batch time slots positions"]
    feature_size: tuple[int, int]
    state: EncoderState


@dataclass(frozen=True)
class DecoderOutput:
    """A decoded video in the model's own normalised range, unclamped.

    Attributes:
        reconstruction: the whole frames.
        masks: which slot each pixel belongs to, summing to 1 over slots; None for a decoder
            that makes no masks.
        components: each slot's own picture, before mixing; None likewise.
    """

    reconstruction: Float[Tensor, "batch time channels height width"]
    masks: Float[Tensor, "batch time slots height width"] | None = None
    components: Float[Tensor, "batch time slots channels height width"] | None = None


@dataclass(frozen=True)
class LossOutput:
    """A training step's losses.

    Attributes:
        total: what to differentiate.
        parts: the terms by name, unweighted.
        decoded: what the decoder made, where it makes something on the way to the loss.
        slots: of the encoder, detached, for logging.
        attention: of the encoder, detached, for logging.
    """

    total: Float[Tensor, ""]
    parts: dict[str, Float[Tensor, ""]]
    decoded: DecoderOutput | None = None
    slots: Float[Tensor, "batch time slots dim"] | None = field(default=None)
    attention: Float[Tensor, "batch time slots positions"] | None = field(default=None)
