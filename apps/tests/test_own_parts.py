"""What the page of own parts shows is done here as it stands there, by a reader's own hands."""

from __future__ import annotations

import json
import os
import pickle
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from runs import APPS
from tiny_run import TINY
from torch import Tensor, nn

import extract_slots
import predict
import slot_data
import slot_eval.cli
import train
from slot_core import CheckpointError, ConfigError, DecoderOutput
from slot_data import DataError
from slot_decoders.models import load_model, presets
from slot_eval import EvalError
from support.command_line import run
from support.datasets import load_dataset
from support.scoring import draw

ROOT = APPS.parent
TEXT = (APPS / "own_parts.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", TEXT, flags=re.DOTALL)
FILES = {
    match[1]: text
    for _, text in BLOCKS
    if (match := re.match(r"# (\S+\.(?:py|toml))\n", text)) is not None
}
DIFFS = [text for language, text in BLOCKS if language == "diff"]
COMMANDS = [line for kind, text in BLOCKS if kind == "bash" for line in text.splitlines()]
SHORT = {"train.num_steps": 2, "train.batch_size": 2, "validation.num_samples": 2}
SHORT |= {"train.num_threads": 1, "data.splits.test": None}


def test_the_page_is_read_whole():
    assert list(FILES) == [
        "sinkhorn.py",
        "learn.py",
        "packages/slot-decoders/src/slot_decoders/patch_mlp.py",
        "rings/pyproject.toml",
        "rings/src/rings/__init__.py",
        "scoring.py",
        "notebook.py",
    ]
    assert (len(DIFFS), len(COMMANDS)) == (2, 6)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder of the reader's own, from which Python imports."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in ("sinkhorn", "rings"):
        sys.modules.pop(name, None)


def write(folder: Path, name: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(FILES[name], encoding="utf-8")
    return path


def done(name: str) -> dict[str, Any]:
    """What a script of the page has defined when it is through."""
    names: dict[str, Any] = {}
    exec(compile(FILES[name], name, "exec"), names)
    return names


def tiny_model(**changes: Any) -> Any:
    sizes = {"num_slots": 4, "slot_dim": 16, "decoder": {"channels": [8, 8]}}
    encoder = {"backbone": {"type": "cnn", "channels": [8], "strides": [2]}}
    return presets.slot_attention(image_size=32, encoder=encoder, **sizes, **changes)


def test_a_corrector_in_a_file_of_ones_own(own: Path, capsys: pytest.CaptureFixture[str]):
    write(own, "sinkhorn.py")
    torch.manual_seed(2)
    names = done("learn.py")
    losses = [float(line) for line in capsys.readouterr().out.split()]
    assert len(losses) == 8
    assert sum(losses[4:]) < sum(losses[:4])
    model, saved = names["model"], own / "sinkhorn"
    mine = sys.modules["sinkhorn"]
    again = mine.load_model(saved)
    assert type(again.encoder.corrector) is mine.SinkhornAttention
    assert again.encoder.corrector.num_iterations == 2
    video = torch.rand(2, 1, 3, 32, 32)
    masks = again.segment(video, source="encoder")
    assert torch.equal(masks, model.segment(video, source="encoder"))
    # Transport: each slot wins about as much as every other.
    assert masks.mean(dim=(1, 3, 4)).sub(1 / 5).abs().max() < 0.02
    with pytest.raises(CheckpointError, match="model_class is 'SinkhornAutoencoder', expected"):
        load_model(saved)


def test_the_line_that_tries_an_idea_makes_no_checkpoint(own: Path):
    write(own, "sinkhorn.py")
    model = tiny_model()
    model.encoder.corrector = __import__("sinkhorn").SinkhornAttention(16, 16)
    model(torch.rand(2, 1, 3, 32, 32)).total.backward()
    with pytest.raises(CheckpointError, match="corrector is a SinkhornAttention, but its config"):
        model.save_pretrained(own / "saved")


@pytest.fixture
def rings(own: Path) -> str:
    """The reader's package of data, as ``uv pip install`` leaves it."""
    shutil.move(write(own, "rings/src/rings/__init__.py"), own / "rings" / "__init__.py")
    toml = FILES["rings/pyproject.toml"]
    (group, entry) = re.findall(r'entry-points."(.*)"\]\n(.*)\n', toml)[0]
    info = own / "rings-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: rings\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{entry}\n".replace('"', ""))
    return "mine:rings"


