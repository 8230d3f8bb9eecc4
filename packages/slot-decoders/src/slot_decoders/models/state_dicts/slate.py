"""Checkpoints of SLATE's own code, github.com/singhgautam/slate (Singh et al. 2021,
arXiv 2110.11405).

Its slots look at the tokens that the decoder paints (``token_features.py``), embedded by the
decoder's own table and places; ours keeps both twice. Its arguments are those of its training
script, of which those that describe the model are read; what is left out has the script's default.
Some of its tensors are ours in another form: the first token is the first row of the table, ours
the last; the encoder sees the places from the second on, the decoder all but the last; nothing is
added for where a feature stands, which is a position embedding of zeros in ours.

Masks are enlarged by repeating pixels there, bilinearly here; while training, its tokens are drawn,
ours are the likeliest, its dVAE learns along and its losses are sums over a picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from pydantic import PositiveInt
from torch import Tensor

from slot_core import ConfigError, StrictConfig
from slot_decoders.models.configs import (
    DVAEConfig,
    EncoderConfig,
    GaussianSlotsConfig,
    PreprocessingConfig,
    SlotAttentionConfig,
    SlotAutoencoderConfig,
    TokenFeaturesConfig,
    TransformerConfig,
)
from slot_decoders.models.state_dicts.mapping import StateDictMap, Tensors
from slot_decoders.models.state_dicts.slotdiffusion_dvae import dvae_names
from slot_decoders.models.state_dicts.steve import EPSILON, decoder_names, encoder_names

TABLE, PLACES = "dictionary.dictionary.weight", "positional_encoder.pe"
# Names that no checkpoint has, for what ``pick_weights`` makes.
ENCODER_TABLE, ENCODER_PLACES = "encoder_dictionary.weight", "encoder_positional_encoder.pe"
NOWHERE = "position_of_zeros"


class SLATEArguments(StrictConfig):
    """The arguments of its training script that describe the model."""

    image_size: PositiveInt = 64
    img_channels: Literal[3] = 3
    num_dec_blocks: PositiveInt = 4
    vocab_size: PositiveInt = 1024
    d_model: PositiveInt = 192
    num_heads: PositiveInt = 4
    dropout: float = 0.1
    num_iterations: PositiveInt = 3
    num_slots: PositiveInt = 3
    num_slot_heads: Literal[1] = 1
    slot_size: PositiveInt = 192
    mlp_hidden_size: PositiveInt = 192
    pos_channels: PositiveInt = 4  # read by nothing

    def config(self) -> SlotAutoencoderConfig:
        """The configuration of the same model in our terms."""
        tokenizer = DVAEConfig(vocab_size=self.vocab_size)
        other_width = None if self.d_model == self.slot_size else self.d_model
        return SlotAutoencoderConfig(
            num_slots=self.num_slots,
            slot_dim=self.slot_size,
            preprocessing=PreprocessingConfig(
                image_size=(self.image_size, self.image_size), mean=(0, 0, 0), std=(1, 1, 1)
            ),
            encoder=EncoderConfig(
                backbone=TokenFeaturesConfig(tokenizer=tokenizer, feature_dim=self.d_model),
                projection_dim=other_width,
                initializer=GaussianSlotsConfig(),
                corrector=SlotAttentionConfig(
                    hidden_dim=self.mlp_hidden_size,
                    num_iterations=self.num_iterations,
                    epsilon=EPSILON,
                ),
            ),
            decoder=TransformerConfig(
                tokenizer=tokenizer,
                model_dim=other_width,
                num_layers=self.num_dec_blocks,
                num_heads=self.num_heads,
                dropout=self.dropout,
            ),
        )


def read_config(description: Mapping[str, object], *, source: str) -> SlotAutoencoderConfig:
    """Our configuration of the model that its arguments describe.

    Raises:
        ConfigError: naming a key that is unknown or has a value that cannot be used.
    """
    return SLATEArguments.parse(description, source=source).config()


def state_dict_map(config: Any) -> StateDictMap:
    """How its weights, as ``pick_weights`` gives them, correspond to ours.

    Raises:
        ConfigError: if its code has no such model.
    """
    if (
        not isinstance(config, SlotAutoencoderConfig)
        or not isinstance(config.encoder.backbone, TokenFeaturesConfig)
        or not isinstance(config.decoder, TransformerConfig)
    ):
        raise ConfigError("the configuration describes no model of SLATE's own code; give --config")
    decoder = config.decoder
    names = {
        **dvae_names("encoder.backbone.tokenizer.", "dvae."),
        **dvae_names("decoder.tokenizer.", "dvae."),
        "encoder.backbone.embedding.weight": ENCODER_TABLE,
        "encoder.backbone.places": ENCODER_PLACES,
        "encoder.position_embedding.linear": NOWHERE,
        **encoder_names("slot_attn.", "slot_attn.", "slot_attn.slot_attention."),
        "decoder.slot_projection": "slot_proj",
        "decoder.token_embedding.weight": TABLE,
        "decoder.position_embedding": PLACES,
        "decoder.norm": "tf_dec.layer_norm",
        "decoder.head": "out",
        **decoder_names(decoder.num_layers, "tf_dec"),
    }
    ignored = {
        f"tf_dec.blocks.{layer}.self_attn_mask": "it follows from the order"
        for layer in range(decoder.num_layers)
    }
    return StateDictMap(names, ignored)


def pick_weights(
    weights: Mapping[str, Tensor], config: SlotAutoencoderConfig, *, averaged: bool, source: str
) -> dict[str, Tensor]:
    """The checkpoint with the tensors that ours has in another form in that form.

    Raises:
        ConfigError: if the average is asked for, which its training does not keep.
        CheckpointError: naming one of those tensors that is missing or has another shape.
    """
    if averaged:
        raise ConfigError(f"{source}: SLATE's code keeps no average of its weights")
    found = Tensors(weights, source)
    dim, width = config.slot_dim, config.encoder.projection_dim or config.slot_dim
    assert isinstance(config.decoder, TransformerConfig)
    for name in ("slot_attn.slot_mu", "slot_attn.slot_log_sigma"):
        found[name] = found.take(name, (1, 1, dim)).flatten()
    table = found.take(TABLE, (config.decoder.tokenizer.vocab_size + 1, width))
    found[ENCODER_TABLE] = table[1:]
    found[TABLE] = torch.cat([table[1:], table[:1]])
    count = (config.preprocessing.image_size[0] // 4) ** 2
    places = found.take(PLACES, (1, 1 + count, width))[0]
    found[PLACES], found[ENCODER_PLACES] = places[:count], places[1:]
    found["slot_proj.bias"] = torch.zeros(width)
    found[f"{NOWHERE}.weight"] = torch.zeros(width, 4)
    found[f"{NOWHERE}.bias"] = torch.zeros(width)
    return found
