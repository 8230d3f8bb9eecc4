"""Autoencoders of Stable Diffusion in the VQ-VAE's place: what they compute is diffusers' own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from safetensors.torch import load_file, save_file
from torch import Tensor

import slot_decoders
from slot_core import CheckpointError, ConfigError, InputError, sample_generators
from slot_decoders.models import SlotAutoencoder, load_model, presets, start_tokenizer

KL: dict[str, Any] = {
    "type": "autoencoder_kl",
    "channels": (8, 8),
    "layers_per_block": 1,
    "num_groups": 4,
    "scaling_factor": 0.5,
    "shift_factor": 0.25,
}
TINY: dict[str, Any] = {
    "type": "autoencoder_tiny",
    "channels": 8,
    "encoder_blocks": (1, 1),
    "decoder_blocks": (1, 1),
    "scaling_factor": 2.0,
}
DENOISER: dict[str, Any] = {
    "channels": (8, 8),
    "layers_per_block": 1,
    "attention_levels": (1,),
    "head_dim": 8,
    "num_groups": 4,
    "dropout": 0.0,
}
CONFIGS = {"AutoencoderKL": KL, "AutoencoderTiny": TINY}


def published(name: str, **changes: Any) -> Any:
    """A network as diffusers makes and publishes it, small."""
    if name == "AutoencoderTiny":
        settings: dict[str, Any] = {
            "encoder_block_out_channels": (8, 8),
            "decoder_block_out_channels": (8, 8),
            "num_encoder_blocks": (1, 1),
            "num_decoder_blocks": (1, 1),
            "scaling_factor": 2.0,
        }
        return AutoencoderTiny(**settings, **changes)
    settings = {
        "block_out_channels": (8, 8),
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "norm_num_groups": 4,
        "scaling_factor": 0.5,
        "shift_factor": 0.25,
    }
    return AutoencoderKL(**settings | changes)


def tiny_model(tokenizer: dict[str, Any], **changes: Any) -> SlotAutoencoder:
    return presets.slot_diffusion(
        image_size=16,
        num_slots=2,
        slot_dim=8,
        encoder={"backbone": {"type": "cnn", "channels": (8,), "kernel_size": 3}},
        decoder={"tokenizer": tokenizer, "denoiser": DENOISER},
        **changes,
    )


@pytest.fixture
def frames() -> Tensor:
    return torch.rand(2, 3, 16, 16) * 2 - 1


@pytest.mark.parametrize("name", CONFIGS)
def test_it_takes_the_place_of_the_vqvae(name: str, frames: Tensor, tmp_path: Path):
    original = published(name)
    original.save_pretrained(tmp_path / "published")
    model = tiny_model(CONFIGS[name])
    start_tokenizer(model, tmp_path / "published")
    decoder = model.decoder
    with torch.no_grad():
        latents = original.encode(frames)
        raw = latents.latents if name == "AutoencoderTiny" else latents.latent_dist.mean
        shift, scale = original.config.shift_factor, original.config.scaling_factor
        torch.testing.assert_close(decoder.encode(frames), (raw - shift) * scale)
        torch.testing.assert_close(
            decoder.paint((raw - shift) * scale), original.decode(raw).sample
        )
    assert decoder.latent_shape == (4, 8, 8)
    assert decoder.correction is None  # there are no codes
    video = frames[:, None] / 2 + 0.5
    model(video).total.backward()
    assert all(p.grad is None for p in decoder.tokenizer.parameters())


@pytest.mark.parametrize("name", CONFIGS)
def test_a_checkpoint_holds_it(name: str, frames: Tensor, tmp_path: Path):
    published(name).save_pretrained(tmp_path / "published")
    model = tiny_model(CONFIGS[name])
    start_tokenizer(model, tmp_path / "published")
    model.save_pretrained(tmp_path / "saved")
    again = load_model(tmp_path / "saved")
    slots = torch.randn(1, 1, 2, 8)
    made, same = (
        m.sample(slots, generator=torch.Generator().manual_seed(0), num_steps=2)
        for m in (model, again)
    )
    assert torch.equal(made, same)
    assert torch.equal(model.decoder.encode(frames), again.decoder.encode(frames))


def test_a_whole_pipeline_has_it_in_a_folder(frames: Tensor, tmp_path: Path):
    original = published("AutoencoderKL")
    original.save_pretrained(tmp_path / "vae")
    model = tiny_model(KL)
    start_tokenizer(model, tmp_path)
    kept = model.decoder.tokenizer.network.state_dict()
    assert all(torch.equal(kept[name], value) for name, value in original.state_dict().items())


@pytest.mark.parametrize("name", CONFIGS)
def test_mixed_precision_changes_no_latent(name: str, frames: Tensor):
    tokenizer = tiny_model(CONFIGS[name]).decoder.tokenizer
    latents = tokenizer.encode(frames)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(tokenizer.encode(frames), latents)


def test_the_posterior_is_its_mean_or_drawn(frames: Tensor):
    mode = slot_decoders.AutoencoderKL(channels=(8, 8), num_groups=4).eval()
    sample = slot_decoders.AutoencoderKL(channels=(8, 8), num_groups=4, posterior="sample").eval()
    sample.load_state_dict(mode.state_dict())
    assert mode.deterministic
    assert not sample.deterministic
    with torch.no_grad():
        told = mode.network.encode(frames).latent_dist
        assert torch.equal(mode.encode(frames), mode.encode(frames))
        torch.manual_seed(3)
        drawn = sample.encode(frames)
        torch.manual_seed(3)
        by_hand = told.mean + torch.exp(told.logvar / 2) * torch.randn(told.mean.shape)
        torch.testing.assert_close(drawn, by_hand * 0.18215)
        assert not torch.allclose(sample.encode(frames), drawn)


def test_a_drawn_posterior_is_the_samples_own(frames: Tensor):
    """Whatever else lies in the batch, and without a look at the global generator."""
    block = slot_decoders.AutoencoderKL(channels=(8, 8), num_groups=4, posterior="sample").eval()

    def drawn(names: str, step: int = 0) -> Tensor:
        rows = torch.stack([frames["ab".index(name)] for name in names])
        with torch.no_grad():
            return block.encode(rows, sample_generators(0, step, names))

    before = torch.get_rng_state()
    both = drawn("ab")
    torch.testing.assert_close(drawn("b")[0], both[1])
    torch.testing.assert_close(drawn("ba").flip(0), both)
    assert not torch.allclose(drawn("ab", step=1), both)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_training_step_draws_the_posterior_by_sample():
    config = {**KL, "posterior": "sample"}
    model = tiny_model(config).train()
    videos = torch.rand(2, 1, 3, 16, 16)

    def loss(rows: list[int], seed: int) -> Tensor:
        torch.manual_seed(seed)
        generators = sample_generators(0, 0, [str(row) for row in rows])
        return model(videos[rows], generator=generators).total

    whole = loss([0, 1], seed=1)
    torch.testing.assert_close(loss([1, 0], seed=2), whole)
    torch.testing.assert_close((loss([0], 3) + loss([1], 4)) / 2, whole)


def test_the_usual_sizes_are_those_of_the_published_ones():
    """Weights of stabilityai/sd-vae-ft-mse and madebyollin/taesd, by their files' sizes."""
    with torch.device("meta"):
        counts = [
            sum(p.numel() for p in kind().parameters())
            for kind in (slot_decoders.AutoencoderKL, slot_decoders.AutoencoderTiny)
        ]
    assert counts == [83_653_863, 2_445_063]