def test_a_dataset_of_ones_own_is_trained_on_and_scored(
    own: Path, rings: str, tiny: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
):
    out = own / "run"
    changes = {"data.name": rings, "model.num_slots": 3, "train.num_steps": 2}
    with pytest.raises(SystemExit) as ended:
        run(train.main, tiny(out, **changes))
    assert not ended.value.code
    assert "mine:rings shows up to 3 objects" in capsys.readouterr().out
    result = json.loads((out / "test" / "result.json").read_text())
    assert result["data"] == "mine:rings test"
    assert result["settings"]["num_samples"] == 24
    card = (out / "checkpoints" / "last" / "model" / "README.md").read_text()
    assert "mine:rings: image_size=32, num_samples=24, split=train" in card
    score = ["run", "--model", str(out), "--data", rings, "--option", "num_samples=4"]
    run_tool([*score, "--split", "test", "--out", str(own / "scores")])
    assert json.loads((own / "scores" / "result.json").read_text())["num_samples"] == 4


def test_slots_of_a_dataset_of_ones_own_are_extracted(own: Path, rings: str):
    tiny_model().save_pretrained(own / "model")
    words = ["model", rings, "--out", "slots", "--option", "num_samples=3"]
    with pytest.raises(SystemExit) as ended:
        run(extract_slots.main, [*words, "--option", "image_size=48", "--split", "test"])
    assert not ended.value.code
    slots = load_dataset("slots", split="test", root="slots", pixels=True)
    assert len(slots) == 3
    with_pixels = pickle.loads(pickle.dumps(slots))[1]  # as loader workers get it
    true = load_dataset(rings, split="test", image_size=48)[1]
    assert with_pixels["slots"].shape == (1, 4, 16)
    assert torch.equal(with_pixels["video"], true["video"])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["yours:rings"], "no installed package offers data sets as 'yours', only as"),
        (["mine:rings", "--option", "num_samples"], "--option num_samples: expected KEY=VALUE"),
        (
            ["mine:rings", "--option", "colours=2"],
            "argument 'colours'; its options are num_s",
        ),
    ],
)
def test_a_dataset_that_cannot_be_extracted_is_told(
    own: Path, rings: str, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
):
    tiny_model().save_pretrained(own / "model")
    with pytest.raises(SystemExit) as ended:
        run(extract_slots.main, ["model", *words, "--out", "slots"])
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err


