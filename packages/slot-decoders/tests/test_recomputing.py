"""What decoders and tokenizers recompute beside their layers: logits, paintings and distances."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import slot_decoders.tokenizers.vqvae as vqvae_file
from slot_core.recomputing import kept_bytes
from slot_decoders import DVAE, VQVAE, TransformerDecoder

VOCAB = 256


def gradients(model: nn.Module, step: Callable[[], Any]) -> list[Tensor]:
    model.zero_grad()
    step().total.backward()
    return [one.grad.clone() for one in model.parameters() if one.grad is not None]


def transformer(**changes: Any) -> TransformerDecoder:
    torch.manual_seed(0)
    tokenizer = DVAE(vocab_size=VOCAB, hidden_dim=8)
    return TransformerDecoder(tokenizer, 8, (16, 16), num_layers=2, num_heads=2, **changes)


def video_and_slots() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(4, 2, 3, 16, 16, generator=generator), torch.randn(
        4, 2, 3, 8, generator=generator
    )


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_logits_and_paintings_are_made_again(weight):
    video, slots = video_and_slots()
    decoder = transformer(reconstruction_weight=weight)

    def step() -> Any:
        torch.manual_seed(2)
        return decoder(slots, video, generator=torch.Generator().manual_seed(3))

    plain, slopes = kept_bytes(decoder, step), gradients(decoder, step)
    decoder.enable_gradient_checkpointing()
    again = kept_bytes(decoder, step)
    # The picture loss keeps probabilities of all tokens, as they are and as they are drawn.
    assert again < 8 * 16 * VOCAB * 4 * (4 if weight else 0.5), (plain, again)
    assert plain > 2.3 * again, (plain, again)
    torch.testing.assert_close(gradients(decoder, step), slopes)


def test_the_perceptual_distance_is_taken_again(monkeypatch: pytest.MonkeyPatch):
    seen: list[int] = []

    def distances(painted: Tensor, frames: Tensor) -> Tensor:
        seen.append(len(painted))
        return (painted - frames).square().mean((1, 2, 3))

    monkeypatch.setattr(vqvae_file, "perceptual_distances", distances)
    torch.manual_seed(0)
    model = VQVAE(channels=(8, 8), layers_per_block=1, num_groups=4, vocab_size=16)
    frames = torch.rand(3, 3, 8, 8)
    slopes = gradients(model, lambda: model(frames))
    assert seen == [3]
    model.enable_gradient_checkpointing()
    torch.testing.assert_close(gradients(model, lambda: model(frames)), slopes)
    assert seen == [3, *[1] * 6]
