"""Foreign checkpoints through the command line, up to the scores of the converted model."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import convert_checkpoint as tool
from slot_decoders.models import build_model, load_model, presets
from slot_decoders.models.state_dicts import get_origin
from slot_eval import protocols
from support.command_line import run

ORIGIN = get_origin("slotdiffusion")
ARGUMENTS = {
    "resolution": [16, 16],
    "slot_dict": {"num_slots": 3, "slot_size": 8, "slot_mlp_size": 20, "num_iterations": 2},
    "enc_dict": {"enc_channels": [3, 4, 6], "enc_ks": 3, "enc_out_channels": 12, "enc_norm": ""},
    "dec_dict": {"dec_channels": [8, 4], "dec_resolution": [8, 8], "dec_ks": 3, "dec_norm": ""},
}
CONFIG = ORIGIN.read_config(ARGUMENTS, source="test")


@pytest.fixture
def weights() -> dict[str, Tensor]:
    """A tiny model's weights as SlotDiffusion saves them."""
    torch.manual_seed(0)
    named = ORIGIN.state_dict_map(CONFIG).to_theirs(build_model(CONFIG).state_dict())
    grids = {
        f"{side}_pos_embedding.grid": torch.zeros(1, *size, 4)
        for side, size in (("encoder", ARGUMENTS["resolution"]), ("decoder", (8, 8)))
    }
    return {name: value.clone() for name, value in (named | grids).items()}


@pytest.fixture
def files(tmp_path: Path, weights: dict[str, Tensor]) -> dict[str, Path]:
    """A weights file and its configuration, and where to write."""
    torch.save(weights, tmp_path / "model.pth")
    (tmp_path / "config.json").write_text(json.dumps(ARGUMENTS))
    names = {"weights": "model.pth", "config": "config.json", "out": "made"}
    return {option: tmp_path / name for option, name in names.items()}


def convert(**options: Any) -> int:
    """The exit code of the command with these options."""
    words = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    with pytest.raises(SystemExit) as ended:
        run(tool.convert_checkpoint, ["--from=slotdiffusion", *words])
    return int(ended.value.code or 0)


def assert_opens(folder: Path, weights: dict[str, Tensor]) -> None:
    """The folder holds a model with exactly these weights."""
    model = load_model(folder)
    assert model.config == CONFIG
    back = ORIGIN.state_dict_map(CONFIG).to_theirs(model.state_dict())
    assert len(back) == len(weights) - 2  # the two grids are left out
    assert all(torch.equal(value, weights[name]) for name, value in back.items())


def training_checkpoint(weights: dict[str, Tensor]) -> dict[str, Any]:
    """What the reference's trainer writes every epoch."""
    return {
        "state_dict": weights,
        "opt_state_dict": {"state": {0: {"step": torch.ones(1)}}, "param_groups": [{"lr": 1e-4}]},
        "it": 10,
        "epoch": 2,
        "best_metric_dict": {},
        "scheduler_method": "cosine",
    }


