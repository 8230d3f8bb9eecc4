"""SlotDiffusion's VQ-VAE, U-Net and samplers in our model: the original code's numbers.

All of its small cases are too large to lie beside the tests, so these run where
SLOT_REFERENCE_DATA holds them. Of the samples, those are left out that the original code itself
does not reproduce when its inputs change in the sixth digit (``sampler_sensitivity``); of them the
first steps are compared.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers.schedulers.scheduling_ddpm
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from slot_decoders import VQVAE, DenoiserUNet, DiffusionDecoder
from slot_decoders.models import SlotAutoencoder
from slot_decoders.models.configs import SlotAutoencoderConfig, ViTConfig
from slot_decoders.models.state_dicts import StateDictMap, convert, get_origin
from slot_decoders.models.state_dicts.slotdiffusion_unet import UNetArguments, unet_names
from slot_decoders.models.state_dicts.slotdiffusion_vqvae import (
    VQVAEArguments,
    pointwise_names,
    vqvae_names,
)
from slot_decoders.sampling import Target, _with_correction, denoise, make_scheduler

Near = Callable[[Tensor, Tensor, float], None]
Tensors = dict[str, Tensor]
Case = tuple[dict[str, Any], Tensors, Tensors, Tensors]
Load = Callable[[str], Case]
CHAOTIC = 1e-2  # a sample that moves further than this when its inputs move by 1e-5
SCHEDULERS = {"dpm": ("dpm_solver", 20), "ddim10": ("ddim", 10), "ddim200": ("ddim", 200)}
TARGETS: dict[str, Target] = {"eps": "epsilon", "x0": "x0", "v": "v"}
MODELS = ["sa_ldm_a", "savi_ldm_a", "sa_ldm_dino_a"]


@pytest.fixture
def load(reference_data: Path) -> Load:
    """Description, weights, inputs and outputs of a case of the original code."""

    def read(name: str) -> Case:
        folder = reference_data / "golden" / name
        described = json.loads((folder / "config.json").read_text())
        weights, inputs, outputs = (
            load_file(folder / f"{part}.safetensors")
            for part in ("state_dict", "inputs", "outputs")
        )
        return described, weights, inputs, outputs

    return read


def test_the_vqvae_equals_the_original(load: Load, assert_near: Near):
    described, weights, inputs, outputs = load("vqvae_a")
    config = VQVAEArguments.parse(described["args"], source="golden").tokenizer()
    vqvae = VQVAE(**config.model_dump(exclude={"type"}))
    names = StateDictMap(vqvae_names(config, "network.", ""), pointwise=pointwise_names("network."))
    vqvae.load_state_dict(names.to_ours(weights, vqvae.state_dict(), source="golden"))
    back = names.to_theirs(vqvae.state_dict())
    assert back.keys() == weights.keys()
    assert all(torch.equal(value, weights[name].float()) for name, value in back.items())
    latents = vqvae.encode(inputs["img"])
    assert_near(latents, outputs["h"], 1e-5)
    assert torch.equal(vqvae.tokens(latents), outputs["token_id"])
    assert_near(vqvae.quantize(latents), outputs["quant"], 1e-5)
    assert_near(vqvae.decode(latents), outputs["quantize_decode_h"], 1e-5)
    assert_near(vqvae.paint(latents), outputs["decode_unquantized"], 1e-5)
    losses = vqvae(inputs["img"])
    assert_near(losses.parts["quantization"], outputs["loss.quant_loss"], 1e-5)
    assert_near(losses.parts["reconstruction"], outputs["loss.recon_loss"], 1e-5)
    losses.total.backward()
    for name in ("quantize.embedding", "quant_conv", "encoder.conv_in"):
        gradient = vqvae.network.get_submodule(name).weight.grad
        assert isinstance(gradient, Tensor)
        assert_near(gradient, outputs[f"grad.{name}.weight"], 1e-5)
    vqvae.reconstruction = "l1"
    assert_near(vqvae(inputs["img"]).parts["reconstruction"], outputs["l1_recon"], 1e-5)
    video = inputs["video"].flatten(0, 1)
    assert_near(vqvae.reconstruct(video), outputs["video_recon"].flatten(0, 1), 1e-5)


# Our module -> the numbers of theirs, whose output is the same.
BLOCKS = {
    "time_embedding": "time_embed",
    "conv_in": "input_blocks.0",
    "down_blocks.0.resnets.0": "input_blocks.1",
    "down_blocks.0.downsamplers.0": "input_blocks.2",
    "down_blocks.1.attentions.0": "input_blocks.3",
    "down_blocks.1.downsamplers.0": "input_blocks.4",
    "down_blocks.2.attentions.0": "input_blocks.5",
    "mid_block": "middle_block",
    "up_blocks.0.attentions.0": "output_blocks.0",
    "up_blocks.0.upsamplers.0": "output_blocks.1",
    "up_blocks.1.attentions.0": "output_blocks.2",
    "up_blocks.1.upsamplers.0": "output_blocks.3",
    "up_blocks.2.resnets.0": "output_blocks.4",
    "up_blocks.2.resnets.1": "output_blocks.5",
}


def test_the_unet_equals_the_original(load: Load, assert_near: Near):
    described, weights, inputs, outputs = load("unet_a")
    arguments = UNetArguments.parse(described["args"], source="golden")
    unet = DenoiserUNet(
        arguments.in_channels, arguments.context_dim, **arguments.denoiser().model_dump()
    ).eval()
    names = StateDictMap(unet_names(arguments.denoiser(), "network.", ""))
    unet.load_state_dict(names.to_ours(weights, unet.state_dict(), source="golden"))
    assert names.to_theirs(unet.state_dict()).keys() == weights.keys()
    found: Tensors = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(_: Any, __: Any, output: Any) -> None:
            found[name] = (
                output[0] if isinstance(output, tuple) else getattr(output, "sample", output)
            )

        return hook

    hooks = [
        unet.network.get_submodule(ours).register_forward_hook(keep(theirs))
        for ours, theirs in BLOCKS.items()
    ]
    x, context = inputs["x"].requires_grad_(), inputs["context"].requires_grad_()
    out = unet(x, inputs["t"].float(), context)
    for hook in hooks:
        hook.remove()
    assert_near(out, outputs["out"], 2e-5)
    assert found.keys() == {k.removeprefix("feat.") for k in outputs if k.startswith("feat.")}
    for name, value in found.items():
        assert_near(value, outputs[f"feat.{name}"], 2e-5)
    out.square().mean().backward()
    assert x.grad is not None
    assert context.grad is not None
    assert_near(x.grad, outputs["grad_x"], 2e-5)
    assert_near(context.grad, outputs["grad_context"], 2e-5)
    with torch.no_grad():
        between = unet(x, inputs["t_fractional"], context)
    assert_near(between, outputs["out_fractional_t"], 2e-5)


def read_config(described: dict[str, Any]) -> SlotAutoencoderConfig:
    """Our configuration; the original's ViT was replaced by a small one, stated beside."""
    arguments = {**described, "cls": described["cls"].replace("TinyDino", "")}
    config = get_origin("slotdiffusion").read_config(arguments, source="golden")
    assert isinstance(config, SlotAutoencoderConfig)
    if "vit_config" not in described:
        return config
    vit = described["vit_config"]
    backbone = ViTConfig(
        patch_size=vit["patch_size"],
        hidden_dim=vit["hidden_size"],
        num_layers=vit["num_hidden_layers"],
        num_heads=vit["num_attention_heads"],
        mlp_ratio=vit["intermediate_size"] // vit["hidden_size"],
        image_size=vit["image_size"],
    )
    encoder = config.encoder.model_copy(update={"backbone": backbone})
    return config.model_copy(update={"encoder": encoder})


