"""Every recipe builds its model, at full size, and trains two steps, at a tiny one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import train
from slot_data import Shapes
from slot_decoders.models import RelationReadoutConfig, SlotDynamicsConfig, build_model, presets
from slot_decoders.models.configs import CNNConfig
from support.command_line import run
from support.options import RECIPES, load_options

NAMES = sorted(str(path.relative_to(RECIPES).with_suffix("")) for path in RECIPES.rglob("*.yaml"))


def test_all_recipes_are_found():
    assert len(NAMES) == 45


@pytest.mark.parametrize("name", NAMES)
def test_builds_at_full_size(name):
    options = load_options(name)
    # A diffusion model has 160 million weights: they are counted, not made.
    with torch.device("meta" if name.startswith(("slot_diffusion/", "vqvae/")) else "cpu"):
        model = build_model(options.model)
    assert sum(parameter.numel() for parameter in model.parameters()) > 40_000


def test_movi_is_trained_with_the_references_settings():
    """Those of SlotDiffusion's files savi_movid_params and so on."""
    for name, num_slots, backbone in (
        ("movi_d", 15, "resnet"),
        ("movi_e", 15, "resnet"),
        ("movi_solid", 12, "cnn"),
        ("movi_tex", 12, "cnn"),
    ):
        options = load_options(f"savi/{name}")
        model, optimizer = options.model, options.optimizer
        assert (model.num_slots, model.slot_dim) == (num_slots, 192)
        assert model.preprocessing.image_size == (128, 128)
        assert model.encoder.backbone.type == backbone
        assert model.encoder.corrector.num_iterations == 2
        assert model.encoder.corrector.hidden_dim == 384
        assert model.decoder.channels == (64, 64, 64, 64)
        assert (optimizer.learning_rate, optimizer.clip_norm) == (1e-4, 0.05)
        assert (optimizer.warmup_fraction, options.train.batch_size) == (0.025, 32)
    cnn = load_options("savi/movi_solid").model.encoder.backbone
    assert isinstance(cnn, CNNConfig)
    assert (cnn.channels, cnn.strides, cnn.kernel_size) == ((64, 64, 64, 64), (2,), 5)


def test_physion_is_trained_with_the_references_settings():
    """Those of SlotDiffusion's files ldmslotformer_physion_params and readout_physion_params."""
    options = load_options("slot_former/physion")
    assert isinstance(options.model, SlotDynamicsConfig)
    model, dynamics = options.model, options.model.dynamics
    assert (model.num_slots, model.slot_dim, model.stride) == (8, 192, 3)
    assert (dynamics.burn_in, dynamics.model_dim, dynamics.hidden_dim) == (15, 256, 1024)
    assert (dynamics.num_layers, dynamics.num_heads, dynamics.norm_first) == (12, 8, True)
    assert (dynamics.time_encoding, dynamics.slot_encoding) == ("sine", None)
    assert (model.slot_loss_weight, model.image_loss_weight, model.loss_decay) == (1, 0, 1)
    clips = options.data.dataset_options(training=True)
    assert clips == {"num_frames": 15 + 10, "stride": 3, "clips": "every"}
    assert (options.train.batch_size, options.train.num_steps) == (128, 25 * 9262)
    assert options.optimizer.learning_rate == 1e-4
    assert (options.optimizer.warmup_fraction, options.optimizer.clip_norm) == (0.05, None)
    options = load_options("relation_readout/physion")
    assert isinstance(options.model, RelationReadoutConfig)
    assert (options.model.num_slots, options.model.slot_dim) == (8, 192)
    assert options.model.readout.model_dump() == {
        "hidden_dim": 192,
        "aggregation": "max",
        "num_layers": 1,
        "both_orders": False,
    }
    assert (options.train.batch_size, options.train.num_steps) == (64, 50 * 118)
    assert (options.optimizer.learning_rate, options.optimizer.warmup_fraction) == (1e-3, 0)
    assert options.data.dataset_options(training=True)["num_frames"] == 75


def test_tokens_are_trained_with_the_references_settings():
    """Those of SlotDiffusion's files slate_clevrtex_params, steve_movid_params and so on."""
    for name, num_slots, steps, batch, clip in (
        ("slate/clevrtex", 11, 125_000, 64, 1.0),
        ("slate/celeba", 4, 254_300, 64, 1.0),
        ("steve/movi_d", 15, 201_090, 32, 0.05),
        ("steve/movi_e", 15, 201_060, 32, 0.05),
        ("steve/movi_solid", 12, 200_000, 32, 0.05),
        ("steve/movi_tex", 12, 200_000, 32, 0.05),
    ):
        options = load_options(name)
        model, optimizer, decoder = options.model, options.optimizer, options.model.decoder
        assert (model.num_slots, model.slot_dim) == (num_slots, 192)
        assert model.preprocessing.image_size == (128, 128)
        assert (decoder.num_layers, decoder.num_heads, decoder.dropout) == (8, 4, 0.1)
        assert decoder.tokenizer.vocab_size == 4096
        assert (options.train.num_steps, options.train.batch_size) == (steps, batch)
        assert (optimizer.learning_rate, optimizer.decoder_learning_rate) == (1e-4, 3e-4)
        assert (optimizer.warmup_fraction, optimizer.final_fraction) == (0.05, 0)
        assert optimizer.clip_norm == clip
        tokenizer = load_options(f"dvae/{name.partition('/')[2]}")
        assert tokenizer.model.tokenizer == decoder.tokenizer
        assert tokenizer.model.preprocessing == model.preprocessing
        assert (tokenizer.optimizer.learning_rate, tokenizer.train.batch_size) == (1e-3, 64)
        assert (tokenizer.optimizer.warmup_fraction, tokenizer.optimizer.clip_norm) == (0.05, None)