@pytest.mark.slow
def test_a_fresh_process_converts_a_file(files: dict[str, Path], weights: dict[str, Tensor]):
    script = Path(tool.__file__)
    options = [f"--{name}={path}" for name, path in files.items()]
    ended = subprocess.run(
        [sys.executable, script, "--from=slotdiffusion", *options, "--card-data=ten pictures"],
        capture_output=True,
        text=True,
        check=False,
        cwd=files["out"].parent,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == f"{files['out']}: SlotAutoencoder with 3 slots\n"
    assert_opens(files["out"], weights)
    card = (files["out"] / "README.md").read_text()
    assert "license: unknown" in card
    assert "ten pictures" in card
    assert "convert_checkpoint.py --from=slotdiffusion --weights=" in card


@pytest.mark.parametrize("form", ["bare", "state_dict", "module", "safetensors", "half", "golden"])
def test_every_form_that_is_found_in_the_wild(
    files: dict[str, Path], weights: dict[str, Tensor], form: str
):
    weights = {name: value.half() for name, value in weights.items()}
    expected = {name: value.float() for name, value in weights.items()}
    stored: Any = weights if form == "half" else expected
    if form == "state_dict":
        stored = training_checkpoint(expected)
    if form == "module":
        stored = {f"module.{name}": value for name, value in expected.items()}
    if form == "golden":
        described = {"name": "tiny", "cls": "slotdiffusion.img_based.models.SA", "seed": 1}
        files["config"].write_text(json.dumps(described | {"args": ARGUMENTS}))
    if form == "safetensors":
        files["weights"] = files["weights"].with_suffix(".safetensors")
        save_file(stored, files["weights"])
    else:
        torch.save(stored, files["weights"])
    assert convert(**files) == 0
    assert_opens(files["out"], expected)


def test_a_video_model_is_converted_by_its_class(tmp_path: Path):
    predictor = {"pred_type": "mlp", "pred_rnn": True, "pred_norm_first": True}
    described = {"cls": "SAVi", "args": ARGUMENTS | {"clip_len": 6, "pred_dict": predictor}}
    config = ORIGIN.read_config(described, source="test")
    torch.manual_seed(0)
    theirs = ORIGIN.state_dict_map(config).to_theirs(build_model(config).state_dict())
    torch.save(training_checkpoint(theirs), tmp_path / "model.pth")
    (tmp_path / "config.json").write_text(json.dumps(described))
    options = {"weights": tmp_path / "model.pth", "config": tmp_path / "config.json"}
    assert convert(**options, out=tmp_path / "made") == 0
    model = load_model(tmp_path / "made")
    assert model.config == config
    assert model.config.encoder.predictor is not None
    back = ORIGIN.state_dict_map(config).to_theirs(model.state_dict())
    assert back.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in back.items())


def test_a_recipe_stands_for_a_configuration(tmp_path: Path):
    config = presets.SLOT_ATTENTION
    theirs = ORIGIN.state_dict_map(config).to_theirs(build_model(config).state_dict())
    save_file({k: v.contiguous() for k, v in theirs.items()}, tmp_path / "model.safetensors")
    options = {"weights": tmp_path / "model.safetensors", "out": tmp_path / "made"}
    assert convert(recipe="slot_attention/clevrtex", **options) == 0
    assert load_model(tmp_path / "made").config == config


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return Path.touch, (self.target,)


@pytest.mark.parametrize("pickled_by", ["torch", "pickle"])
def test_code_in_a_pickle_is_never_run(
    files: dict[str, Path],
    weights: dict[str, Tensor],
    pickled_by: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    recwarn: pytest.WarningsRecorder,
):
    target = tmp_path / "exploded"
    content = weights | {"bomb": Bomb(target)}
    if pickled_by == "torch":
        torch.save(content, files["weights"])
    else:
        files["weights"].write_bytes(pickle.dumps(content))
    assert convert(**files) == 2
    assert not target.exists()
    assert_one_sentence(capsys, "holds Python objects besides tensors and is not opened")
    assert not recwarn.list  # nothing but the sentence
    assert not files["out"].exists()


def assert_one_sentence(capsys: pytest.CaptureFixture, words: str) -> None:
    said = capsys.readouterr()
    assert said.err.startswith("error: ")
    assert words in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""


def spoil(files: dict[str, Path], weights: dict[str, Tensor], case: str) -> dict[str, Any]:
    """The options of one kind of wrong input."""
    options: dict[str, Any] = dict(files)
    if case == "no weights":
        options["weights"] = files["weights"].with_name("absent.pth")
    elif case == "a text":
        options["weights"] = files["config"]
    elif case == "truncated pth":
        files["weights"].write_bytes(files["weights"].read_bytes()[:-200])
    elif case == "empty pth":
        files["weights"].write_bytes(b"")
    elif case == "truncated safetensors":
        options["weights"] = files["weights"].with_suffix(".safetensors")
        save_file(weights, options["weights"])
        options["weights"].write_bytes(options["weights"].read_bytes()[:-7])
    elif case == "a list":
        torch.save([1, 2], files["weights"])
    elif case == "missing tensor":
        torch.save({k: v for k, v in weights.items() if k != "init_latents"}, files["weights"])
    elif case == "no config":
        options["config"] = files["config"].with_name("absent.json")
    elif case == "broken config":
        files["config"].write_text("{")
    elif case == "config of a list":
        files["config"].write_text("[]")
    elif case == "unknown argument":
        files["config"].write_text(json.dumps(ARGUMENTS | {"clip_len": 6}))
    elif case == "both":
        options["recipe"] = "slot_attention/clevrtex"
    elif case == "neither":
        del options["config"]
    elif case == "unknown recipe":
        del options["config"]
        options["recipe"] = "slot_attention/mars"
    elif case == "out in use":
        files["out"].mkdir()
        (files["out"] / "mine.txt").write_text("mine")
    elif case == "out is a file":
        files["out"].write_text("mine")
    elif case == "missing option":
        del options["out"]
    elif case == "unknown option":
        options["weight"] = "x"
    return options


