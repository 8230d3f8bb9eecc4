"""Checkpoints of SLATE's own code, against its formulas written out for tensors under its names."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from textbook_slate import Textbook, near
from torch import Tensor

from slot_core import CheckpointError, ConfigError
from slot_decoders.models import load_model, presets
from slot_decoders.models.state_dicts import convert

SMALL = {
    "image_size": 16,
    "num_slots": 4,
    "slot_size": 8,
    "mlp_hidden_size": 7,
    "vocab_size": 11,
    "num_dec_blocks": 2,
    "num_heads": 2,
    "d_model": 12,
}
TOKENS = 16


class SLATE(Textbook):
    """What its code computes, with the likeliest tokens."""

    def conv_block(self, name: str, x: Tensor, stride: int = 1, padding: int = 0) -> Tensor:
        x = F.conv2d(x, self.weights[f"{name}.m.weight"], None, stride, padding)
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return F.group_norm(x, 1, weight, bias).relu()

    def tokens(self, frames: Tensor) -> Tensor:
        x = self.conv_block("dvae.encoder.0", frames, 4)
        for index in range(1, 7):
            x = self.conv_block(f"dvae.encoder.{index}", x)
        return self.conv("dvae.encoder.7", x).argmax(1).flatten(1)

    def embedded(self, tokens: Tensor) -> Tensor:
        """The first token is the number 0, and the picture's are counted from 1."""
        numbers = torch.cat([torch.zeros_like(tokens[:, :1]), tokens + 1], 1)
        places = self.weights["positional_encoder.pe"][:, : 1 + TOKENS]
        return self.weights["dictionary.dictionary.weight"][numbers] + places

    def encode(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        seen = self.embedded(self.tokens(frames))[:, 1:]
        features = self.mlp("slot_attn.mlp", self.norm("slot_attn.layer_norm", seen))
        slots = self.weights["slot_attn.slot_mu"].expand(len(frames), SMALL["num_slots"], -1)
        name = "slot_attn.slot_attention"
        return self.slot_attention(name, features, slots, count=3, final_mlp=True)

    def logits(self, slots: Tensor, tokens: Tensor) -> Tensor:
        x = self.embedded(tokens)[:, :-1]
        return self.linear("out", self.transformer("tf_dec", x, self.linear("slot_proj", slots)))


def checkpoint() -> dict[str, Tensor]:
    """Random tensors under the names, and of the shapes, of its code."""
    dim, width, vocab = SMALL["slot_size"], SMALL["d_model"], SMALL["vocab_size"]
    shapes: dict[str, tuple[int, ...]] = {}

    def layer(name: str, *shape: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = shape, shape[:1]

    blocks = {"encoder.0": (64, 3, 4), "decoder.0": (64, vocab, 1)}
    blocks |= {f"encoder.{index}": (64, 64, 1) for index in range(1, 7)}
    for start in (1, 6):
        blocks |= {f"decoder.{start + index}": (64, 64, 1 if index else 3) for index in range(3)}
        blocks[f"decoder.{start + 3}"] = (256, 64, 1)
    for name, (out, into, side) in blocks.items():
        shapes[f"dvae.{name}.m.weight"] = (out, into, side, side)
        layer(f"dvae.{name}", out)
    layer("dvae.encoder.7", vocab, 64, 1, 1)
    layer("dvae.decoder.11", 3, 64, 1, 1)
    shapes["positional_encoder.pe"] = (1, 1 + TOKENS, width)
    shapes["dictionary.dictionary.weight"] = (vocab + 1, width)
    shapes["slot_attn.slot_mu"] = shapes["slot_attn.slot_log_sigma"] = (1, 1, dim)
    layer("slot_attn.layer_norm", width)
    layer("slot_attn.mlp.0", width, width)
    layer("slot_attn.mlp.2", width, width)
    cells = "slot_attn.slot_attention"
    for name, of in (("inputs", width), ("slots", dim), ("mlp", dim)):
        layer(f"{cells}.norm_{name}", of)
    for name, of in (("q", dim), ("k", width), ("v", width)):
        shapes[f"{cells}.project_{name}.weight"] = (dim, of)
    for side in ("ih", "hh"):
        shapes[f"{cells}.gru.weight_{side}"] = (3 * dim, dim)
        shapes[f"{cells}.gru.bias_{side}"] = (3 * dim,)
    layer(f"{cells}.mlp.0", SMALL["mlp_hidden_size"], dim)
    layer(f"{cells}.mlp.2", dim, SMALL["mlp_hidden_size"])
    shapes["slot_proj.weight"] = (width, dim)
    for block in range(SMALL["num_dec_blocks"]):
        inside = f"tf_dec.blocks.{block}"
        for name in ("self_attn", "encoder_decoder_attn"):
            layer(f"{inside}.{name}_layer_norm", width)
            shapes |= {f"{inside}.{name}.proj_{part}.weight": (width, width) for part in "qkvo"}
        shapes[f"{inside}.self_attn_mask"] = (TOKENS, TOKENS)
        layer(f"{inside}.ffn_layer_norm", width)
        layer(f"{inside}.ffn.0", 4 * width, width)
        layer(f"{inside}.ffn.2", width, 4 * width)
    layer("tf_dec.layer_norm", width)
    shapes["out.weight"] = (vocab, width)
    generator = torch.Generator().manual_seed(0)
    return {name: 0.3 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}


@pytest.fixture
def weights() -> dict[str, Tensor]:
    """Random ones, with first slots that do not spread."""
    found = checkpoint()
    found["slot_attn.slot_log_sigma"].fill_(-40)
    for name, value in found.items():  # let pixels decide which token it is
        if name.startswith("dvae.encoder.") and value.ndim == 1:
            value.mul_(0.1).add_(1 if name.endswith("weight") else 0)
    return found


def test_it_computes_what_its_formulas_say(weights: dict[str, Tensor], tmp_path: Any):
    convert({"model": weights, "epoch": 3}, SMALL, origin="slate").save_pretrained(tmp_path)
    model = load_model(tmp_path)
    book = SLATE(weights)
    patches = torch.rand(16, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    frames = patches.repeat_interleave(4, 2).repeat_interleave(4, 3)
    tokens = book.tokens(frames)
    assert len(tokens.unique()) > 2
    assert torch.equal(model.decoder.tokenizer.encode(frames).flatten(1), tokens)
    slots, attention = book.encode(frames)
    found = model.encode(frames[:, None])
    near(found.slots[:, 0], slots)
    near(found.attention[:, 0], attention)
    with torch.no_grad():
        near(model.decoder.logits(slots, tokens), book.logits(slots, tokens))
    expected = F.cross_entropy(book.logits(slots, tokens).mT, tokens)
    assert model(frames[:, None]).total.item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        ("slot_attn.mlp.2.bias", "lacks weights slot_attn.mlp.2.bias"),
        ("positional_encoder.pe", "lacks weights positional_encoder.pe"),
        ("dvae.encoder.3.m.weight", "lacks weights dvae.encoder.3.m.weight"),
        ("more", "has the unknown weights surprise"),
        ("shape", r"dictionary.dictionary.weight has the shape \[11, 12\], the configuration asks"),
    ],
)
def test_every_tensor_is_needed_and_used(weights: dict[str, Tensor], spoil: str, sentence: str):
    if spoil == "more":
        weights["surprise"] = torch.zeros(2)
    elif spoil == "shape":
        weights["dictionary.dictionary.weight"] = weights["dictionary.dictionary.weight"][1:]
    else:
        del weights[spoil]
    with pytest.raises(CheckpointError, match=sentence):
        convert(weights, SMALL, origin="slate")


def test_what_is_no_model_of_its_code_is_refused(weights: dict[str, Tensor]):
    with pytest.raises(ConfigError, match="'num_slot_heads' has the value 4"):
        convert(weights, {**SMALL, "num_slot_heads": 4}, origin="slate")
    for other in (presets.SLATE, presets.SLOT_ATTENTION, presets.SLOT_FORMER, presets.VQVAE):
        with pytest.raises(ConfigError, match="describes no model of SLATE's own code"):
            convert(weights, other, origin="slate")
    with pytest.raises(ConfigError, match="keeps no average"):
        convert(weights, SMALL, origin="slate", averaged=True)
