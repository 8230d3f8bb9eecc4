"""SlotDiffusion's own checkpoints: which of their two U-Nets is taken, and what is refused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from slot_core import CheckpointError, ConfigError
from slot_decoders.models.build import build_model
from slot_decoders.models.state_dicts import convert, get_origin
from slot_decoders.models.state_dicts.slotdiffusion_diffusion import AVERAGE, UNET

ARGUMENTS: dict[str, Any] = {
    "resolution": [16, 16],
    "slot_dict": {"num_slots": 2, "slot_size": 32, "slot_mlp_size": 8, "num_iterations": 1},
    "enc_dict": {
        "enc_channels": [3, 4],
        "enc_ks": 3,
        "enc_out_channels": 32,
        "enc_norm": "",
    },
    "dec_dict": {
        "resolution": [8, 8],
        "vae_dict": {
            "vae_type": "VQVAE",
            "enc_dec_dict": {
                "resolution": 16,
                "in_channels": 3,
                "z_channels": 3,
                "ch": 32,
                "ch_mult": [1, 1],
                "num_res_blocks": 1,
                "attn_resolutions": [],
                "out_ch": 3,
                "dropout": 0.0,
            },
            "vq_dict": {"n_embed": 5, "embed_dim": 3, "percept_loss_w": 1.0},
        },
        "unet_dict": {
            "in_channels": 3,
            "model_channels": 32,
            "out_channels": 3,
            "num_res_blocks": 1,
            "attention_resolutions": [1],
            "dropout": 0.1,
            "channel_mult": [1],
            "dims": 2,
            "use_checkpoint": False,
            "num_head_channels": 32,
            "resblock_updown": False,
            "conv_resample": True,
            "transformer_depth": 1,
            "context_dim": 32,
            "n_embed": None,
        },
        "use_ema": True,
        "diffusion_dict": {
            "pred_target": "eps",
            "timesteps": 1000,
            "beta_schedule": "linear",
            "linear_start": 0.0015,
            "linear_end": 0.0195,
            "log_every_t": 200,
        },
        "conditioning_key": "crossattn",
        "cond_stage_key": "slots",
    },
}
DESCRIBED: dict[str, Any] = {"cls": "SADiffusion", "args": ARGUMENTS}


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    """A checkpoint under their names: a U-Net of ones, and its average of twos."""
    origin = get_origin("slotdiffusion")
    config = origin.read_config(DESCRIBED, source="test")
    ours = build_model(config).state_dict()
    theirs = origin.state_dict_map(config).to_theirs(ours)
    averages = {}
    for name, value in theirs.items():
        if name.startswith(UNET):
            theirs[name] = torch.ones_like(value)
            short = name.removeprefix(UNET).replace(".", "")
            averages[AVERAGE + short] = torch.full_like(value, 2)
    state = {"decay": torch.tensor(0.9999), "num_updates": torch.tensor(7)}
    return {**theirs, **averages, **{AVERAGE + name: value for name, value in state.items()}}


def test_the_average_is_taken_when_asked(weights: dict[str, Tensor]):
    last, average = (convert(weights, DESCRIBED, averaged=averaged) for averaged in (False, True))
    for model, value in ((last, 1), (average, 2)):
        assert all((p == value).all() for p in model.decoder.denoiser.parameters())
    for one, other in zip(last.encoder.parameters(), average.encoder.parameters(), strict=True):
        assert torch.equal(one, other)


def test_an_average_that_is_not_there_is_refused(weights: dict[str, Tensor]):
    without = {name: v for name, v in weights.items() if not name.startswith(AVERAGE)}
    assert convert(without, DESCRIBED).training is False
    with pytest.raises(
        ConfigError, match=r"^file: holds no average of its weights \(dm_decoder\.m"
    ):
        convert(without, DESCRIBED, averaged=True, source="file")


@pytest.mark.parametrize("averaged", [False, True])
def test_an_average_of_other_weights_is_refused(weights: dict[str, Tensor], averaged: bool):
    """Also where it is not wanted: the checkpoint is damaged, or not what it says."""
    short = f"{AVERAGE}diffusion_modelout2bias"
    lacking = {name: value for name, value in weights.items() if name != short}
    with pytest.raises(
        CheckpointError, match=r"file: the averaged .* differ by diffusion_modelout2b"
    ):
        convert(lacking, DESCRIBED, averaged=averaged, source="file")
    more = {**weights, f"{AVERAGE}another": torch.zeros(1)}
    with pytest.raises(CheckpointError, match=r"file: the averaged weights .* differ by another$"):
        convert(more, DESCRIBED, averaged=averaged, source="file")


BETAS = torch.linspace(0.0015**0.5, 0.0195**0.5, 1000) ** 2


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"linear_start": 0.001}, r"betas is 0\.0015 at 0, .* asks for 0\.001"),
        ({"linear_end": 0.02}, r"betas is 0\.00\d+ at \d+, .* asks for 0\.00\d+"),
        ({"timesteps": 500}, r"\w+ has the shape \[1000\], .* asks for \[500\]"),
    ],
)
def test_the_noise_of_another_configuration_is_named(
    weights: dict[str, Tensor], changes: dict[str, Any], told: str
):
    saved = weights | {"dm_decoder.betas": BETAS, "dm_decoder.alphas_bar": BETAS}
    for kind in (torch.float32, torch.float16, torch.bfloat16):  # as it was saved
        assert convert(saved | {"dm_decoder.betas": BETAS.to(kind)}, DESCRIBED).training is False
    other = copy.deepcopy(DESCRIBED)
    other["args"]["dec_dict"]["diffusion_dict"] |= changes
    with pytest.raises(CheckpointError, match=rf"^file: dm_decoder\.{told}$"):
        convert(saved, other, source="file")


Change = Callable[[dict[str, Any]], Any]
REFUSED: dict[str, tuple[Change, str]] = {
    "slots of another width": (
        lambda d: d["unet_dict"].update(context_dim=16),
        "'dec_dict.unet_dict.context_dim' is 16, expected 32",
    ),
    "latents of other channels": (
        lambda d: d["unet_dict"].update(in_channels=4),
        "'dec_dict.unet_dict.in_channels' is 4, expected 3",
    ),
    "a prediction of other channels": (
        lambda d: d["unet_dict"].update(out_channels=6),
        "'dec_dict.unet_dict.out_channels' is 6, expected 3",
    ),
    "latents of another size": (
        lambda d: d.update(resolution=[4, 4]),
        r"'dec_dict.resolution' is \(4, 4\), expected \(8, 8\)",
    ),
    "codes of another width": (
        lambda d: d["vae_dict"]["vq_dict"].update(embed_dim=4),
        "'vq_dict.embed_dim' is 4, expected 'enc_dec_dict.z_channels', 3",
    ),
    "another target": (
        lambda d: d["diffusion_dict"].update(pred_target="score"),
        "pred_target",
    ),
    "another schedule": (
        lambda d: d["diffusion_dict"].update(beta_schedule="cosine"),
        "beta_schedule",
    ),
    "another first stage": (lambda d: d["vae_dict"].update(vae_type="KL"), "vae_type"),
    "slots that are added": (lambda d: d.update(conditioning_key="concat"), "conditioning_key"),
    "attention in the first stage": (
        lambda d: d["vae_dict"]["enc_dec_dict"].update(attn_resolutions=[8]),
        "attn_resolutions",
    ),
    "a key that is not known": (lambda d: d["unet_dict"].update(legacy=True), "legacy"),
    "a key that lacks": (lambda d: d["diffusion_dict"].pop("timesteps"), "timesteps"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_arguments_without_a_counterpart_are_refused(case: str):
    change, sentence = REFUSED[case]
    arguments = copy.deepcopy(ARGUMENTS)
    change(arguments["dec_dict"])
    with pytest.raises(ConfigError, match=sentence) as told:
        get_origin("slotdiffusion").read_config({**DESCRIBED, "args": arguments}, source="file")
    assert str(told.value).startswith("file")
    assert "\n" not in str(told.value)


def test_no_loss_is_refused():
    arguments = {**ARGUMENTS, "loss_dict": {"use_denoise_loss": False}}
    with pytest.raises(ConfigError, match="use_denoise_loss"):
        get_origin("slotdiffusion").read_config({**DESCRIBED, "args": arguments}, source="file")