def video_of(img: Tensor) -> Tensor:
    """Theirs in [-1, 1], of a picture without time, as ours."""
    return (img if img.ndim == 5 else img[:, None]) * 0.5 + 0.5


@pytest.mark.parametrize("name", MODELS)
def test_a_whole_model_equals_the_original(load: Load, assert_near: Near, name: str):
    described, weights, inputs, outputs = load(name)
    config = read_config(described)
    model: SlotAutoencoder = convert(weights, config)
    names = get_origin("slotdiffusion").state_dict_map(config)
    back = names.to_theirs(model.state_dict())
    assert back.keys() == weights.keys() - names.ignored.keys()
    assert all(torch.equal(value, weights[key].float()) for key, value in back.items())
    decoder = model.decoder
    assert isinstance(decoder, DiffusionDecoder)
    video = video_of(inputs["img"])
    slots = model.encode(video).slots
    assert_near(slots, outputs["slots"].view_as(slots), 1e-5)
    masks = model.segment(video)
    assert_near(masks, outputs["masks"].view_as(masks), 1e-5)
    latents = decoder.encode(model.preprocessing(video).flatten(0, 1))
    assert_near(latents, outputs["x0"], 1e-5)
    assert decoder.tokenizer is not None
    with torch.no_grad():
        assert_near(decoder.tokenizer.quantize(latents), outputs["x0_quantized"], 1e-5)
        assert_near(decoder.paint(latents), outputs["vae_recon"], 1e-5)
        assert_near(decoder.tokenizer.paint(latents), outputs["vae_recon_no_quant"], 1e-5)
    seen: list[Any] = []
    watch = decoder.denoiser.register_forward_hook(
        lambda _, given, made: seen.extend([given[0], made])
    )
    for theirs, target in TARGETS.items():
        decoder.target = target
        if f"denoise_loss.{theirs}" in outputs:
            loss = decoder.loss(slots, latents, inputs["t"], inputs["noise"]).total
            assert_near(loss, outputs[f"denoise_loss.{theirs}"], 1e-5)
    watch.remove()
    assert_near(seen[0], outputs["x_noisy"], 1e-5)
    assert_near(seen[1], outputs["model_pred"], 1e-5)


