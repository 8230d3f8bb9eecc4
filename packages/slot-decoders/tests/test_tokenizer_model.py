"""The first stage: a tokenizer trained, saved, and taken over into a decoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from slot_core import CheckpointError, ConfigError, InputError, ModelCard
from slot_decoders.models import (
    SlotAutoencoder,
    TokenizerModel,
    load_model,
    presets,
    start_tokenizer,
)

TINY = {"vocab_size": 16, "hidden_dim": 8}


def tiny_tokenizer(**changes: object) -> TokenizerModel:
    torch.manual_seed(0)
    return presets.dvae(image_size=16, tokenizer={**TINY, **changes})


def tiny_model() -> SlotAutoencoder:
    """One whose decoder paints pixels itself and has no tokenizer."""
    return presets.slot_attention(
        image_size=16, slot_dim=8, num_slots=2, decoder={"channels": (8,)}
    )


@pytest.fixture
def video() -> Tensor:
    """Two samples of three frames, of another size than the model works at."""
    return torch.rand(2, 3, 3, 24, 20, generator=torch.Generator().manual_seed(1))


def test_it_learns_to_paint_what_it_sees(video: Tensor):
    model = tiny_tokenizer()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    losses = []
    for step in range(30):
        optimizer.zero_grad()
        found = model(video, generator=torch.Generator().manual_seed(step), progress=step / 30)
        found.total.backward()
        optimizer.step()
        losses.append(float(found.total.detach()))
    assert losses[-1] < 0.7 * losses[0]


def test_what_anneals_follows_the_progress(video: Tensor):
    model = tiny_tokenizer()
    temperatures = [
        float(model(video, progress=progress).parts["temperature"]) for progress in (0.0, 0.1, 1.0)
    ]
    assert temperatures[0] == pytest.approx(1)
    assert temperatures[0] > temperatures[1] > temperatures[2] == pytest.approx(0.1)


def test_reconstructions_have_the_videos_size_and_range(video: Tensor):
    model = tiny_tokenizer().train()
    again = model.reconstruct(video)
    assert again.shape == video.shape
    assert again.min() >= 0
    assert again.max() <= 1
    assert again.std() > 0
    assert not again.requires_grad
    assert model.training  # as it was


def test_a_checkpoint_gives_the_same_reconstruction(video: Tensor, tmp_path: Path):
    model = tiny_tokenizer()
    model.save_pretrained(tmp_path, card=ModelCard())
    again = load_model(tmp_path)
    assert isinstance(again, TokenizerModel)
    assert again.config == model.config
    assert torch.equal(again.reconstruct(video), model.reconstruct(video))


class Holder(nn.Module):
    """A decoder that holds a tokenizer."""

    def __init__(self, tokenizer: nn.Module) -> None:
        super().__init__()
        self.tokenizer = tokenizer


def test_a_model_without_a_tokenizer_takes_none(tmp_path: Path):
    tiny_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(InputError, match="no tokenizer"):
        start_tokenizer(tiny_model(), tmp_path)


@pytest.mark.parametrize("same", [True, False])
def test_an_encoder_that_looks_at_the_same_tokens_takes_them_too(same: bool, tmp_path: Path):
    tiny_tokenizer().save_pretrained(tmp_path)
    torch.manual_seed(1)
    seen = TINY if same else {**TINY, "hidden_dim": 4}
    model = presets.slate(
        image_size=16,
        num_slots=2,
        slot_dim=8,
        encoder={"backbone": {"type": "tokens", "tokenizer": seen, "feature_dim": 8}},
        decoder={"tokenizer": TINY, "num_layers": 1, "num_heads": 2},
    )
    start_tokenizer(model, tmp_path)
    painted = model.decoder.tokenizer.state_dict()
    looking: Any = model.encoder.backbone
    looked_at = looking.tokenizer.state_dict()
    assert same == all(torch.equal(looked_at[name], painted[name]) for name in painted)


def test_lpips_is_shown_what_it_is_made_for():
    colours = {"image_size": [16, 16], "mean": [0.4, 0.5, 0.5]}
    small = {"channels": [8], "num_groups": 4, "vocab_size": 8}
    with pytest.raises(ConfigError, match=r"mean and std 0\.5 .* or 'perceptual_weight' 0"):
        presets.vqvae(preprocessing=colours, tokenizer=small)
    presets.vqvae(preprocessing=colours, tokenizer={**small, "perceptual_weight": 0})


def test_only_a_tokenizer_is_one(tmp_path: Path):
    model = tiny_model()
    model.decoder = Holder(tiny_tokenizer().tokenizer)
    tiny_model().save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="SlotAutoencoder, expected a TokenizerModel"):
        start_tokenizer(model, tmp_path)
