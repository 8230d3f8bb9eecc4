"""The diffusion decoder: its three losses by hand, its frozen tokenizer, its samples."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from slot_core import ConfigError, InputError, sample_generators
from slot_decoders import VQVAE, DenoiserUNet, DiffusionDecoder, NoiseSchedule
from slot_decoders.latent_diffusion import Kept

UNET: dict[str, Any] = {
    "channels": (8,),
    "layers_per_block": 1,
    "attention_levels": (0,),
    "head_dim": 8,
}
VQ: dict[str, Any] = {
    "channels": (8, 8),
    "layers_per_block": 1,
    "vocab_size": 5,
    "perceptual_weight": 0.0,
}
Make = Callable[..., DiffusionDecoder]


@pytest.fixture
def make() -> Make:
    """A decoder of 16x16 pixels from slots of width 6, with weights that are not zero."""

    def build(*, pixels: bool = False, **options) -> DiffusionDecoder:
        tokenizer = None if pixels else VQVAE(**VQ, num_groups=4)
        denoiser = DenoiserUNet(3, 6, **UNET, num_groups=4, dropout=0.0)
        decoder = DiffusionDecoder(denoiser, tokenizer, (16, 16), **options)
        for parameter in decoder.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
        return decoder

    return build


@pytest.fixture
def slots() -> Tensor:
    return torch.randn(2, 3, 4, 6)


@pytest.fixture
def video() -> Tensor:
    return torch.rand(2, 3, 3, 16, 16) * 2 - 1


@pytest.mark.parametrize("scale", [1.0, 2.5])
@pytest.mark.parametrize("target", ["epsilon", "x0", "v"])
def test_the_loss_is_that_of_the_equation(make: Make, slots: Tensor, video: Tensor, target, scale):
    decoder = make(target=target, latent_scale=scale)
    assert decoder.tokenizer is not None
    latents = decoder.encode(video.flatten(0, 1))
    torch.testing.assert_close(latents * scale, decoder.tokenizer.encode(video.flatten(0, 1)))
    times, noise = torch.tensor([0, 999, 5, 500, 17, 3]), torch.randn_like(latents)
    losses = decoder.loss(slots, latents, times, noise)
    product = (1 - decoder.schedule.betas).cumprod(0)[times].view(-1, 1, 1, 1)
    signal, spread = product.sqrt().float(), (1 - product).sqrt().float()
    made = decoder.denoiser(signal * latents + spread * noise, times.float(), slots.flatten(0, 1))
    wanted = {"epsilon": noise, "x0": latents, "v": signal * noise - spread * latents}[target]
    torch.testing.assert_close(losses.total, (made - wanted).square().mean())
    assert losses.parts == {"denoising": losses.total}


def test_the_tokenizer_stays_as_it_was_trained(make: Make, slots: Tensor, video: Tensor):
    decoder = make().train()
    assert decoder.denoiser.training
    assert decoder.tokenizer is not None
    assert not any(module.training for module in decoder.tokenizer.modules())
    decoder(slots.requires_grad_(), video).total.backward()
    assert slots.grad is not None
    assert slots.grad.abs().min() > 0
    assert all(parameter.grad is None for parameter in decoder.tokenizer.parameters())
    assert all(parameter.grad is not None for parameter in decoder.denoiser.parameters())


def test_every_step_draws_its_noise(make: Make, slots: Tensor, video: Tensor):
    decoder = make()
    first, second = decoder(slots, video), decoder(slots, video)
    assert first.total != second.total
    torch.manual_seed(7)
    again = decoder(slots, video)
    torch.manual_seed(7)
    assert torch.equal(decoder(slots, video).total, again.total)


def test_the_same_noise_paints_the_same_frames(make: Make, slots: Tensor):
    decoder = make().eval()
    seeds = [torch.Generator().manual_seed(seed) for seed in (1, 1, 2)]
    made, again, other = (
        decoder.sample(slots, generator=seed, num_steps=4).reconstruction for seed in seeds
    )
    assert made.shape == (2, 3, 3, 16, 16)
    assert torch.equal(made, again)
    assert not torch.allclose(made, other)
    noise = decoder.draw_noise(2, torch.Generator().manual_seed(1))
    given = decoder.sample(slots, noise=noise, num_steps=4).reconstruction
    assert torch.equal(given, made)
    frame = decoder.sample(slots[:, 1:2], noise=noise, num_steps=4).reconstruction
    torch.testing.assert_close(frame, made[:, 1:2], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("scheduler", ["dpm_solver", "ddpm"])
def test_a_sample_with_a_generator_of_its_own_is_the_same_in_any_batch(
    make: Make, slots: Tensor, scheduler: str
):
    decoder = make(quantize_denoised=False).eval()
    options: dict[str, Any] = {"scheduler": scheduler, "num_steps": 4}

    def painted(*rows: int) -> Tensor:
        own = sample_generators(0, 0, [str(row) for row in rows])
        return decoder.sample(slots[list(rows)], generator=own, **options).reconstruction

    both = painted(0, 1)
    for row in (0, 1):
        torch.testing.assert_close(painted(row)[0], both[row], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(painted(1, 0)[0], both[0])


def test_what_draws_no_noise_is_refused(make: Make, slots: Tensor, unchecked_types: None):
    seed: Any = 3
    with pytest.raises(InputError, match=r"is a int, expected a torch\.Generator, or one for each"):
        make().sample(slots, generator=seed, num_steps=1)
    with pytest.raises(InputError, match="3 generators cannot share a batch of 2"):
        make().sample(slots, generator=sample_generators(0, 0, "abc"), num_steps=1)


def test_noise_that_does_not_go_with_the_slots_is_refused(
    make: Make, slots: Tensor, unchecked_types: None
):
    decoder = make().eval()
    for shape in ((3, 1, 3, 8, 8), (2, 2, 3, 8, 8), (2, 1, 3, 8, 4), (2, 3, 8, 8)):
        with pytest.raises(
            InputError, match=r"the noise has the shape .* \[2, 1, 3, 8, 8\], or 3 in"
        ):
            decoder.sample(slots, noise=torch.randn(shape), num_steps=1)
    for shape in ((2, 3, 3, 8, 8), (1, 1, 3, 8, 8)):
        made = decoder.sample(slots, noise=torch.randn(shape), num_steps=1)
        assert made.reconstruction.shape == (2, 3, 3, 16, 16)


@pytest.mark.parametrize("scheduler", ["dpm_solver", "ddpm", "EulerAncestralDiscreteScheduler"])
def test_what_stays_in_the_slots_stays_in_the_video(make: Make, slots: Tensor, scheduler: str):
    decoder = make(pixels=True).eval()
    still = slots[:1, :1].expand(2, 3, -1, -1)
    noise = decoder.draw_noise(1).expand(2, -1, -1, -1, -1)
    made, one = (
        decoder.sample(
            part,
            noise=noise[: len(part)],
            generator=torch.Generator().manual_seed(3),
            scheduler=scheduler,
            num_steps=4,
        ).reconstruction
        for part in (still, still[:1, :1])
    )
    torch.testing.assert_close(made[:, 0], made[:, 2], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(made[:1, :1], one, atol=1e-4, rtol=1e-4)
    draws = scheduler != "dpm_solver"  # for each video its own
    assert ((made[0] - made[1]).abs().max() > 0.1) == draws
    torch.manual_seed(3)
    decoded = decoder.decode(still, torch.Generator().manual_seed(0)).reconstruction
    assert decoded.shape == made.shape


@pytest.mark.parametrize("scheduler", ["dpm_solver", "ddim", "EulerDiscreteScheduler"])
@pytest.mark.parametrize("pixels", [False, True])
def test_what_is_kept_stays_as_it_is(
    make: Make, slots: Tensor, video: Tensor, scheduler: str, pixels: bool
):
    decoder = make(pixels=pixels, latent_scale=2.0, quantize_denoised=None).eval()
    places = torch.zeros(2, 3, 16, 16, dtype=torch.bool)
    places[:, :, :, :7] = True  # of the 7th column a latent has one pixel of two
    noise = decoder.draw_noise(2, torch.Generator().manual_seed(1))
    options: dict[str, Any] = {"noise": noise, "scheduler": scheduler, "num_steps": 3}
    seen: list[Tensor] = []
    paint = decoder.paint
    decoder.paint = lambda latents: (seen.append(latents), paint(latents))[1]
    decoder.sample(slots, kept=Kept(video, places), **options)
    decoder.sample(slots, **options)
    kept, free = seen
    clean = decoder.encode(video.flatten(0, 1))
    stays = 7 if pixels else 3
    assert torch.equal(kept[..., :stays], clean[..., :stays])
    assert not torch.isclose(kept[..., stays:], clean[..., stays:]).all()
    assert not torch.isclose(kept, free).all()


def test_pixels_that_are_kept_are_the_videos_own(make: Make, slots: Tensor, video: Tensor):
    decoder = make().eval()
    places = torch.rand(2, 3, 16, 16) > 0.3
    made = decoder.sample(slots, kept=Kept(video, places), num_steps=2).reconstruction
    same = (made == video).all(dim=2)
    assert same[places].all()
    assert not same[~places].any()


def test_samples_are_made_of_codes_unless_told_otherwise(make: Make, slots: Tensor):
    """With quantised beliefs the last step of this solver ends at codes."""
    decoder = make(latent_scale=2.0).eval()
    assert decoder.correction is not None
    belief = torch.randn(2, 3, 8, 8)
    assert decoder.tokenizer is not None
    codes = decoder.tokenizer.network.quantize.embedding.weight / 2
    corrected = decoder.correction(belief).permute(0, 2, 3, 1).flatten(0, 2)
    torch.testing.assert_close(corrected, codes[torch.cdist(corrected, codes).argmin(1)])
    assert make(quantize_denoised=False).correction is None


@pytest.mark.parametrize("pixels", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_decoder_in_half_precision_samples_in_single(make: Make, pixels: bool, dtype):
    decoder = make(pixels=pixels).eval()
    for parameter in decoder.parameters():
        parameter.data = parameter.data.to(dtype).float()  # the same network in both
    noise = decoder.draw_noise(1, torch.Generator().manual_seed(2))
    slots = torch.randn(1, 1, 4, 6).to(dtype)
    expected = decoder.sample(slots.float(), noise=noise, num_steps=8).reconstruction
    got = decoder.to(dtype).sample(slots, noise=noise, num_steps=8).reconstruction
    assert got.dtype == dtype
    assert got.isfinite().all()
    if pixels:  # latents between two codes may go to either
        assert (got.float() - expected).abs().mean() < 0.05 * expected.abs().mean()


def test_pixels_are_denoised_without_a_tokenizer(make: Make, slots: Tensor, video: Tensor):
    decoder = make(pixels=True, pixel_range=(-0.5, 2.0)).eval()
    assert torch.equal(decoder.encode(video[0]), video[0])
    assert decoder.correction is not None
    beliefs = torch.linspace(-3, 3, 7).view(1, 1, 1, 7)
    assert decoder.correction(beliefs).aminmax() == (-0.5, 2.0)
    assert decoder.sample(slots, num_steps=3).reconstruction.shape == video.shape
    assert decoder(slots, video).total > 0


def test_the_schedule_is_not_saved(make: Make):
    decoder = make(schedule=NoiseSchedule(num_steps=10))
    assert all(name.startswith(("denoiser.", "tokenizer.")) for name in decoder.state_dict())
    assert len(decoder.signal) == 10


def test_sizes_that_cannot_be_halved_are_refused(make: Make):
    with pytest.raises(ConfigError, match=r"frames of 16x18 .* by 2 and the U-Net by 2, .* of 4$"):
        DiffusionDecoder(
            DenoiserUNet(3, 6, **{**UNET, "channels": (8, 8)}, num_groups=4),
            VQVAE(**VQ, num_groups=4),
            (16, 18),
        )


def test_another_target_and_a_scale_that_is_none_are_refused(make: Make, unchecked_types: None):
    with pytest.raises(ConfigError, match="target is 'eps', expected one of epsilon, x0, v"):
        make(target="eps")
    with pytest.raises(ConfigError, match=r"latent_scale is 0\.0, expected a positive number"):
        make(latent_scale=0.0)


def test_beliefs_cannot_be_quantised_without_codes(make: Make):
    with pytest.raises(ConfigError, match="quantize_denoised is set, but the tokenizer has no cod"):
        make(pixels=True, quantize_denoised=True)


def test_a_latent_is_kept_while_all_of_its_pixels_are(make: Make, video: Tensor):
    decoder = make(latent_scale=2.0, quantize_denoised=False).eval()
    places = torch.ones(2, 3, 16, 16, dtype=torch.bool)
    places[0, 1, 6, 9] = False  # one pixel of four
    believed = torch.full((6, 3, 8, 8), 9.0)
    kept = decoder._keeping(Kept(video, places), None)(believed)
    goes = (kept == 9).all(dim=1)
    assert goes.nonzero().tolist() == [[1, 3, 4]]
    clean = decoder.encode(video.flatten(0, 1))
    assert torch.equal(kept.movedim(1, -1)[~goes], clean.movedim(1, -1)[~goes])


def test_beliefs_of_scaled_pixels_are_kept_within_the_range_of_pixels(make: Make):
    decoder = make(pixels=True, latent_scale=2.0, pixel_range=(-1.0, 3.0))
    assert decoder.correction is not None
    assert decoder.correction(torch.tensor([-9.0, 0.5, 9.0])).tolist() == [-0.5, 0.5, 1.5]


def test_training_sees_every_time_of_the_schedule(make: Make, slots: Tensor, video: Tensor):
    decoder = make(schedule=NoiseSchedule(num_steps=2))
    times: list[float] = []
    decoder.denoiser.register_forward_pre_hook(lambda module, args: times.extend(args[1].tolist()))
    for _ in range(8):
        decoder(slots, video)
    assert set(times) == {0.0, 1.0}
