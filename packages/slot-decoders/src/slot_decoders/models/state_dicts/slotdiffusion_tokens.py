"""SlotDiffusion's ``SLATE`` and ``STEVE``: its encoder with the autoregressive token decoder.

Where its code states no value, its rule is spelled out: the transformer is as wide as a slot and
has a dropout of 0.1, and the second loss, where it is on, weighs as much as the first. Its
checkpoints hold the mask of every layer, which only says that patches see those before them.
"""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveInt, model_validator

from slot_core import StrictConfig
from slot_decoders.models.configs import (
    DVAEConfig,
    SlotAutoencoderConfig,
    TransformerConfig,
)
from slot_decoders.models.state_dicts.slotdiffusion_dvae import dvae_names
from slot_decoders.models.state_dicts.slotdiffusion_encoder import EncoderSide
from slot_decoders.models.state_dicts.slotdiffusion_video import VideoSide

DROPOUT = 0.1  # in its code for all checkpoints
BATCHED = frozenset({"decoder.position_embedding"})


class DVAEDict(StrictConfig):
    """``dvae_dict``. The path is where a training began; a checkpoint holds the weights."""

    vocab_size: PositiveInt
    down_factor: Literal[4] = 4
    dvae_ckp_path: str = ""


class TokenDecoderArguments(StrictConfig):
    """``dec_dict``."""

    dec_num_layers: PositiveInt
    dec_num_heads: PositiveInt
    dec_d_model: PositiveInt
    dec_type: Literal["slate"] = "slate"


class TokenLoss(StrictConfig):
    """``loss_dict``: beside the tokens' loss that of the picture they would give, or not."""

    use_img_recon_loss: bool = False


class SLATEArguments(EncoderSide):
    """The constructor arguments of ``SLATE``."""

    dvae_dict: DVAEDict
    dec_dict: TokenDecoderArguments
    loss_dict: TokenLoss = TokenLoss()

    @model_validator(mode="after")
    def _is_as_wide_as_a_slot(self) -> SLATEArguments:
        if self.dec_dict.dec_d_model != self.slot_dict.slot_size:
            raise ValueError(
                f"'dec_dict.dec_d_model' is {self.dec_dict.dec_d_model}, expected slot_size, "
                f"{self.slot_dict.slot_size}"
            )
        return self

    def config(self) -> SlotAutoencoderConfig:
        """The configuration of the same model in our terms."""
        decoder = TransformerConfig(
            tokenizer=DVAEConfig(vocab_size=self.dvae_dict.vocab_size),
            num_layers=self.dec_dict.dec_num_layers,
            num_heads=self.dec_dict.dec_num_heads,
            dropout=DROPOUT,
            reconstruction_weight=1.0 if self.loss_dict.use_img_recon_loss else 0.0,
        )
        return SlotAutoencoderConfig(decoder=decoder, **self.shared())


class STEVEArguments(VideoSide, SLATEArguments):
    """The constructor arguments of ``STEVE``: those of ``SLATE``, and a predictor."""


def token_names(config: TransformerConfig) -> dict[str, str]:
    """Our decoder's modules -> theirs."""
    names = {
        **dvae_names("decoder.tokenizer.", "dvae."),
        "decoder.slot_projection": "trans_decoder.in_proj",
        "decoder.token_embedding": "trans_decoder.tok_emb",
        "decoder.position_embedding": "trans_decoder.pos_emb.pe",
        "decoder.norm": "trans_decoder.tf_dec.layer_norm",
        "decoder.head": "trans_decoder.head",
    }
    for layer in range(config.num_layers):
        ours, theirs = f"decoder.blocks.{layer}", f"trans_decoder.tf_dec.blocks.{layer}"
        names |= {
            f"{ours}.norm_patches": f"{theirs}.self_attn_layer_norm",
            f"{ours}.norm_queries": f"{theirs}.encoder_decoder_attn_layer_norm",
            f"{ours}.norm_mlp": f"{theirs}.ffn_layer_norm",
            f"{ours}.mlp": f"{theirs}.ffn",
        }
        for mine, their in (
            ("patch_attention", "self_attn"),
            ("slot_reading", "encoder_decoder_attn"),
        ):
            for part, letter in (
                ("to_query", "q"),
                ("to_key", "k"),
                ("to_value", "v"),
                ("output", "o"),
            ):
                names[f"{ours}.{mine}.{part}"] = f"{theirs}.{their}.proj_{letter}"
    return names


def token_masks(config: TransformerConfig) -> dict[str, str]:
    """What of theirs we need not have, and why."""
    return {
        f"trans_decoder.tf_dec.blocks.{layer}.self_attn_mask": "it follows from the order"
        for layer in range(config.num_layers)
    }
