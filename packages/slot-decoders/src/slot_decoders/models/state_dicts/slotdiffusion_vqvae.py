"""SlotDiffusion's VQ-VAE in our terms.

Its constructor arguments say where attention is, which is nowhere in any configuration of theirs
but in the middle, where it always is. The attention's projections are convolutions of one pixel
in their code, linear layers in ours. A checkpoint of a VQ-VAE that was trained with the perceptual
loss also holds the network of that loss, which we keep out of checkpoints.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt, model_validator

from slot_core import StrictConfig
from slot_decoders.models.configs import (
    PreprocessingConfig,
    TokenizerModelConfig,
    VQVAEConfig,
)

PERCEPTUAL_LOSS = "loss.perceptual_loss."  # its network, which we keep out of checkpoints

ATTENTION = {
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
}
RESIDUAL = {
    "norm1": "norm1",
    "conv1": "conv1",
    "norm2": "norm2",
    "conv2": "conv2",
    "conv_shortcut": "nin_shortcut",
}


class EncoderDecoderArguments(StrictConfig):
    """``enc_dec_dict``. The resolution is that of the pictures, as the convolutions take any."""

    resolution: PositiveInt
    in_channels: Literal[3]
    z_channels: PositiveInt
    ch: PositiveInt
    ch_mult: tuple[PositiveInt, ...] = Field(min_length=1)
    num_res_blocks: PositiveInt
    attn_resolutions: tuple[()]
    out_ch: Literal[3]
    dropout: float = Field(ge=0, le=0)


class CodebookArguments(StrictConfig):
    """``vq_dict``."""

    n_embed: PositiveInt
    embed_dim: PositiveInt
    percept_loss_w: float = Field(ge=0)


class VQVAEArguments(StrictConfig):
    """The constructor arguments of ``VQVAE``, alone or as the first stage of another model."""

    enc_dec_dict: EncoderDecoderArguments
    vq_dict: CodebookArguments

    @model_validator(mode="after")
    def _has_codes_as_wide_as_latents(self) -> VQVAEArguments:
        latents, codes = self.enc_dec_dict.z_channels, self.vq_dict.embed_dim
        if codes != latents:
            raise ValueError(
                f"'vq_dict.embed_dim' is {codes}, expected 'enc_dec_dict.z_channels', {latents}"
            )
        return self

    def tokenizer(self) -> VQVAEConfig:
        """Our VQ-VAE for these arguments: absolute errors go with the perceptual loss."""
        network, codebook = self.enc_dec_dict, self.vq_dict
        return VQVAEConfig(
            channels=tuple(network.ch * factor for factor in network.ch_mult),
            layers_per_block=network.num_res_blocks,
            latent_channels=network.z_channels,
            vocab_size=codebook.n_embed,
            reconstruction="l1" if codebook.percept_loss_w > 0 else "mse",
            perceptual_weight=codebook.percept_loss_w,
        )


class VQVAEModelArguments(VQVAEArguments):
    """The constructor arguments of a ``VQVAE`` that stands alone, in pictures in [-1, 1]."""

    def config(self) -> TokenizerModelConfig:
        """The configuration of the same model in our terms."""
        side = self.enc_dec_dict.resolution
        return TokenizerModelConfig(
            preprocessing=PreprocessingConfig(
                image_size=(side, side), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)
            ),
            tokenizer=self.tokenizer(),
        )


def vqvae_names(config: VQVAEConfig, ours: str, theirs: str) -> dict[str, str]:
    """Our modules -> theirs, below the prefixes ``ours`` and ``theirs``."""
    names = {name: name for name in ("quant_conv", "quantize", "post_quant_conv")}
    levels = len(config.channels)
    for half in ("encoder", "decoder"):
        names |= {f"{half}.{layer}": f"{half}.{layer}" for layer in ("conv_in", "conv_out")}
        names[f"{half}.conv_norm_out"] = f"{half}.norm_out"
        for block in range(2):
            names |= _residual(f"{half}.mid_block.resnets.{block}", f"{half}.mid.block_{block + 1}")
        for our_name, their_name in ATTENTION.items():
            our_name = f"{half}.mid_block.attentions.0.{our_name}"
            names[our_name] = f"{half}.mid.attn_1.{their_name}"
    for level in range(levels):
        down, up = f"encoder.down_blocks.{level}", f"decoder.up_blocks.{levels - 1 - level}"
        for block in range(config.layers_per_block):
            names |= _residual(f"{down}.resnets.{block}", f"encoder.down.{level}.block.{block}")
        for block in range(config.layers_per_block + 1):
            names |= _residual(f"{up}.resnets.{block}", f"decoder.up.{level}.block.{block}")
        names[f"{down}.downsamplers.0"] = f"encoder.down.{level}.downsample"
        names[f"{up}.upsamplers.0"] = f"decoder.up.{level}.upsample"
    return {f"{ours}{our_name}": f"{theirs}{their_name}" for our_name, their_name in names.items()}


def pointwise_names(ours: str) -> frozenset[str]:
    """Our linear layers' weights, below a prefix, that are convolutions of one pixel in theirs."""
    return frozenset(
        f"{ours}{half}.mid_block.attentions.0.{layer}.weight"
        for half in ("encoder", "decoder")
        for layer in ATTENTION
        if layer != "group_norm"
    )


def _residual(ours: str, theirs: str) -> dict[str, str]:
    return {f"{ours}.{our_name}": f"{theirs}.{name}" for our_name, name in RESIDUAL.items()}
