"""Every recipe builds its model, at full size, and trains two steps, at a tiny one."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import train
from slot_data import Shapes
from slot_data.clips import ClipChoice
from slot_data.presets import preset_of
from slot_decoders.models import build_model, presets
from support.command_line import run
from support.options import RECIPES, load_options

NAMES = sorted(str(path.relative_to(RECIPES).with_suffix("")) for path in RECIPES.rglob("*.yaml"))


def test_all_recipes_are_found():
    assert len(NAMES) == 63


@pytest.mark.parametrize("name", NAMES)
def test_names_what_it_changes_of_its_paper(name):
    lines = (RECIPES / f"{name}.yaml").read_text().splitlines()
    head = " ".join(itertools.takewhile(lambda line: line.startswith("#"), lines))
    assert re.search(r"Departs from \S+ et al\. \d{4}", head)


@pytest.mark.parametrize("name", NAMES)
def test_builds_at_full_size(name):
    options = load_options(name)
    # A diffusion decoder has 150 million weights: they are counted, not made.
    large = name.startswith(("slot_diffusion/", "vqvae/", "slot_former/physion"))
    with torch.device("meta" if large else "cpu"):
        model = build_model(options.model)
    assert sum(parameter.numel() for parameter in model.parameters()) > 20_000


@pytest.mark.parametrize("name", ["vqvae/physion", "slot_diffusion/physion", "slot_former/physion"])
def test_validation_on_physion_sees_every_video(name):
    options = load_options(name)
    assert options.data.splits.test is None  # it has no truth that is scored here
    data = {"stride": 1, **options.data.dataset_options(training=False)}
    if preset := data.get("preset"):
        data = {**preset_of("physion", preset).options_of("validation"), **data}
    clips = ClipChoice(data["num_frames"], data["stride"], data["clips"])
    assert options.validation.num_samples == 798 * clips.count("a video", 150)


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
    if name == "dinosaur/shapes":
        return changes | quickstarts_backbone(tmp_path / "quickstart"), MIXTURE
    if kind == "dinosaur":
        mixture = load_options(name).model.decoder.type == "feature_mlp"
        decoder = {"hidden_dim": 16} if mixture else {"num_layers": 2}
        changes |= {f"model.decoder.{key}": value for key, value in decoder.items()}
        return changes | tiny_vit(tmp_path / "vit"), MIXTURE
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


def tiny_vit(folder: Path) -> dict[str, Any]:
    """A pre-trained backbone, and what makes that of a recipe as small."""
    from transformers import ViTConfig, ViTModel  # slow to import

    config = ViTConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        image_size=32, patch_size=8,
    )  # fmt: skip
    ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    sizes = {"patch_size": 8, "hidden_dim": 8, "num_layers": 1, "num_heads": 2, "image_size": 32}
    vit = {f"model.encoder.backbone.{key}": value for key, value in sizes.items()}
    return vit | {"start.backbone": str(folder)}


def quickstarts_backbone(folder: Path) -> dict[str, Any]:
    """A checkpoint of which the recipe takes the backbone, as its head says."""
    backbone = {"type": "cnn", "channels": [8], "strides": [2], "kernel_size": 3}
    presets.slot_attention(
        encoder={"backbone": backbone, "initializer": {"type": "clustered"}}
    ).save_pretrained(folder)
    head = (RECIPES / "dinosaur" / "shapes.yaml").read_text()
    (fresh,) = re.findall(r"start\.fresh=\[(.*)\]", head)
    return {
        "model.encoder.backbone.channels": [8],
        "model.decoder.hidden_dim": 8,
        "start.weights": str(folder),
        "start.fresh": fresh.split(", "),
    }


def write_movi(root: Path, folder: str, split: str) -> None:
    """One video of 24 frames: with one mask per frame as SlotDiffusion stores MOVi-D and E, or,
    without masks for training, with one per object as STEVE stores MOVi-Solid and Tex."""
    kubric = len(folder) == len("MOVi-D")
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


# One model for each way in which files are read is enough for every day.
EVERY_DAY = ("savi/movi_a_boxes", "savi/movi_d", "steve/movi_tex", "dvae/movi_e", "dinosaur/movi_c")

# Those of slots in test_slot_models, those that diffuse in test_diffusion.
ELSEWHERE = ("slot_former/", "relation_readout/", "vqvae/", "slot_diffusion/")


@pytest.mark.parametrize(
    ("name", "folder", "splits"),
    [
        pytest.param(
            name,
            f"MOVi-{name.split('_')[1].title()}",
            ("train", "validation", "test"),
            marks=[] if name in EVERY_DAY else [pytest.mark.slow],
        )
        for name in NAMES
        if "/movi_" in name and not name.startswith(ELSEWHERE)
    ],
)
def test_trains_two_steps_on_files_in_its_layout(tmp_path, tiny, name, folder, splits):
    for split in splits:
        write_movi(tmp_path, folder, split)
    changes, without = smaller(name, tmp_path, 16)
    if name.endswith("_boxes"):
        changes["model.num_slots"] = 7  # one for each of at most six objects, and one
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
    pictures = name.startswith(("dvae/", "dinosaur/"))
    assert result["num_samples"] == (24 if pictures else 1)
    assert result["settings"]["preset"].startswith(("slotdiffusion", "savi", "dinosaur"))


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
