"""Checkpoints of STEVE's own code, github.com/singhgautam/steve (Singh et al. 2022,
arXiv 2205.14065).

Its arguments are those of its training script, of which those that describe the model are read;
what is left out has the script's default. Some of its tensors are ours in another form:

* positions are the centres of cells, and a 1x1 convolution reads x, y, 1 - x and 1 - y; ours go
  from border to border in the order y, x, 1 - y, 1 - x. Both are linear, so scale and offset pass
  into weights and bias;
* the first token is a vector of its own, ours the last row of the table; the last of its positions
  is never read;
* attention between slots has no biases, as many zeros in ours.

What it computes is the same, with three exceptions. Masks are enlarged by repeating pixels there,
bilinearly here. While training, its targets are drawn, ours are the likeliest tokens. Its losses
are sums over a frame, ours are means.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from pydantic import PositiveInt
from torch import Tensor

from slot_core import ConfigError, StrictConfig
from slot_decoders.models.configs import (
    CNNConfig,
    DVAEConfig,
    EncoderConfig,
    GaussianSlotsConfig,
    PreprocessingConfig,
    SlotAttentionConfig,
    SlotAutoencoderConfig,
    TransformerConfig,
    TransformerPredictorConfig,
)
from slot_decoders.models.state_dicts.mapping import StateDictMap, Tensors

UNHALVED = 64  # pictures of this side keep it; the first convolution halves others
KERNEL = 5
EPSILON = 1e-8  # of its Slot Attention
ENCODER, DECODER = "steve_encoder.", "steve_decoder."
PREDICTOR = f"{ENCODER}savi.predictor."
# x, y, 1 - x, 1 - y to y, x, 1 - y, 1 - x
OUR_ORDER = [1, 0, 3, 2]


class STEVEArguments(StrictConfig):
    """The arguments of its training script that describe the model."""

    image_size: PositiveInt = 128
    img_channels: Literal[3] = 3
    num_iterations: PositiveInt = 2
    num_slots: PositiveInt = 15
    cnn_hidden_size: PositiveInt = 64
    slot_size: PositiveInt = 192
    mlp_hidden_size: PositiveInt = 192
    num_predictor_blocks: PositiveInt = 1
    num_predictor_heads: PositiveInt = 4
    predictor_dropout: float = 0.0
    vocab_size: PositiveInt = 4096
    num_decoder_blocks: PositiveInt = 8
    num_decoder_heads: PositiveInt = 4
    d_model: PositiveInt = 192
    dropout: float = 0.1

    def config(self) -> SlotAutoencoderConfig:
        """The configuration of the same model in our terms."""
        hidden, width = self.cnn_hidden_size, self.d_model
        other_width = None if width == self.slot_size else width
        return SlotAutoencoderConfig(
            num_slots=self.num_slots,
            slot_dim=self.slot_size,
            preprocessing=PreprocessingConfig(
                image_size=(self.image_size, self.image_size), mean=(0, 0, 0), std=(1, 1, 1)
            ),
            encoder=EncoderConfig(
                backbone=CNNConfig(
                    channels=(hidden, hidden, hidden, width),
                    strides=() if self.image_size == UNHALVED else (2,),
                    kernel_size=KERNEL,
                ),
                projection_dim=other_width,
                initializer=GaussianSlotsConfig(),
                corrector=SlotAttentionConfig(
                    hidden_dim=self.mlp_hidden_size,
                    num_iterations=self.num_iterations,
                    epsilon=EPSILON,
                    final_mlp=False,
                ),
                predictor=TransformerPredictorConfig(
                    num_layers=self.num_predictor_blocks,
                    num_heads=self.num_predictor_heads,
                    hidden_dim=4 * self.slot_size,
                    dropout=self.predictor_dropout,
                    normed_sum=True,
                ),
            ),
            decoder=TransformerConfig(
                tokenizer=DVAEConfig(vocab_size=self.vocab_size, normed=False),
                model_dim=other_width,
                num_layers=self.num_decoder_blocks,
                num_heads=self.num_decoder_heads,
                dropout=self.dropout,
            ),
        )


def read_config(description: Mapping[str, object], *, source: str) -> SlotAutoencoderConfig:
    """Our configuration of the model that its arguments describe.

    Raises:
        ConfigError: naming a key that is unknown or has a value that cannot be used.
    """
    return STEVEArguments.parse(description, source=source).config()


def state_dict_map(config: Any) -> StateDictMap:
    """How its weights, as ``pick_weights`` gives them, correspond to ours.

    Raises:
        ConfigError: if its code has no such model.
    """
    if (
        not isinstance(config, SlotAutoencoderConfig)
        or not isinstance(config.encoder.predictor, TransformerPredictorConfig)
        or not config.encoder.predictor.normed_sum
        or not isinstance(config.decoder, TransformerConfig)
    ):
        raise ConfigError("the configuration describes no model of STEVE's own code; give --config")
    predictor, decoder = config.encoder.predictor, config.decoder
    names = {
        **{f"encoder.backbone.layers.{2 * i}": f"{ENCODER}cnn.{i}.m" for i in range(3)},
        "encoder.backbone.layers.6": f"{ENCODER}cnn.3",
        "encoder.position_embedding.linear": f"{ENCODER}pos.projection",
        **encoder_names(ENCODER, f"{ENCODER}savi.", f"{ENCODER}savi."),
        "encoder.predictor.norm": f"{PREDICTOR}layer_norm",
        "decoder.slot_projection": f"{ENCODER}slot_proj",
        "decoder.token_embedding.weight": f"{DECODER}dict.dictionary.weight",
        "decoder.position_embedding": f"{DECODER}pos.pe",
        "decoder.norm": f"{DECODER}tf.layer_norm",
        "decoder.head": f"{DECODER}head",
    }
    for layer in range(predictor.num_layers):
        ours, theirs = f"encoder.predictor.layers.{layer}", f"{PREDICTOR}blocks.{layer}"
        for mine, their in (
            ("norm1", "attn_layer_norm"),
            ("norm2", "ffn_layer_norm"),
            ("self_attn.in_proj_weight", "attn.proj_qkv.weight"),
            ("self_attn.in_proj_bias", "attn.proj_qkv.bias"),
            ("self_attn.out_proj", "attn.proj_o"),
            ("linear1", "ffn.0"),
            ("linear2", "ffn.2"),
        ):
            names[f"{ours}.{mine}"] = f"{theirs}.{their}"
    names |= decoder_names(decoder.num_layers, f"{DECODER}tf") | _dvae_names()
    masks = {
        f"{DECODER}tf.blocks.{layer}.self_attn_mask": "it follows from the order"
        for layer in range(decoder.num_layers)
    }
    ignored = masks | {f"{ENCODER}pos.pe": "positions, which follow from the size of the features"}
    return StateDictMap(names, ignored)


def encoder_names(projection: str, first: str, cells: str) -> dict[str, str]:
    """What follows our backbone -> its names and those of SLATE's code.

    Args:
        projection: what its feature projection's names begin with.
        first: its first slots'.
        cells: its Slot Attention's.
    """
    return {
        "encoder.projection.0": f"{projection}layer_norm",
        "encoder.projection.1": f"{projection}mlp.0",
        "encoder.projection.3": f"{projection}mlp.2",
        "encoder.initializer.mean": f"{first}slot_mu",
        "encoder.initializer.log_std": f"{first}slot_log_sigma",
        "encoder.corrector.norm_features": f"{cells}norm_inputs",
        "encoder.corrector.norm_slots": f"{cells}norm_slots",
        "encoder.corrector.to_query": f"{cells}project_q",
        "encoder.corrector.to_key": f"{cells}project_k",
        "encoder.corrector.to_value": f"{cells}project_v",
        "encoder.corrector.gru": f"{cells}gru",
        "encoder.corrector.mlp.0": f"{cells}norm_mlp",
        "encoder.corrector.mlp.1": f"{cells}mlp.0",
        "encoder.corrector.mlp.3": f"{cells}mlp.2",
    }


def decoder_names(num_layers: int, prefix: str) -> dict[str, str]:
    """Our decoder's blocks -> those of its and of SLATE's code, which are below ``prefix``."""
    names: dict[str, str] = {}
    attentions = {"patch_attention": "self_attn", "slot_reading": "encoder_decoder_attn"}
    parts = {"to_query": "q", "to_key": "k", "to_value": "v", "output": "o"}
    for layer in range(num_layers):
        ours, theirs = f"decoder.blocks.{layer}", f"{prefix}.blocks.{layer}"
        names |= {
            f"{ours}.norm_patches": f"{theirs}.self_attn_layer_norm",
            f"{ours}.norm_queries": f"{theirs}.encoder_decoder_attn_layer_norm",
            f"{ours}.norm_mlp": f"{theirs}.ffn_layer_norm",
            f"{ours}.mlp": f"{theirs}.ffn",
        }
        for mine, their in attentions.items():
            for part, letter in parts.items():
                names[f"{ours}.{mine}.{part}"] = f"{theirs}.{their}.proj_{letter}"
    return names


def _dvae_names() -> dict[str, str]:
    names = {}
    for half, blocks, last in (
        ("encoder", range(7), 7),
        ("decoder", (*range(5), *range(6, 10)), 11),
    ):
        names |= {
            f"decoder.tokenizer.{half}.{index}.conv": f"dvae.{half}.{index}.m" for index in blocks
        }
        names[f"decoder.tokenizer.{half}.{last}"] = f"dvae.{half}.{last}"
    return names


def pick_weights(
    weights: Mapping[str, Tensor], config: SlotAutoencoderConfig, *, averaged: bool, source: str
) -> dict[str, Tensor]:
    """The checkpoint with the tensors that ours has in another form in that form.

    Raises:
        ConfigError: if the average is asked for, which its training does not keep.
        CheckpointError: naming one of those tensors that is missing or has another shape.
    """
    if averaged:
        raise ConfigError(f"{source}: STEVE's code keeps no average of its weights")
    found = Tensors(weights, source)
    dim, width = config.slot_dim, config.encoder.projection_dim or config.slot_dim
    side = config.preprocessing.image_size[0]
    cells = side if side == UNHALVED else side // 2
    projection = f"{ENCODER}pos.projection"
    weight = found.take(f"{projection}.weight", (width, 4, 1, 1)).flatten(1)
    bias = found.take(f"{projection}.bias", (width,))
    found[f"{projection}.weight"] = weight[:, OUR_ORDER] * ((cells - 1) / cells)
    found[f"{projection}.bias"] = bias + weight.sum(1) * (0.5 / cells)
    for name in ("slot_mu", "slot_log_sigma"):
        name = f"{ENCODER}savi.{name}"
        found[name] = found.take(name, (1, 1, dim)).flatten()
    found[f"{ENCODER}slot_proj.bias"] = torch.zeros(width)
    assert isinstance(config.decoder, TransformerConfig)
    assert config.encoder.predictor is not None
    table = f"{DECODER}dict.dictionary.weight"
    tokens = found.take(table, (config.decoder.tokenizer.vocab_size, width))
    begin = found.take(f"{DECODER}bos", (1, 1, width)).flatten(1)
    found[table] = torch.cat([tokens, begin])
    count = (side // 4) ** 2
    places = found.take(f"{DECODER}pos.pe", (1, 1 + count, width))
    found[f"{DECODER}pos.pe"] = places[0, :count]
    for layer in range(getattr(config.encoder.predictor, "num_layers", 0)):
        attention = f"{PREDICTOR}blocks.{layer}.attn"
        parts = [found.take(f"{attention}.proj_{part}.weight", (dim, dim)) for part in "qkv"]
        found[f"{attention}.proj_qkv.weight"] = torch.cat(parts)
        found[f"{attention}.proj_qkv.bias"] = torch.zeros(3 * dim)
        found[f"{attention}.proj_o.bias"] = torch.zeros(dim)
    return found