def path_of(
    model: SlotAutoencoder, case: Case, sampler: str, theirs: str, *, quantized: bool
) -> list[Tensor]:
    """The latents after every step from the original's noise, on its slots."""
    _, _, inputs, outputs = case
    decoder, (name, steps), target = model.decoder, SCHEDULERS[sampler], TARGETS[theirs]
    slots = outputs["slots"]
    flat = slots.flatten(0, 1) if slots.ndim == 4 else slots
    scheduler, _ = make_scheduler(name, decoder.schedule, target)
    correct = decoder.correction if quantized else None
    with torch.no_grad():
        return list(
            denoise(
                lambda noisy, times: decoder.denoiser(noisy, times, flat),
                inputs["xT"],
                scheduler,
                decoder.schedule,
                target,
                num_steps=steps,
                correct=correct,
            )
        )


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("sampler", SCHEDULERS)
def test_samples_equal_the_original(load: Load, assert_near: Near, name: str, sampler: str):
    case = load(name)
    described, weights, _, outputs = case
    model = convert(weights, read_config(described))
    for key, (moved, _) in described["extra"]["sampler_sensitivity"].items():
        kind, theirs, quantized = key.split(".")
        if kind != sampler:
            continue
        path = path_of(model, case, sampler, theirs, quantized=quantized == "vq1")
        first = outputs.get(f"z_first_steps.{key}")
        assert moved < CHAOTIC or first is not None
        if first is not None:
            assert_near(torch.stack(path[: len(first)]), first, 1e-3)
        if moved < CHAOTIC:
            assert_near(path[-1], outputs[f"z.{key}"], 1e-3)
            painted = outputs.get(f"img.{key}")
            if painted is not None:
                with torch.no_grad():
                    assert_near(model.decoder.paint(path[-1]), painted, 1e-3)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("time", [700, 0])
def test_an_ancestral_step_equals_the_original(
    load: Load, assert_near: Near, monkeypatch: pytest.MonkeyPatch, name: str, time: int
):
    """One step of DDPM with a quantised belief and the original's noise; the last adds none."""
    described, weights, inputs, outputs = load(name)
    decoder = convert(weights, read_config(described)).decoder
    slots = outputs["slots"].flatten(0, -3)
    usual, steps = make_scheduler("ddpm", decoder.schedule, "epsilon")
    scheduler, place = _with_correction(usual, decoder.correction)
    assert place is not None  # it has a place of its own for the correction
    scheduler.set_timesteps(steps)
    monkeypatch.setattr(
        diffusers.schedulers.scheduling_ddpm,
        "randn_tensor",
        lambda *_, **__: inputs["p_sample_noise"],
    )
    noisy = outputs["x_noisy"]
    with torch.no_grad():
        prediction = decoder.denoiser(noisy, torch.full((len(noisy),), float(time)), slots)
    stepped = scheduler.step(prediction, time, noisy).prev_sample
    assert_near(stepped, outputs[f"p_sample_t{time}"], 1e-5)


