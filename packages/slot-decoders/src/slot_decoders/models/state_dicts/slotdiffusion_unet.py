"""The denoising U-Net of latent diffusion and SlotDiffusion in our terms.

Their blocks are numbered in the order in which they run; diffusers groups them by resolution. The
numbers of ``attention_resolutions`` are by how much the map is smaller there than at the top.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt

from slot_core import StrictConfig
from slot_decoders.models.configs import DenoiserConfig

RESIDUAL = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}


class UNetArguments(StrictConfig):
    """``unet_dict``, where the checkpoints' code knows more than their configurations use."""

    in_channels: PositiveInt
    model_channels: PositiveInt
    out_channels: PositiveInt
    num_res_blocks: PositiveInt
    attention_resolutions: tuple[PositiveInt, ...]
    dropout: float = Field(ge=0, lt=1)
    channel_mult: tuple[PositiveInt, ...] = Field(min_length=1)
    dims: Literal[2]
    use_checkpoint: bool  # recomputes in the backward pass and changes no output
    num_head_channels: PositiveInt
    resblock_updown: Literal[False]
    conv_resample: Literal[True]
    transformer_depth: Literal[1]
    context_dim: PositiveInt
    n_embed: None

    def denoiser(self) -> DenoiserConfig:
        """Our U-Net for these arguments."""
        levels = range(len(self.channel_mult))
        return DenoiserConfig(
            channels=tuple(self.model_channels * factor for factor in self.channel_mult),
            layers_per_block=self.num_res_blocks,
            attention_levels=tuple(i for i in levels if 2**i in self.attention_resolutions),
            head_dim=self.num_head_channels,
            dropout=self.dropout,
        )


def unet_names(config: DenoiserConfig, ours: str, theirs: str) -> dict[str, str]:
    """Our modules -> theirs, below the prefixes ``ours`` and ``theirs``."""
    names = {
        "time_embedding.linear_1": "time_embed.0",
        "time_embedding.linear_2": "time_embed.2",
        "conv_in": "input_blocks.0.0",
        "conv_norm_out": "out.0",
        "conv_out": "out.2",
        **_residual("mid_block.resnets.0", "middle_block.0"),
        "mid_block.attentions.0": "middle_block.1",
        **_residual("mid_block.resnets.1", "middle_block.2"),
        **_down_names(config),
        **_up_names(config),
    }
    return {f"{ours}{our_name}": f"{theirs}{their_name}" for our_name, their_name in names.items()}


def _down_names(config: DenoiserConfig) -> dict[str, str]:
    names: dict[str, str] = {}
    index = 1
    for level in range(len(config.channels)):
        ours = f"down_blocks.{level}"
        for block in range(config.layers_per_block):
            names |= _residual(f"{ours}.resnets.{block}", f"input_blocks.{index}.0")
            names[f"{ours}.attentions.{block}"] = f"input_blocks.{index}.1"
            index += 1
        names[f"{ours}.downsamplers.0.conv"] = f"input_blocks.{index}.0.op"
        index += 1
    return names


def _up_names(config: DenoiserConfig) -> dict[str, str]:
    names: dict[str, str] = {}
    index, last = 0, len(config.channels) - 1
    for level in range(last + 1):
        ours = f"up_blocks.{level}"
        attends = last - level in config.attention_levels
        for block in range(config.layers_per_block + 1):
            names |= _residual(f"{ours}.resnets.{block}", f"output_blocks.{index}.0")
            names[f"{ours}.attentions.{block}"] = f"output_blocks.{index}.1"
            index += 1
        upsampler = 2 if attends else 1  # it comes behind the last block of its resolution
        names[f"{ours}.upsamplers.0.conv"] = f"output_blocks.{index - 1}.{upsampler}.conv"
    return names


def _residual(ours: str, theirs: str) -> dict[str, str]:
    return {f"{ours}.{our_name}": f"{theirs}.{name}" for our_name, name in RESIDUAL.items()}
