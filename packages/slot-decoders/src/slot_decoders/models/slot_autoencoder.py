"""Every system of the house: ``slots = encoder(video)``, then ``loss = decoder(slots, video)``.

The papers are presets of this one class. ``forward`` is the training step, so that the hooks of
DDP and FSDP see it; everything else is a named method of the unwrapped model, without gradients
and in eval mode.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar, Concatenate, ParamSpec, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from slot_core import HubModel, InputError, LossOutput, SlotEncoder, SlotOutput, StrictConfig
from slot_core.protocols import MaskSource
from slot_decoders.models.configs import SlotAutoencoderConfig
from slot_decoders.models.preprocessing import Preprocessing, resize

Video = Float[Tensor, "batch time 3 height width"]
Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
Model = TypeVar("Model", bound=nn.Module)


def without_gradients(
    method: Callable[Concatenate[Model, Parameters], Result],
) -> Callable[Concatenate[Model, Parameters], Result]:
    """Run a method in eval mode and without gradients, and restore the modes after.

    Each module's own mode: a part that is kept in eval while the rest trains stays there.
    """

    @functools.wraps(method)
    def run(self: Model, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        modes = [(module, module.training) for module in self.modules()]
        self.eval()
        try:
            with torch.no_grad():
                return method(self, *args, **kwargs)
        finally:
            for module, training in modes:
                module.training = training

    return run


class SlotAutoencoder(HubModel):
    """An encoder and a decoder that learn objects by reconstruction.

    Args:
        encoder: normalised video to slots.
        decoder: slots and target to a loss; see slot_core.protocols.Decoder.
        preprocessing: of the video that every method takes, float in [0, 1].
        config: that describes these parts.
    """

    config_class: ClassVar[type[StrictConfig]] = SlotAutoencoderConfig
    config: SlotAutoencoderConfig

    def __init__(
        self,
        encoder: SlotEncoder,
        decoder: Any,
        preprocessing: Preprocessing,
        config: SlotAutoencoderConfig,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.preprocessing = preprocessing
        self.config = config

    @classmethod
    def from_config(cls, config: SlotAutoencoderConfig) -> SlotAutoencoder:
        """The freshly initialised model that ``config`` describes."""
        from slot_decoders.models.build import build_decoder, build_encoder

        preprocessing = Preprocessing(**config.preprocessing.model_dump())
        return cls(build_encoder(config), build_decoder(config), preprocessing, config)

    @property
    def num_slots(self) -> int:
        """How many objects, background included, the model can tell apart."""
        return self.config.num_slots

    @property
    def default_mask_source(self) -> MaskSource:
        """Whose masks ``segment`` gives unless told otherwise.

        The configuration's ``mask_source``, or those that the decoder's papers score.
        """
        return self.config.mask_source or self.decoder.default_mask_source

    def forward(self, video: Video, *, generator: torch.Generator | None = None) -> LossOutput:
        """The training step: the losses of reconstructing ``video``, float in [0, 1]."""
        target = self.preprocessing(video)
        encoded = self.encoder(target, generator=generator)
        losses = self.decoder(encoded.slots, target)
        return replace(losses, slots=encoded.slots.detach(), attention=encoded.attention)

    @without_gradients
    def encode(self, video: Video, *, generator: torch.Generator | None = None) -> SlotOutput:
        """Slots and attention of every frame."""
        return self.encoder(self.preprocessing(video), generator=generator)

    @without_gradients
    def segment(
        self,
        video: Video,
        *,
        source: MaskSource | None = None,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "batch time slots height width"]:
        """Soft masks at the video's own size, summing to 1 over the slots.

        Args:
            video: float in [0, 1].
            source: "encoder" for the attention of the last iteration, "decoder" for the
                decoder's masks; None for the model's default.
            generator: draws the first slots, where they are random.

        Raises:
            InputError: if the decoder makes no masks, or ``source`` is another word.
        """
        source = source or self.default_mask_source
        encoded = self.encoder(self.preprocessing(video), generator=generator)
        if source == "encoder":
            masks = encoded.attention.unflatten(-1, encoded.feature_size)
        elif source == "decoder":
            masks = self.decoder.decode(encoded.slots).masks
        else:
            raise InputError(f"the mask source is '{source}'; expected 'encoder' or 'decoder'")
        if masks is None:
            raise InputError("this model's decoder makes no masks; use source='encoder'")
        # No antialiasing, as in every published evaluation; it matters only when shrinking.
        return resize(masks, (video.shape[-2], video.shape[-1]), antialias=False)

    @without_gradients
    def reconstruct(self, video: Video, *, generator: torch.Generator | None = None) -> Video:
        """The video as the slots remember it, in [0, 1] at the video's own size."""
        encoded = self.encoder(self.preprocessing(video), generator=generator)
        decoded = self.decoder.decode(encoded.slots, generator).reconstruction
        resized = resize(self.preprocessing.undo(decoded), (video.shape[-2], video.shape[-1]))
        return resized.clamp(0, 1)  # resizing rounds: white can come out as 1 + 5e-7