def test_the_default_sample_of_shared_noise_equals_the_original(load: Load, assert_near: Near):
    """What the original's ``log_images`` paints for a video from one map of noise."""
    described, weights, inputs, outputs = load("savi_ldm_a")
    model = convert(weights, read_config(described))
    noise = inputs["xT_same"][:, None].expand(2, -1, -1, -1, -1)
    made = model.decoder.sample(outputs["slots"], noise=noise).reconstruction
    assert_near(made, outputs["log_images_same_noise.samples"], 1e-3)


LEARNING_RATES, TOTAL_STEPS = (1e-4, 2e-4), 20  # of encoder and decoder; sa_ldm_clevrtex


def test_four_steps_of_training_follow_the_original(load: Load, assert_near: Near):
    """Adam in two groups, gradients clipped together, a rate of 0 in the first step, an average.

    The total of 20 steps has a warm-up of one. Noise and its strength are the original's.
    """
    described, weights, inputs, outputs = load("train_sa_ldm_a")
    arguments = {"cls": "SADiffusion", "args": described["overrides"]}
    model = convert(weights, arguments)
    average = convert(weights, arguments, averaged=True)
    names = get_origin("slotdiffusion").state_dict_map(model.config)
    model.train()
    decoder = model.decoder
    encoder_weights = [p for n, p in model.named_parameters() if not n.startswith("decoder.")]
    groups = [
        {"params": encoder_weights, "peak": LEARNING_RATES[0]},
        {"params": list(decoder.denoiser.parameters()), "peak": LEARNING_RATES[1]},
    ]
    optimizer = torch.optim.Adam(groups)
    for step in range(described["steps"]):
        for group, rate in zip(optimizer.param_groups, outputs[f"step{step}.lr"], strict=True):
            group["lr"] = rate.item()
        given = {name: inputs[f"step{step}.{name}"] for name in ("img", "noise", "t")}
        video = video_of(given["img"])
        latents = decoder.encode(model.preprocessing(video).flatten(0, 1))
        slots = model.encoder(video).slots
        losses = decoder.loss(slots, latents, given["t"], given["noise"])
        optimizer.zero_grad()
        losses.total.backward()
        trained = [p for p in model.parameters() if p.requires_grad]
        norm = torch.nn.utils.clip_grad_norm_(trained, described["clip_grad"])
        optimizer.step()
        keep = min(0.9999, (2 + step) / (11 + step))
        with torch.no_grad():
            for mean, new in zip(
                average.decoder.denoiser.parameters(), decoder.denoiser.parameters(), strict=True
            ):
                mean.lerp_(new, 1 - keep)
        assert_near(losses.total, outputs[f"step{step}.denoise_loss"], 1e-4)
        assert_near(norm, outputs[f"step{step}.grad_norm"], 1e-4)
        watched = names.to_theirs(model.state_dict())
        averages = names.to_theirs(average.state_dict())
        last = "dm_decoder.model.diffusion_model.out.2.weight"
        short = "dm_decoder.model_ema.diffusion_modelout2weight"
        for name in ("init_latents", last):
            assert_near(watched[name], outputs[f"step{step}.after.{name}"], 1e-4)
        assert_near(averages[last], outputs[f"step{step}.after.{short}"], 1e-4)
    # A bias before a norm has a gradient of rounding errors, of which Adam makes whole steps.
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    shares = {name: float(grad.norm() / norm) for name, grad in gradients.items()}
    final = names.to_theirs({n: v for n, v in model.state_dict().items() if n in shares})
    shares = {names.pairs({n: gradients[n]}, source="it")[n]: share for n, share in shares.items()}
    stored = {n.removeprefix("final."): v for n, v in outputs.items() if n.startswith("final.")}
    compared = [name for name in final if name in stored and shares[name] > 1e-5]
    assert len(compared) > 50
    for name in compared:
        assert_near(final[name], stored[name], 1e-4)
