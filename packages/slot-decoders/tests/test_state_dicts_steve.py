"""Checkpoints of STEVE's own code, against its formulas written out for tensors under its names.

There are no weights of its to compare with here, so the witness is the textbook below: what its
public code computes, frame by frame, from a dictionary of random tensors.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from textbook_slate import Textbook, near
from torch import Tensor

from slot_core import CheckpointError, ConfigError
from slot_decoders.models import SlotAutoencoder, presets
from slot_decoders.models.state_dicts import convert

SMALL = {
    "image_size": 16,
    "num_slots": 3,
    "cnn_hidden_size": 5,
    "slot_size": 8,
    "mlp_hidden_size": 7,
    "num_predictor_blocks": 2,
    "num_predictor_heads": 2,
    "vocab_size": 11,
    "num_decoder_blocks": 2,
    "num_decoder_heads": 2,
    "d_model": 12,
}
CELLS, TOKENS = 8, 16


def checkpoint(seed: int = 0, **changes: Any) -> dict[str, Tensor]:
    """Random tensors under the names, and of the shapes, of its code."""
    size = {**SMALL, **changes}
    hidden, dim, width = size["cnn_hidden_size"], size["slot_size"], size["d_model"]
    shapes: dict[str, tuple[int, ...]] = {}

    def linear(name: str, out: int, into: int, *rest: int, bias: bool = True) -> None:
        shapes[f"{name}.weight"] = (out, into, *rest)
        if bias:
            shapes[f"{name}.bias"] = (out,)

    def norm(name: str, of: int) -> None:
        shapes[f"{name}.weight"] = shapes[f"{name}.bias"] = (of,)

    def attention(name: str, of: int) -> None:
        for part in "qkvo":
            linear(f"{name}.proj_{part}", of, of, bias=False)

    def mlp(name: str, of: int) -> None:
        linear(f"{name}.0", 4 * of, of)
        linear(f"{name}.2", of, 4 * of)

    vocab = size["vocab_size"]
    linear("dvae.encoder.0.m", 64, 3, 4, 4)
    for index in range(1, 7):
        linear(f"dvae.encoder.{index}.m", 64, 64, 1, 1)
    linear("dvae.encoder.7", vocab, 64, 1, 1)
    linear("dvae.decoder.0.m", 64, vocab, 1, 1)
    for start in (1, 6):
        linear(f"dvae.decoder.{start}.m", 64, 64, 3, 3)
        linear(f"dvae.decoder.{start + 1}.m", 64, 64, 1, 1)
        linear(f"dvae.decoder.{start + 2}.m", 64, 64, 1, 1)
        linear(f"dvae.decoder.{start + 3}.m", 256, 64, 1, 1)
    linear("dvae.decoder.11", 3, 64, 1, 1)
    for index in range(3):
        linear(f"steve_encoder.cnn.{index}.m", hidden, hidden if index else 3, 5, 5)
    linear("steve_encoder.cnn.3", width, hidden, 5, 5)
    linear("steve_encoder.pos.projection", width, 4, 1, 1)
    shapes["steve_encoder.pos.pe"] = (1, 4, CELLS, CELLS)
    norm("steve_encoder.layer_norm", width)
    linear("steve_encoder.mlp.0", width, width)
    linear("steve_encoder.mlp.2", width, width)
    savi = "steve_encoder.savi"
    shapes[f"{savi}.slot_mu"] = shapes[f"{savi}.slot_log_sigma"] = (1, 1, dim)
    norm(f"{savi}.norm_inputs", width)
    norm(f"{savi}.norm_slots", dim)
    norm(f"{savi}.norm_mlp", dim)
    linear(f"{savi}.project_q", dim, dim, bias=False)
    linear(f"{savi}.project_k", dim, width, bias=False)
    linear(f"{savi}.project_v", dim, width, bias=False)
    for side in ("ih", "hh"):
        shapes[f"{savi}.gru.weight_{side}"] = (3 * dim, dim)
        shapes[f"{savi}.gru.bias_{side}"] = (3 * dim,)
    linear(f"{savi}.mlp.0", size["mlp_hidden_size"], dim)
    linear(f"{savi}.mlp.2", dim, size["mlp_hidden_size"])
    for block in range(size["num_predictor_blocks"]):
        inside = f"{savi}.predictor.blocks.{block}"
        norm(f"{inside}.attn_layer_norm", dim)
        attention(f"{inside}.attn", dim)
        norm(f"{inside}.ffn_layer_norm", dim)
        mlp(f"{inside}.ffn", dim)
    norm(f"{savi}.predictor.layer_norm", dim)
    linear("steve_encoder.slot_proj", width, dim, bias=False)
    shapes["steve_decoder.dict.dictionary.weight"] = (vocab, width)
    shapes["steve_decoder.bos"] = (1, 1, width)
    shapes["steve_decoder.pos.pe"] = (1, 1 + TOKENS, width)
    for block in range(size["num_decoder_blocks"]):
        inside = f"steve_decoder.tf.blocks.{block}"
        norm(f"{inside}.self_attn_layer_norm", width)
        attention(f"{inside}.self_attn", width)
        shapes[f"{inside}.self_attn_mask"] = (TOKENS, TOKENS)
        norm(f"{inside}.encoder_decoder_attn_layer_norm", width)
        attention(f"{inside}.encoder_decoder_attn", width)
        norm(f"{inside}.ffn_layer_norm", width)
        mlp(f"{inside}.ffn", width)
    norm("steve_decoder.tf.layer_norm", width)
    linear("steve_decoder.head", vocab, width, bias=False)
    generator = torch.Generator().manual_seed(seed)
    return {name: 0.3 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}


class STEVE(Textbook):
    """What its code computes."""

    def features(self, frames: Tensor) -> Tensor:
        x, name = frames, "steve_encoder"
        for index, stride in enumerate((2, 1, 1)):
            x = self.conv(f"{name}.cnn.{index}.m", x, stride, 2).relu()
        x = self.conv(f"{name}.cnn.3", x, padding=2)
        centres = (torch.arange(CELLS) + 0.5) / CELLS
        down, right = torch.meshgrid(centres, centres, indexing="ij")
        x = x + self.conv(f"{name}.pos.projection", torch.stack([right, down, 1 - right, 1 - down]))
        return self.mlp(f"{name}.mlp", self.norm(f"{name}.layer_norm", x.flatten(2).mT))

    def predict(self, slots: Tensor) -> Tensor:
        name = "steve_encoder.savi.predictor"
        for block in range(SMALL["num_predictor_blocks"]):
            inside = f"{name}.blocks.{block}"
            x = self.norm(f"{inside}.attn_layer_norm", slots)
            slots = x if block == 0 else slots
            slots = slots + self.attend(f"{inside}.attn", x, x, causal=False)
            slots = slots + self.mlp(f"{inside}.ffn", self.norm(f"{inside}.ffn_layer_norm", slots))
        return self.norm(f"{name}.layer_norm", slots)

    def encode(self, video: Tensor) -> tuple[Tensor, Tensor]:
        name = "steve_encoder.savi"
        slots = self.weights[f"{name}.slot_mu"].expand(len(video), SMALL["num_slots"], -1)
        all_slots, all_attention = [], []
        for frame in video.unbind(1):
            slots, attention = self.slot_attention(
                name, self.features(frame), slots, count=2, final_mlp=False
            )
            all_slots.append(slots)
            all_attention.append(attention)
            slots = self.predict(slots)
        return torch.stack(all_slots, 1), torch.stack(all_attention, 1)

    def tokens(self, frames: Tensor) -> Tensor:
        x = self.conv("dvae.encoder.0.m", frames, 4).relu()
        for index in range(1, 7):
            x = self.conv(f"dvae.encoder.{index}.m", x).relu()
        return self.conv("dvae.encoder.7", x).argmax(1)

    def painted(self, tokens: Tensor) -> Tensor:
        x = F.one_hot(tokens, SMALL["vocab_size"]).movedim(-1, 1).float()
        x = self.conv("dvae.decoder.0.m", x).relu()
        for start in (1, 6):
            for index in range(4):
                padding = 0 if index else 1
                x = self.conv(f"dvae.decoder.{start + index}.m", x, padding=padding).relu()
            x = F.pixel_shuffle(x, 2)
        return self.conv("dvae.decoder.11", x)

    def logits(self, slots: Tensor, tokens: Tensor) -> Tensor:
        name = "steve_decoder"
        words = self.weights[f"{name}.dict.dictionary.weight"][tokens]
        begin = self.weights[f"{name}.bos"].expand(len(tokens), -1, -1)
        x = torch.cat([begin, words], 1)[:, :-1] + self.weights[f"{name}.pos.pe"][:, :TOKENS]
        x = self.transformer(f"{name}.tf", x, self.linear("steve_encoder.slot_proj", slots))
        return self.linear(f"{name}.head", x)


@pytest.fixture
def weights() -> dict[str, Tensor]:
    """Random ones, with first slots that do not spread."""
    found = checkpoint()
    found["steve_encoder.savi.slot_log_sigma"].fill_(-40)
    for name, value in found.items():
        if name.startswith("dvae.encoder.") and name.endswith("bias"):
            value.mul_(0.01)  # so that pixels decide which token it is
    return found


@pytest.mark.parametrize("form", ["bare", "model", "module"])
def test_it_computes_what_its_formulas_say(weights: dict[str, Tensor], form: str):
    stored: Any = weights
    if form == "module":
        stored = {f"module.{name}": value for name, value in weights.items()}
    if form == "model":
        stored = {"model": weights, "epoch": 3, "best_val_loss": 1.0, "optimizer": {}}
    model = convert(stored, SMALL, origin="steve")
    assert isinstance(model, SlotAutoencoder)
    book = STEVE(weights)
    video = torch.rand(2, 3, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    slots, attention = book.encode(video)
    found = model.encode(video)
    near(found.slots, slots)
    near(found.attention, attention)
    frames = video.flatten(0, 1)
    tokens = book.tokens(frames)
    assert len(tokens.unique()) > 2
    decoder: Any = model.decoder
    assert torch.equal(decoder.tokenizer.encode(frames), tokens)
    near(decoder.tokenizer.decode(tokens), book.painted(tokens))
    with torch.no_grad():
        logits = decoder.logits(slots.flatten(0, 1), tokens.flatten(1))
    near(logits, book.logits(slots.flatten(0, 1), tokens.flatten(1)))
    expected = F.cross_entropy(
        book.logits(slots.flatten(0, 1), tokens.flatten(1)).mT, tokens.flatten(1)
    )
    assert model(video).total.item() == pytest.approx(expected.item(), rel=1e-4)


def test_first_slots_spread_as_it_learned(weights: dict[str, Tensor]):
    weights["steve_encoder.savi.slot_log_sigma"].fill_(0.5)
    model = convert(weights, SMALL, origin="steve")
    initializer: Any = model.encoder.initializer
    drawn = initializer(torch.zeros(4000, 1, 12), torch.Generator().manual_seed(0))
    mean = weights["steve_encoder.savi.slot_mu"].flatten()
    torch.testing.assert_close(drawn.mean((0, 1)), mean, atol=0.06, rtol=0)
    assert drawn.std((0, 1)).mean().item() == pytest.approx(math.exp(0.5), rel=0.02)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        ("steve_encoder.savi.norm_mlp.bias", "lacks weights steve_encoder.savi.norm_mlp.bias"),
        ("steve_decoder.bos", "lacks weights steve_decoder.bos"),
        ("more", "has the unknown weights steve_encoder.surprise"),
        ("shape", r"steve_decoder.pos.pe has the shape \[1, 16, 12\], the configuration asks for"),
    ],
)
def test_every_tensor_is_needed_and_used(weights: dict[str, Tensor], spoil: str, sentence: str):
    if spoil == "more":
        weights["steve_encoder.surprise"] = torch.zeros(2)
    elif spoil == "shape":
        weights["steve_decoder.pos.pe"] = weights["steve_decoder.pos.pe"][:, 1:]
    else:
        del weights[spoil]
    with pytest.raises(CheckpointError, match=sentence):
        convert(weights, SMALL, origin="steve")


def test_what_is_no_model_of_its_code_is_refused(weights: dict[str, Tensor]):
    with pytest.raises(ConfigError, match="unknown key 'slots'"):
        convert(weights, {"slots": 3}, origin="steve")
    for other in (presets.STEVE, presets.SLOT_ATTENTION, presets.SLOT_FORMER, presets.VQVAE):
        with pytest.raises(ConfigError, match="describes no model of STEVE's own code"):
            convert(weights, other, origin="steve")
    with pytest.raises(ConfigError, match="keeps no average"):
        convert(weights, SMALL, origin="steve", averaged=True)