def test_other_sizes_are_refused_by_the_first_key(tmp_path: Path):
    for name, changes, sentence in (
        ("AutoencoderKL", {"latent_channels": 5}, "tokenizer.latent_channels is 5, the model's is"),
        ("AutoencoderKL", {"scaling_factor": 0.3}, "tokenizer.scaling_factor is 0.3, the model"),
        ("AutoencoderKL", {"act_fn": "relu"}, "its act_fn is 'relu', the model's is 'silu'"),
        ("AutoencoderTiny", {"latent_channels": 3}, "latent_channels is 3, the model's is 4"),
        ("AutoencoderTiny", {"shift_factor": 1.0}, "shift_factor is 1.0, the model's is 0.0"),
    ):
        published(name, **changes).save_pretrained(tmp_path / sentence[:20])
        with pytest.raises(ConfigError, match=sentence):
            start_tokenizer(tiny_model(CONFIGS[name]), tmp_path / sentence[:20])


def test_another_class_and_another_layout_are_refused(tmp_path: Path):
    published("AutoencoderTiny").save_pretrained(tmp_path / "tiny")
    with pytest.raises(CheckpointError, match="describes a AutoencoderTiny, expected an Autoenco"):
        start_tokenizer(tiny_model(KL), tmp_path / "tiny")
    tiny_model(KL).save_pretrained(tmp_path / "ours")
    with pytest.raises(CheckpointError, match="describes a model of no class, expected an Autoenc"):
        start_tokenizer(tiny_model(KL), tmp_path / "ours")
    with pytest.raises(
        CheckpointError, match="nowhere: holds no autoencoder in the layout of diff"
    ):
        start_tokenizer(tiny_model(KL), tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="tiny: is a folder on this machine, which has no re"):
        start_tokenizer(tiny_model(TINY), tmp_path / "tiny", revision="v2")


