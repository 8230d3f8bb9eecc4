"""The weights that SlotDiffusion released bear its recipes' names: each converts by its name.

``data/slotdiffusion_layouts.json`` holds the names of the tensors in checkpoints that its own code
wrote, numbers as ``#``: of each model, without those of its encoder's backbone, its predictor and
the diffusion decoder, which stand beside them. The networks here are its recipes', narrower.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

import convert_checkpoint as tool
from slot_core import CheckpointError
from slot_decoders.models import build_model, load_model
from slot_decoders.models.state_dicts import convert, get_origin
from support.command_line import run
from support.options import load_options
from support.reference_names import own_recipe

ROOT = Path(__file__).parents[2]
LAYOUTS: dict[str, list[str]] = json.loads(
    (Path(__file__).parent / "data" / "slotdiffusion_layouts.json").read_text()
)
THEIRS = json.loads((ROOT / "apps" / "tests" / "data" / "slotdiffusion_recipes.json").read_text())
RECIPES = {Path(name).stem: recipe["model"] for name, recipe in THEIRS.items()}
ORIGIN = get_origin("slotdiffusion")

# Where the layouts were taken from.
SOURCES = {
    "SA": "sa_a",
    "SAVi": "savi_a",
    "dVAE": "dvae_img_a",
    "SLATE": "slate_a",
    "STEVE": "steve_a",
    "VQVAE": "vqvae_a",
    "SADiffusion": "sa_ldm_a",
    "SAViDiffusion": "savi_ldm_a",
    "LDMSlotFormer": "slotformer_a",
    "PhysionReadout": "readout_a",
    "resnet": "sa_a",
    "cnn": "savi_a",
    "vit": "sa_ldm_dino_a",
    "predictor": "steve_a",
    "diffusion": "sa_ldm_a",
}
PLACES = {"predictor": "predictor.", "diffusion": "dm_decoder."}
PLACES |= dict.fromkeys(("resnet", "cnn", "vit"), "encoder.")
WITH_BACKBONE = ("SA", "SAVi", "SLATE", "STEVE", "SADiffusion", "SAViDiffusion")
WITH_PREDICTOR = ("SAVi", "STEVE", "SAViDiffusion")
WITH_DECODER = ("SADiffusion", "SAViDiffusion", "LDMSlotFormer")

VQ = {"type": "vqvae", "channels": [4, 8, 12], "num_groups": 4, "vocab_size": 9}
NARROW: dict[str, Any] = {
    "diffusion": {
        "tokenizer": VQ,
        "denoiser": {"channels": [4, 8, 12, 16], "num_groups": 4, "head_dim": 4},
    },
    "transformer": {"tokenizer": {"vocab_size": 9, "hidden_dim": 8}, "num_layers": 2},
    "spatial_broadcast": {"channels": [4, 4, 4, 4]},
    "vqvae": VQ,
    "dvae": {"vocab_size": 9, "hidden_dim": 8},
    "vit": {"hidden_dim": 8, "num_heads": 2, "num_layers": 2},
}


def narrower(name: str) -> list[str]:
    """Changes to a recipe, as ``--set`` takes them."""
    model = load_options(own_recipe(name)).model.model_dump()
    changes: dict[str, Any] = {}
    if "slot_dim" in model:
        changes["slot_dim"] = 8
    if tokenizer := model.get("tokenizer"):
        changes["tokenizer"] = NARROW[tokenizer["type"]]
    if encoder := model.get("encoder"):
        changes["encoder.corrector.hidden_dim"] = 8
        if encoder["backbone"]["type"] == "vit":
            changes["encoder.backbone"] = NARROW["vit"]
        if encoder["predictor"]:
            changes["encoder.predictor.hidden_dim"] = 8
    if decoder := model.get("decoder"):
        changes["decoder"] = NARROW[decoder["type"]]
    if "dynamics" in model:
        changes["dynamics"] = {"model_dim": 8, "hidden_dim": 8, "num_layers": 2}
    return [f"model.{key}={json.dumps(value)}" for key, value in changes.items()]


def pattern(name: str) -> str:
    return re.sub(r"\d+", "#", name)


def layout(kind: str, backbone: str | None) -> set[str]:
    """The names, numbers as ``#``, in a checkpoint of theirs."""
    parts = [kind, *([backbone] if backbone else [])]
    parts += ["predictor"] * (kind in WITH_PREDICTOR) + ["diffusion"] * (kind in WITH_DECODER)
    return {name for part in parts for name in LAYOUTS[part]}


def random_checkpoint(config: Any, known: set[str]) -> dict[str, Tensor]:
    """Random weights under the names of their checkpoints, with what ours has no need of."""
    names = ORIGIN.state_dict_map(config)
    own = build_model(config).state_dict()
    weights = names.to_theirs({name: torch.randn(value.shape) for name, value in own.items()})
    extra = {name: torch.randn(2) for name in names.ignored if pattern(name) in known}
    for name, implied in names.implied.items():
        if name in extra:
            extra[name] = implied if isinstance(implied, Tensor) else torch.randn(implied)
    assert not weights.keys() & extra.keys()
    return weights | extra


