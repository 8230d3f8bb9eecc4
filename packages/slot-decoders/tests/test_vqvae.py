"""The VQ-VAE: its training step, its codebook, and what is wrong about it."""

import sys
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from slot_core import ConfigError, InputError
from slot_decoders import VQVAE
from slot_decoders.tokenizers import perceptual
from slot_decoders.tokenizers import vqvae as vqvae_file

TINY: dict[str, Any] = {
    "channels": (8, 16),
    "layers_per_block": 1,
    "vocab_size": 11,
    "num_groups": 4,
}


@pytest.fixture
def vqvae() -> VQVAE:
    vqvae = VQVAE(**TINY, perceptual_weight=0.0)
    torch.nn.init.normal_(vqvae.network.quantize.embedding.weight)
    return vqvae


@pytest.fixture
def frames() -> Tensor:
    return torch.rand(3, 3, 8, 12) * 2 - 1


def test_a_latent_becomes_its_nearest_code(vqvae: VQVAE, frames: Tensor):
    latents = vqvae.encode(frames)
    assert latents.shape == (3, 3, 4, 6)
    codes = vqvae.network.quantize.embedding.weight
    far = (latents.permute(0, 2, 3, 1)[..., None, :] - codes).square().sum(-1)
    tokens = vqvae.tokens(latents)
    assert torch.equal(tokens, far.argmin(-1))
    nearest = codes[tokens].permute(0, 3, 1, 2)
    torch.testing.assert_close(vqvae.quantize(latents), nearest)
    torch.testing.assert_close(vqvae.decode(latents), vqvae.paint(nearest))
    torch.testing.assert_close(vqvae.reconstruct(frames), vqvae.paint(nearest))


def test_in_half_precision_the_nearest_code_is_the_nearest():
    torch.manual_seed(0)
    vqvae = VQVAE(**{**TINY, "vocab_size": 2048}, perceptual_weight=0.0)
    torch.nn.init.normal_(vqvae.network.quantize.embedding.weight)
    vqvae.to(torch.bfloat16)
    codes = vqvae.network.quantize.embedding.weight
    latents = codes.detach().mT.reshape(1, 3, 32, 64)
    assert torch.equal(codes[vqvae.tokens(latents).flatten()], codes)  # two may be the same
    assert vqvae.decode(latents).dtype == torch.bfloat16


@pytest.mark.parametrize(("kind", "distance"), [("l1", F.l1_loss), ("mse", F.mse_loss)])
def test_the_loss_is_that_of_the_equation(vqvae: VQVAE, frames: Tensor, kind: str, distance):
    vqvae.reconstruction = kind
    losses = vqvae(frames)
    latents = vqvae.encode(frames)
    codes = vqvae.network.quantize.embedding.weight[vqvae.tokens(latents)].permute(0, 3, 1, 2)
    quantization = F.mse_loss(latents, codes.detach()) + 0.25 * F.mse_loss(codes, latents.detach())
    reconstruction = distance(vqvae.reconstruct(frames), frames)
    torch.testing.assert_close(losses.parts["quantization"], quantization)
    torch.testing.assert_close(losses.parts["reconstruction"], reconstruction)
    torch.testing.assert_close(losses.total, reconstruction + quantization)
    losses.total.backward()
    assert all(parameter.grad is not None for parameter in vqvae.parameters())


def test_mixed_precision_changes_no_latent_that_a_diffusion_model_is_given(
    vqvae: VQVAE, frames: Tensor
):
    latents, types = vqvae.encode(frames), []
    vqvae.network.quant_conv.register_forward_hook(lambda *made: types.append(made[-1].dtype))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(vqvae.encode(frames.double()), latents)
        vqvae(frames).total.backward()
    assert types == [torch.float32, torch.bfloat16]  # its own training is the faster for it


def test_the_step_tells_how_many_codes_are_dead(vqvae: VQVAE, frames: Tensor):
    parts = vqvae(frames).parts
    used = len(vqvae.tokens(vqvae.encode(frames)).unique())
    assert parts["dead_codes"].item() == pytest.approx(11 - used)
    assert parts["codes_in_use"].item() == pytest.approx(used / 11)
    assert 1 <= parts["perplexity"].item() <= used + 1e-3
    torch.testing.assert_close(parts["latent_spread"], vqvae.encode(frames).std().detach())


def test_the_perceptual_loss_needs_what_may_be_missing(
    frames: Tensor, monkeypatch: pytest.MonkeyPatch
):
    perceptual._network.cache_clear()
    monkeypatch.setitem(sys.modules, "torchmetrics.image.lpip", None)  # as if not installed
    with pytest.raises(InputError, match=r"slot-decoders\[perceptual\]; perceptual_weight=0 leav"):
        VQVAE(**TINY)(frames)


def test_without_diffusers_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(InputError, match=r"a VQ-VAE needs diffusers: install slot-decoders\[diff"):
        VQVAE(**TINY)


def test_channels_that_do_not_fit_the_groups_are_refused():
    with pytest.raises(ConfigError, match="channels 8, 10 of a VQ-VAE are not all multiples of nu"):
        VQVAE(**{**TINY, "channels": (8, 10)})


def test_another_distance_is_refused(unchecked_types: None):
    with pytest.raises(ConfigError, match="reconstruction is 'l2', expected 'l1' or 'mse'"):
        VQVAE(**TINY, reconstruction="l2")  # pyright: ignore[reportArgumentType]: no such word


def test_the_perceptual_term_is_weighed(monkeypatch: pytest.MonkeyPatch, frames: Tensor):
    monkeypatch.setattr(
        vqvae_file,
        "perceptual_distances",
        lambda painted, _: painted.new_full((len(painted),), 2.0),
    )
    losses = VQVAE(**TINY, perceptual_weight=0.25)(frames)
    assert losses.parts["perceptual"] == 2
    expected = losses.parts["reconstruction"] + losses.parts["quantization"] + 0.5
    torch.testing.assert_close(losses.total, expected)