def test_weights_are_strict_both_ways(tmp_path: Path):
    published("AutoencoderKL").save_pretrained(tmp_path)
    path = tmp_path / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    removed = weights.pop("decoder.conv_in.bias")
    save_file(weights, path, {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"the weight 'decoder\.conv_in\.bias' is missing"):
        start_tokenizer(tiny_model(KL), tmp_path)
    weights |= {"decoder.conv_in.bias": removed, "more": removed.clone()}
    save_file(weights, path, {"format": "pt"})
    with pytest.raises(CheckpointError, match="the weight 'more' is unexpected"):
        start_tokenizer(tiny_model(KL), tmp_path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="the weights cannot be read"):
        start_tokenizer(tiny_model(KL), tmp_path)
    path.unlink()
    with pytest.raises(CheckpointError, match="the weights cannot be read"):
        start_tokenizer(tiny_model(KL), tmp_path)


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


def test_code_in_a_pickle_is_never_run(tmp_path: Path):
    folder = tmp_path / "published"
    published("AutoencoderKL").save_pretrained(folder)
    (folder / "diffusion_pytorch_model.safetensors").unlink()
    torch.save({"bomb": Bomb(tmp_path / "exploded")}, folder / "diffusion_pytorch_model.bin")
    with pytest.raises(CheckpointError, match="the weights cannot be read") as caught:
        start_tokenizer(tiny_model(KL), folder)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "exploded").exists()


def test_an_index_of_files_elsewhere_is_refused(tmp_path: Path):
    published("AutoencoderKL").save_pretrained(tmp_path)
    weights = tmp_path / "diffusion_pytorch_model.safetensors"
    weights.rename(tmp_path.parent / "elsewhere.safetensors")
    index = {"metadata": {}, "weight_map": {"encoder.conv_in.weight": "../elsewhere.safetensors"}}
    (tmp_path / f"{weights.name}.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=r"index\.json: names several files of weights"):
        start_tokenizer(tiny_model(KL), tmp_path)


def test_pixels_must_come_as_it_was_trained(tmp_path: Path):
    published("AutoencoderKL").save_pretrained(tmp_path)
    model = tiny_model(KL, preprocessing={"std": (0.3, 0.3, 0.3)})
    with pytest.raises(ConfigError, match=r"takes pixels in \[-1, 1\], but preprocessing.std is"):
        start_tokenizer(model, tmp_path)


def test_what_does_not_fit_together_is_refused():
    with pytest.raises(ConfigError, match="channels 8, 10 of an AutoencoderKL are not all multipl"):
        slot_decoders.AutoencoderKL(channels=(8, 10), num_groups=4)
    with pytest.raises(ConfigError, match="has 2 encoder_blocks and 1 decoder_blocks, expected as"):
        slot_decoders.AutoencoderTiny(encoder_blocks=(1, 1), decoder_blocks=(1,))
    with pytest.raises(
        ConfigError, match="quantize_denoised is set, but the tokenizer has no code"
    ):
        presets.slot_diffusion(decoder={"tokenizer": KL, "quantize_denoised": True})
    with pytest.raises(ConfigError, match="the tokenizer divides a side by 2 and the U-Net by 2"):
        presets.slot_diffusion(
            image_size=18, slot_dim=8, decoder={"tokenizer": KL, "denoiser": DENOISER}
        )


def test_what_is_kept_goes_with_the_slots():
    model, video = tiny_model(TINY), torch.rand(1, 1, 3, 16, 16)
    slots = torch.randn(1, 1, 2, 8)
    places = torch.ones(1, 1, 16, 16, dtype=torch.bool)
    made = model.sample(slots, kept=(video, places), num_steps=1)
    torch.testing.assert_close(made, video)
    for kept in ((video.expand(2, -1, -1, -1, -1), places), (video, places[..., :8])):
        with pytest.raises(InputError, match="but the slots are of 1 videos of 1 frames; expected"):
            model.sample(slots, kept=kept, num_steps=1)


def test_the_configuration_names_it(tmp_path: Path):
    tiny_model(TINY).save_pretrained(tmp_path)
    stated = json.loads((tmp_path / "config.json").read_text())["config"]["decoder"]["tokenizer"]
    assert stated["type"] == "autoencoder_tiny"
