"""The dVAE: exact tokens, the annealed training step, and what it says of its codebook."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slot_core import ConfigError, InputError
from slot_decoders import DVAE
from slot_decoders.gumbel import gumbel_noise, gumbel_softmax
from slot_decoders.tokenizers.codebook import codebook_use
from slot_decoders.tokenizers.dvae import ConvBlock


@pytest.fixture
def dvae() -> DVAE:
    return DVAE(vocab_size=11, hidden_dim=8)


@pytest.fixture
def frames() -> Tensor:
    return torch.rand(3, 3, 8, 12) * 2 - 1


def test_tokens_are_the_most_likely_ones_of_patches_of_four_pixels(dvae: DVAE, frames: Tensor):
    tokens = dvae.encode(frames)
    assert tokens.shape == (3, 2, 3)
    assert torch.equal(tokens, dvae.logits(frames).argmax(1))


def test_decoding_tokens_equals_decoding_one_hot_vectors(dvae: DVAE, frames: Tensor):
    tokens = dvae.encode(frames)
    one_hot = torch.nn.functional.one_hot(tokens, 11).permute(0, 3, 1, 2).float()
    decoded = dvae.decode(tokens)
    assert decoded.shape == frames.shape
    torch.testing.assert_close(decoded, dvae.decode_mixture(one_hot))
    assert torch.equal(dvae.reconstruct(frames), decoded)


def test_the_loss_is_the_squared_error_of_a_soft_draw(dvae: DVAE, frames: Tensor):
    losses = dvae(frames, 0.05, torch.Generator().manual_seed(3))
    logits = dvae.logits(frames)
    noise = gumbel_noise(logits, torch.Generator().manual_seed(3))
    painted = dvae.decode_mixture(gumbel_softmax(logits, noise, dvae.temperature(0.05)))
    torch.testing.assert_close(losses.total, (painted - frames).square().mean())
    assert losses.parts["temperature"].item() == pytest.approx(dvae.temperature(0.05))
    assert losses.total is losses.parts["reconstruction"]
    losses.total.backward()
    assert all(parameter.grad is not None for parameter in dvae.parameters())


def test_the_temperature_falls_as_a_cosine_and_stays():
    dvae = DVAE(vocab_size=2, hidden_dim=1, start_temperature=2.0, end_temperature=1.0)
    assert dvae.temperature(0.0) == 2
    assert dvae.temperature(0.075) == pytest.approx(1.5)
    assert dvae.temperature(0.05) == pytest.approx(1.5 + 0.5 * math.cos(math.pi / 3))
    assert dvae.temperature(0.15) == dvae.temperature(1.0) == 1
    assert DVAE(vocab_size=2, hidden_dim=1, anneal_fraction=0.0).temperature(0.0) == pytest.approx(
        0.1
    )


def test_hard_draws_paint_tokens(frames: Tensor):
    dvae = DVAE(vocab_size=11, hidden_dim=8, hard=True)
    losses = dvae(frames, generator=torch.Generator().manual_seed(3))
    noise = gumbel_noise(dvae.logits(frames), torch.Generator().manual_seed(3))
    painted = dvae.decode((dvae.logits(frames) + noise).argmax(1))
    torch.testing.assert_close(losses.total, (painted - frames).square().mean())


def test_the_use_of_the_codebook_worked_by_hand():
    """Codes 0 and 2, half of the time each, of four: the perplexity of a fair coin is 2."""
    use = codebook_use(torch.tensor([[0, 2], [2, 0]]), 4)
    assert use["perplexity"].item() == pytest.approx(2)
    assert use["codes_in_use"].item() == 0.5


def test_it_learns_to_paint_a_picture(frames: Tensor):
    dvae = DVAE(vocab_size=16, hidden_dim=8)
    optimizer = torch.optim.Adam(dvae.parameters(), lr=1e-2)
    before = (dvae.reconstruct(frames) - frames).square().mean()
    for step in range(40):
        optimizer.zero_grad()
        dvae(frames, step / 40).total.backward()
        optimizer.step()
    after = (dvae.reconstruct(frames) - frames).square().mean()
    assert after < 0.6 * before


def test_mixed_precision_changes_no_token(dvae: DVAE, frames: Tensor):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(dvae.encode(frames), dvae.encode(frames))
        tokens = dvae.encode(frames)
    assert torch.equal(tokens, dvae.encode(frames))


def test_half_precision_works(dvae: DVAE, frames: Tensor):
    half = dvae.to(torch.bfloat16)
    assert half.reconstruct(frames.to(torch.bfloat16)).dtype == torch.bfloat16
    assert half(frames.to(torch.bfloat16)).total.dtype == torch.float32


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"end_temperature": 0.0}, "end_temperature is 0.0, expected a positive number"),
        ({"start_temperature": -1.0}, "start_temperature is -1.0, expected a positive number"),
        ({"anneal_fraction": 1.5}, "anneal_fraction is 1.5, expected 0 to 1"),
    ],
)
def test_temperatures_that_cannot_be_are_refused(changes: dict[str, float], sentence: str):
    with pytest.raises(ConfigError, match=sentence):
        DVAE(vocab_size=5, hidden_dim=8, **changes)  # pyright: ignore[reportArgumentType]: by name


def test_pictures_that_the_patches_do_not_fill_are_refused(dvae: DVAE):
    with pytest.raises(InputError, match="10x8; a dVAE needs multiples of 4"):
        dvae.encode(torch.zeros(1, 3, 10, 8))


def test_mixed_precision_changes_neither_tokens_nor_frames_of_many_patches():
    dvae, frames = DVAE(vocab_size=300, hidden_dim=8), torch.rand(2, 3, 64, 64) * 2 - 1
    tokens, painted = dvae.encode(frames), dvae.reconstruct(frames)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(dvae.encode(frames), tokens)
        assert torch.equal(dvae.decode(tokens), painted)
        assert not torch.equal(dvae.logits(frames).argmax(1), tokens)  # which training may draw by


def test_the_gain_is_of_the_first_weights_of_the_logits():
    def spread(gain: float) -> float:
        last = DVAE(vocab_size=500, hidden_dim=8, logit_gain=gain).encoder[-1]
        assert isinstance(last, nn.Conv2d)
        return last.weight.std().item()

    torch.manual_seed(0)
    assert spread(4.0) == pytest.approx(4 * spread(1.0), rel=0.1)


def test_hidden_layers_are_normalised_before_they_are_cut():
    block = ConvBlock(3, 8, 1)
    hidden = block(torch.randn(2, 3, 5, 5))
    expected = F.relu(F.group_norm(block.conv(torch.ones(2, 3, 5, 5)), 1))
    assert hidden.min() == 0
    torch.testing.assert_close(block(torch.ones(2, 3, 5, 5)), expected)