def is_slow(name: str) -> bool:
    """U-Nets take seconds each: one is enough for every day."""
    return RECIPES[name] in WITH_DECODER and "sa_ldm_clevrtex" not in name


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * is_slow(n)) for n in RECIPES]
)
def test_each_converts_by_its_name(name: str, tmp_path: Path):
    torch.manual_seed(0)
    changes, kind = narrower(name), RECIPES[name]
    config = load_options(own_recipe(name), changes).model
    encoder = getattr(config, "encoder", None)
    backbone = None if encoder is None else encoder.backbone.type
    known = layout(kind, backbone)
    weights = random_checkpoint(config, known)
    assert {pattern(key) for key in weights} == known

    stored = {f"module.{key}": value for key, value in weights.items()}
    if kind == "VQVAE":  # trained with a perceptual loss, whose network it keeps
        stored["module.loss.perceptual_loss.net.slice1.0.weight"] = torch.randn(2)
    file = tmp_path / f"{name}.pth"
    torch.save({"state_dict": stored, "it": 3, "epoch": 1, "best_metric_dict": {}}, file)
    words = [f"--recipe={name}", f"--weights={file}", f"--out={tmp_path / 'made'}"]
    with pytest.raises(SystemExit) as ended:
        run(tool.convert_checkpoint, [*words, *(f"--set={change}" for change in changes)])
    assert not ended.value.code
    model = load_model(tmp_path / "made")
    assert model.config == config  # with its preprocessing
    back = ORIGIN.state_dict_map(config).to_theirs(model.state_dict())
    assert all(torch.equal(value, weights[key]) for key, value in back.items())

    for problem, broken in broken_ones(weights, back):
        with pytest.raises(CheckpointError, match=problem):
            convert(broken, config)


def broken_ones(
    weights: dict[str, Tensor], used: dict[str, Tensor]
) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """The checkpoint without one tensor of it, and with one that no such checkpoint has."""
    missing = sorted(used)[len(used) // 2]
    yield f"lacks weights {re.escape(missing)}", {k: v for k, v in weights.items() if k != missing}
    yield "has the unknown weights surprise", weights | {"surprise": torch.randn(2)}


def test_the_layouts_are_the_original_checkpoints():
    if "SLOT_REFERENCE_DATA" not in os.environ:
        pytest.skip("SLOT_REFERENCE_DATA is not set")
    golden = Path(os.environ["SLOT_REFERENCE_DATA"], "golden")
    assert SOURCES.keys() == LAYOUTS.keys()
    for part, folder in SOURCES.items():
        with safe_open(golden / folder / "state_dict.safetensors", "pt") as file:
            found = {pattern(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
        if part in PLACES:
            found = {name for name in found if name.startswith(PLACES[part])}
        elif part in WITH_DECODER:
            assert {n for n in found if n.startswith("dm_decoder.")} <= set(LAYOUTS["diffusion"])
        if part in RECIPES.values():
            beside = ["predictor.", "dm_decoder.", *["encoder."] * (part in WITH_BACKBONE)]
            found = {name for name in found if not name.startswith(tuple(beside))}
        assert sorted(found) == LAYOUTS[part]


def test_changes_are_to_a_recipe(tmp_path: Path, capsys: pytest.CaptureFixture):
    (tmp_path / "config.json").write_text("{}")
    words = [f"--weights={tmp_path}", f"--config={tmp_path / 'config.json'}", "--out=made"]
    with pytest.raises(SystemExit) as ended:
        run(tool.convert_checkpoint, [*words, "--set=model.num_slots=3"])
    assert ended.value.code == 2
    assert "--set changes a recipe, but --config is given" in capsys.readouterr().err


@pytest.mark.parametrize("origin", ["slate", "steve"])
def test_the_authors_own_checkpoints_convert_from_files(origin: str, tmp_path: Path):
    """What the models compute is tested in slot-decoders; here their trainers' files are opened."""
    sys.path.append(str(ROOT / "packages" / "slot-decoders" / "tests"))
    theirs = importlib.import_module(f"test_state_dicts_{origin}")
    stored = {"model": theirs.checkpoint(), "epoch": 3, "best_val_loss": 1.5, "optimizer": {}}
    torch.save(stored, tmp_path / "checkpoint.pt.tar")
    (tmp_path / "config.json").write_text(json.dumps(theirs.SMALL))
    files = [f"--weights={tmp_path}/checkpoint.pt.tar", f"--config={tmp_path}/config.json"]
    with pytest.raises(SystemExit) as ended:
        run(tool.convert_checkpoint, [f"--from={origin}", *files, f"--out={tmp_path / 'made'}"])
    assert not ended.value.code
    model = load_model(tmp_path / "made")
    assert model.num_slots == theirs.SMALL["num_slots"]
    assert model.config.preprocessing.mean == (0, 0, 0)
