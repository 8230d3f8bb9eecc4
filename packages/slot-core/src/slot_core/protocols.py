"""What parts of one's own must offer: the corrector of an encoder, a decoder that any encoder can
train with, and a tokenizer inside one."""

from __future__ import annotations

from typing import Literal, Protocol

from jaxtyping import Float
from torch import Tensor

from slot_core.noise import Generators
from slot_core.outputs import DecoderOutput, LossOutput

MaskSource = Literal["encoder", "decoder"]


class Corrector(Protocol):
    """Refines the slots of one frame on its features, as SlotAttention does."""

    def __call__(
        self,
        features: Float[Tensor, "batch positions feature_dim"],
        slots: Float[Tensor, "batch slots dim"],
    ) -> tuple[Float[Tensor, "batch slots dim"], Float[Tensor, "batch slots positions"]]:
        """The slots, and the attention that segments the frame: its sum over the slots is 1.

        An encoder with ``first_iterations`` gives that number as a third argument on a video's
        first frame.
        """
        ...


class Decoder(Protocol):
    """Turns slots back into video. ``default_mask_source`` names whose masks its papers score.

    One that makes no masks says so by ``makes_masks = False``. One that makes features of places
    instead of colours says so by ``paints = False``; if they are those that the encoder's backbone
    makes, also by ``wants_maps = True``, and is given its maps: as the target, and in ``decode`` as
    ``maps``, where it is slots of a video that are decoded.
    """

    default_mask_source: MaskSource

    def __call__(
        self,
        slots: Float[Tensor, "batch time slots dim"],
        target: Float[Tensor, "batch time channels height width"],
        *,
        generator: Generators | None = None,
    ) -> LossOutput:
        """The training loss of decoding ``slots`` towards ``target``, a normalised video or maps.

        ``generator`` draws whatever is random; one for each sample makes it the sample's own.
        One with a ``tokenizer`` also takes ``codes``, what that makes of the target's frames
        [batch time ...], where they are known already.
        """
        ...

    def decode(
        self,
        slots: Float[Tensor, "batch time slots dim"],
        generator: Generators | None = None,
    ) -> DecoderOutput:
        """The video that the slots stand for; ``generator`` draws whatever is random in it."""
        ...


class Tokenizer(Protocol):
    """Turns frames into few codes, tokens or latents, and back; trained before its decoder."""

    def __call__(
        self,
        frames: Float[Tensor, "batch channels height width"],
        progress: float = 1.0,
        generator: Generators | None = None,
    ) -> LossOutput:
        """The training loss on normalised frames.

        ``progress`` is the share of the training that is done, for what anneals; ``generator``
        draws whatever is random.
        """
        ...

    def encode(self, frames: Float[Tensor, "batch channels height width"]) -> Tensor:
        """The frames' codes, without gradients: integers, or a map of latents."""
        ...

    def decode(self, codes: Tensor) -> Float[Tensor, "batch channels height width"]:
        """The normalised frames that codes stand for, unclamped."""
        ...

    def reconstruct(
        self, frames: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels height width"]:
        """The frames as their codes remember them."""
        ...
