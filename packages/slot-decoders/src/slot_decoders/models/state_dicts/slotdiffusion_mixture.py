"""SlotDiffusion's ``SA`` and ``SAVi``: its encoder with the spatial-broadcast mixture decoder.

``dec_channels`` begins with the slot width, which ours does not repeat; its decoder is one
sequence whose last module is the 1x1 convolution to colours and mask.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt, model_validator

from slot_core import StrictConfig
from slot_decoders.models.configs import (
    KernelSize,
    Size,
    SlotAutoencoderConfig,
    SpatialBroadcastConfig,
)
from slot_decoders.models.state_dicts.mapping import Implied
from slot_decoders.models.state_dicts.slotdiffusion_encoder import EncoderSide
from slot_decoders.models.state_dicts.slotdiffusion_video import VideoSide

IGNORED = {"decoder_pos_embedding.grid": "positions, which follow from the broadcast size"}


class MixtureDecoderArguments(StrictConfig):
    """``dec_dict``. No checkpoint of theirs normalises inside this decoder."""

    dec_channels: tuple[PositiveInt, ...] = Field(min_length=2)
    dec_resolution: Size
    dec_ks: KernelSize
    dec_norm: Literal[""]


class ReconstructionLoss(StrictConfig):
    """``loss_dict``: the squared error, which their code always asks for."""

    use_img_recon_loss: Literal[True] = True


class SAArguments(EncoderSide):
    """The constructor arguments of ``SA``."""

    dec_dict: MixtureDecoderArguments
    loss_dict: ReconstructionLoss = ReconstructionLoss()

    @model_validator(mode="after")
    def _decodes_slots(self) -> SAArguments:
        if self.dec_dict.dec_channels[0] != self.slot_dict.slot_size:
            raise ValueError(
                f"'dec_dict.dec_channels' begins with {self.dec_dict.dec_channels[0]}, "
                f"expected slot_size, {self.slot_dict.slot_size}"
            )
        return self

    def config(self) -> SlotAutoencoderConfig:
        """The configuration of the same model in our terms."""
        decoder = SpatialBroadcastConfig(
            channels=self.dec_dict.dec_channels[1:],
            broadcast_size=self.dec_dict.dec_resolution,
            kernel_size=self.dec_dict.dec_ks,
        )
        return SlotAutoencoderConfig(decoder=decoder, **self.shared())


class SAViArguments(VideoSide, SAArguments):
    """The constructor arguments of ``SAVi``: those of ``SA``, and a predictor."""


def mixture_implied(config: SpatialBroadcastConfig) -> Implied:
    """Shape of the positions, which follows from the configuration."""
    return {"decoder_pos_embedding.grid": (1, *config.broadcast_size, 4)}


def mixture_names(config: SpatialBroadcastConfig) -> dict[str, str]:
    """Our decoder's modules -> theirs."""
    layers = len(config.channels)
    return {
        **{f"decoder.layers.{2 * i}": f"decoder.{i}.0" for i in range(layers)},
        "decoder.output": f"decoder.{layers}",
        "decoder.position_embedding.linear": "decoder_pos_embedding.dense",
    }