def run_tool(words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        slot_eval.cli.main(words)
    assert not ended.value.code


def test_a_dataset_of_ones_own_that_gives_no_samples(rings: str, monkeypatch: Any):
    mine: Any = __import__("rings").Rings
    assert load_dataset(rings, split="train").settings == {"name": rings, "split": "train"}
    with monkeypatch.context() as empty:
        empty.setattr(mine, "__len__", lambda self: 0)
        with pytest.raises(ConfigError, match="the split test of mine:rings is empty"):
            load_dataset(rings, split="test")
    pixels = torch.rand(1, 3, 8, 8)
    monkeypatch.setattr(mine, "__getitem__", lambda self, index: {"video": pixels, "id": "a"})
    with pytest.raises(DataError, match=r"'a': the video is a Tensor of torch.float32 \[1, 3"):
        load_dataset(rings, split="test")
    with pytest.raises(EvalError, match="cannot load the data set rings: there is no rings w"):
        load_dataset(rings, split="dev")
    with pytest.raises(EvalError, match="no installed package offers data sets as 'yours', on"):
        load_dataset("yours:rings", split="test")


def test_a_metric_and_a_protocol_of_ones_own(own: Path, capsys: pytest.CaptureFixture[str]):
    tiny_model().save_pretrained(own / "model")
    words = ["run", "--model", "model", "--data", "shapes", "--limit", "8"]
    run_tool([*words, "--save-predictions", "masks.npz"])
    capsys.readouterr()
    names = done("scoring.py")
    share, _, rest = capsys.readouterr().out.partition(" ")
    assert 0 < float(share) <= 1
    assert "'n': 8" in rest
    everything = torch.tensor([[[[0, 1], [2, 2]]]])
    assert names["pixel_share"](everything, everything).tolist() == [1.0]
    assert names["pixel_share"](everything, everything.sign()).tolist() == pytest.approx([2 / 3])


def test_a_notebook(own: Path):
    tiny_model().save_pretrained(own / "runs" / "slot_attention-shapes")
    Image.new("RGBA", (40, 30), (200, 10, 10, 255)).save("PICTURE.png")
    names = done("notebook.py")
    assert names["labels"].shape == (1, 1, 30, 40)
    assert names["again"].shape == (1, 1, 3, 30, 40)
    assert names["attention"].shape == (1, 1, 4, 16, 16)
    assert Image.open("mixed.png").size == (32, 32)
    clip = torch.randint(256, (5, 30, 40, 3), dtype=torch.uint8).numpy()
    assert names["model"].segment(names["to_video"](clip)).shape == (1, 5, 4, 30, 40)


class Features(nn.Module):
    """A decoder that paints nothing: features, and masks, of the places of a small grid."""

    default_mask_source, paints = "decoder", False

    def decode(self, slots: Tensor, generator: Any = None) -> DecoderOutput:
        masks = slots.mean(-1).softmax(2)[..., None, None].expand(*slots.shape[:3], 4, 4)
        return DecoderOutput(slots.mean(2)[..., None, None].expand(-1, -1, -1, 4, 4), masks)


def test_a_decoder_that_paints_nothing_is_drawn_by_its_masks(
    own: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    model = tiny_model()
    model.decoder = Features()
    shapes = slot_data.Shapes(num_samples=2, image_size=32)
    draw(model, shapes, own / "drawn.png", num_pictures=2, device=torch.device("cpu"))
    assert (own / "drawn.png").exists()
    monkeypatch.setattr(predict, "load_model", lambda *_, **__: model)
    Image.new("RGB", (40, 30), (200, 10, 10)).save("PICTURE.png")
    with pytest.raises(SystemExit) as ended:
        run(predict.main, ["model", "PICTURE.png", "--out", "found"])
    assert not ended.value.code
    assert (own / "found" / "overview.png").exists()
    assert capsys.readouterr().err.count("Traceback") == 0


# ---------------------------------------------------------------------- in a clone


def applied(number: int, folder: Path, *options: str) -> None:
    """One of the page's changes, made in ``folder``, or what is wrong with it."""
    ended = subprocess.run(
        ["git", "apply", *options, "-"],
        input=DIFFS[number],
        cwd=folder,
        env={**os.environ, "GIT_CEILING_DIRECTORIES": str(folder.parent)},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("number", range(len(DIFFS)))
def test_the_changes_fit_the_files(number: int, tmp_path: Path):
    for name in re.findall(r"^--- a/(.*)$", DIFFS[number], flags=re.MULTILINE):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    applied(number, tmp_path, "--check")


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is run, and beside it a run and pictures from before any change."""
    folder = tmp_path_factory.mktemp("clone")
    for part in ("packages/slot-core/src", "packages/slot-decoders/src", "apps"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("tests", "runs"))
    (folder / "PICTURES" / "images").mkdir(parents=True)
    Image.new("RGB", (64, 64), (200, 10, 10)).save(folder / "PICTURES" / "images" / "a.png")
    call(folder, [*train_command(), "--out", "runs/before", "--set", "train.num_steps=2"])
    return folder


def train_command() -> list[str]:
    words = ["python", "apps/train.py", "slot_attention/shapes"]
    for key, value in {**TINY, **SHORT}.items():
        words += ["--set", f"{key}={json.dumps(value)}"]
    return words


def call(folder: Path, words: list[str]) -> str:
    paths = [folder / "packages" / name / "src" for name in ("slot-core", "slot-decoders")]
    ended = subprocess.run(
        [sys.executable, *words[1:]],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert ended.returncode == 0, f"{words}\n{ended.stdout}\n{ended.stderr}"
    return ended.stdout


def of_the_page(word: str) -> list[str]:
    """The command of the page with this word, for a run of seconds."""
    (line,) = (line for line in COMMANDS if word in line)
    words = shlex.split(line.removeprefix("uv run ").replace("accelerate launch", "python"))
    if "apps/train.py" in words:
        for key, value in SHORT.items():
            words += ["--set", f"{key}={json.dumps(value)}"]
    return words


@pytest.mark.slow
def test_a_decoder_that_every_script_knows(clone: Path):
    block = write(clone, "packages/slot-decoders/src/slot_decoders/patch_mlp.py")
    applied(0, clone)
    call(clone, of_the_page("type: patch_mlp"))
    call(clone, of_the_page("apps/predict.py"))
    assert list((clone / "found").rglob("*.png"))
    told = "from slot_decoders.models import load_model; model = load_model('runs/patches'); "
    told += "print(type(model.decoder).__name__, model.config.decoder.hidden_dim)"
    assert call(clone, ["python", "-c", told]).split() == ["PatchMLPDecoder", "64"]
    applied(0, clone, "--reverse")
    block.unlink()


@pytest.mark.slow
def test_a_variant_of_slot_attention_and_runs_from_before_it(clone: Path):
    applied(1, clone)
    call(clone, of_the_page("balancing"))
    told = "from slot_decoders.models import load_model; print(load_model('runs/{}').encoder"
    told += ".corrector.balancing)"
    assert call(clone, ["python", "-c", told.format("balanced")]).strip() == "5"
    assert call(clone, ["python", "-c", told.format("before")]).strip() == "0"
    resumed = [*train_command(), "--out", "runs/before", "--set", "train.num_steps=2", "--resume"]
    assert "resumed" in call(clone, resumed)
    applied(1, clone, "--reverse")