WRONG = {
    "no weights": "absent.pth: there is no such file",
    "a text": "config.json: expected a .safetensors or a .pth file",
    "truncated pth": "model.pth: is damaged or truncated",
    "empty pth": "model.pth: is damaged or truncated",
    "truncated safetensors": "model.safetensors: is damaged or truncated",
    "a list": "model.pth: holds no state dict",
    "missing tensor": "model.pth: lacks weights init_latents",
    "no config": "absent.json: there is no such file",
    "broken config": "config.json: is not readable JSON",
    "config of a list": "config.json: expected a JSON object",
    "unknown argument": "config.json: unknown key 'clip_len'",
    "both": "give either --config or --recipe",
    "neither": "give either --config or --recipe",
    "unknown recipe": "no recipe 'slot_attention/mars'; did you mean ",
    "out in use": "made: is not empty, expected a new or empty folder",
    "out is a file": "made: is a file, expected a folder",
    "missing option": "--out",
    "unknown option": "--weight",
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_one_sentence_and_nothing_is_written(
    files: dict[str, Path],
    weights: dict[str, Tensor],
    case: str,
    capsys: pytest.CaptureFixture,
):
    assert convert(**spoil(files, weights, case)) == 2
    assert_one_sentence(capsys, WRONG[case])
    assert not (files["out"] / "config.json").exists()


def test_an_unknown_code_base_is_named(files: dict[str, Path], capsys: pytest.CaptureFixture):
    words = [f"--{name}={path}" for name, path in files.items()]
    with pytest.raises(SystemExit) as ended:
        run(tool.convert_checkpoint, ["--from=slotfusion", *words])
    assert ended.value.code == 2
    assert_one_sentence(capsys, "no checkpoints of 'slotfusion' are known")


def test_an_empty_folder_is_taken(files: dict[str, Path], weights: dict[str, Tensor]):
    files["out"].mkdir()
    assert convert(**files) == 0
    assert_opens(files["out"], weights)


@pytest.mark.parametrize("name", ["sa_a", "savi_a"])
def test_the_original_model_computes_and_scores_the_same(
    reference_data: Path, tmp_path: Path, name: str
):
    folder = reference_data / "golden" / name
    options = {"weights": folder / "state_dict.safetensors", "config": folder / "config.json"}
    assert convert(**options, out=tmp_path / "made") == 0
    model = load_model(tmp_path / "made")
    inputs, expected = (load_file(folder / f"{name}.safetensors") for name in ("inputs", "outputs"))
    video, true = inputs["img"] * 0.5 + 0.5, inputs["gt_masks"]
    if video.ndim == 4:  # pictures
        video, true = video[:, None], true[:, None]
    losses = model(video)
    assert losses.decoded is not None
    for made, key in (
        (model.encode(video).slots, "slots"),
        (model.segment(video)[:, :, :, None], "masks"),
        (losses.decoded.reconstruction, "recon_img"),
        (losses.total.detach(), "img_recon_loss"),
    ):
        limit = 1e-5 * expected[key].abs().max().item()
        torch.testing.assert_close(made.view_as(expected[key]), expected[key], atol=limit, rtol=0)
    protocol = protocols.get("slotdiffusion")
    predicted = protocol.labels(model.segment(video), *true.shape[-2:])
    scores = protocol.score(predicted, true)
    theirs = {"ari": "ari", "fg_ari": "fari", "miou": "miou", "fg_miou": "fmiou", "mbo": "mbo"}
    for ours, metric in theirs.items():
        # The masks of random weights have near ties, which rounding decides.
        assert scores[ours].mean().item() == pytest.approx(
            expected[f"eval.{metric}"].item(), abs=2e-3
        )


@pytest.fixture
def reference_data() -> Path:
    """The folder of full reference data, which is not part of the repository."""
    folder = os.environ.get("SLOT_REFERENCE_DATA")
    if folder is None:
        pytest.skip("SLOT_REFERENCE_DATA is not set")
    return Path(folder)