TOKENIZER = {"vocab_size": 8, "hidden_dim": 8}
MIXTURE = ("model.decoder.channels", "model.decoder.broadcast_size", "model.decoder.output_stride")
SLOTS = (
    "model.num_slots",
    "model.slot_dim",
    "model.encoder.preprocessing",
    "model.encoder.corrector.hidden_dim",
)


def smaller(name: str, tmp_path: Path, size: int) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What makes the model of a recipe tiny, and which options of others it has not.

    One that decodes tokens is given a tokenizer, untrained, in a checkpoint of its own.
    """
    kind = name.partition("/")[0]
    changes: dict[str, Any] = {"model.preprocessing.image_size": [size, size]}
    if kind == "dvae":
        tokens = {f"model.tokenizer.{key}": value for key, value in TOKENIZER.items()}
        return changes | tokens, MIXTURE + SLOTS
    if kind not in ("slate", "steve"):
        return changes, ()
    tokenizer = load_options(name).model.decoder.tokenizer.model_dump() | TOKENIZER
    preprocessing = {
        **load_options(name).model.preprocessing.model_dump(),
        "image_size": (size,) * 2,
    }
    presets.dvae(preprocessing=preprocessing, tokenizer=tokenizer).save_pretrained(
        tmp_path / "tokenizer"
    )
    tokens = {f"model.decoder.tokenizer.{key}": value for key, value in TOKENIZER.items()}
    changes |= {"model.decoder.num_layers": 1, "start.tokenizer": str(tmp_path / "tokenizer")}
    return changes | tokens, MIXTURE


def write_movi(root: Path, folder: str, split: str) -> None:
    """One video of 24 frames: with one mask per frame as SlotDiffusion stores MOVi-D and E, or,
    without masks for training, with one per object as STEVE stores MOVi-Solid and Tex."""
    kubric = folder in ("MOVi-D", "MOVi-E")
    place = root / folder / (split if kubric else split.replace("validation", "val")) / "00000000"
    place.mkdir(parents=True)
    sample = Shapes(num_frames=24, image_size=32)[len(split)]
    numbers = sample.get("labels")
    assert numbers is not None
    for time, (frame, labels) in enumerate(zip(sample["video"], numbers, strict=True)):
        picture = Image.fromarray(frame.permute(1, 2, 0).numpy())
        if kubric:
            picture.save(place / f"{time:06d}.jpg")
            Image.fromarray(labels.numpy()).save(place / f"{time:06d}_mask.png")
            continue
        picture.save(place / f"{time:08d}_image.png")
        for number in range(10 if split == "test" else 0):
            mask = (labels == number + 1).byte() * 255
            Image.fromarray(mask.numpy()).save(place / f"{time:08d}_mask_{number:02d}.png")


# Those of slots in test_slot_models, those that diffuse in test_diffusion.
ELSEWHERE = ("slot_former/", "relation_readout/", "vqvae/", "slot_diffusion/")


@pytest.mark.parametrize(
    ("name", "folder", "splits"),
    [
        (name, f"MOVi-{name.partition('_')[2].title()}", ("train", "validation", "test"))
        for name in NAMES
        if "/movi_" in name and not name.startswith(ELSEWHERE)
    ],
)
def test_trains_two_steps_on_files_in_its_layout(tmp_path, tiny, name, folder, splits):
    for split in splits:
        write_movi(tmp_path, folder, split)
    changes, without = smaller(name, tmp_path, 16)
    arguments = tiny(
        tmp_path / "run",
        recipe=name,
        without=("data.name", "data.num_samples", *without),
        **changes,
        **{
            "data.root": str(tmp_path),
            "data.image_size": 16,
            "data.num_workers": 0,
            "train.num_steps": 2,
            "validation.num_samples": 2,
            "validation.num_pictures": 1,
        },
    )
    with pytest.raises(SystemExit) as stopped:
        run(train.main, arguments)
    assert not stopped.value.code
    result = json.loads((tmp_path / "run" / "test" / "result.json").read_text())
    assert result["num_samples"] == (24 if name.startswith("dvae/") else 1)
    assert result["settings"]["preset"].startswith("slotdiffusion")


@pytest.mark.parametrize(
    "name", [name for name in NAMES if "/movi_" not in name and not name.startswith(ELSEWHERE)]
)
def test_trains_two_steps(tmp_path, tiny, name):
    changes, without = smaller(name, tmp_path, 32)
    published = {"data.preset": None, "data.num_workers": 0}
    arguments = tiny(
        tmp_path / "run",
        recipe=name,
        without=without,
        **changes,
        **published,
        **{"train.num_steps": 2},
    )
    with pytest.raises(SystemExit) as stopped:
        run(train.main, arguments)
    assert not stopped.value.code
    assert (tmp_path / "run" / "checkpoints" / "last" / "model" / "config.json").exists()
