"""SlotDiffusion from its first stage to edited pictures, tiny; and its recipes' settings."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_diffusion import BACKBONE, DENOISER, RUN, SMALL_DATA, TOKENIZER, go, lines, train_tiny

import edit
import generate
import train
from slot_core import HubModel
from slot_data import Shapes
from slot_decoders.models import build_model, load_model, presets
from support.command_line import run
from support.options import load_options
from support.pictures import pixels


@pytest.fixture(scope="module")
def first_stage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_tiny("vqvae/shapes", tmp_path_factory.mktemp("vqvae") / "run")


@pytest.fixture(scope="module")
def trained(first_stage: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps, with an average of its weights."""
    out = tmp_path_factory.mktemp("diffusion") / "run"
    changes = {"start.tokenizer": str(first_stage), "train.ema_decay": 0.995}
    return train_tiny("slot_diffusion/shapes", out, None, **changes)


@pytest.fixture(scope="module")
def lively(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights that predict clean pixels, where every slot counts: with the few codes of a
    first stage of two steps, other slots paint the same picture."""
    changes = {
        "num_slots": 3,
        "slot_dim": 8,
        "preprocessing": {"image_size": [16, 16]},
        "encoder": {"backbone": BACKBONE, "corrector": {"hidden_dim": 8}},
        "decoder": {"tokenizer": None, "denoiser": DENOISER, "target": "x0"},
    }
    model = build_model(presets.configure("slot_diffusion", changes, source="test"))
    torch.manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    folder = tmp_path_factory.mktemp("lively") / "model"
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def pictures(tmp_path: Path) -> list[str]:
    names = []
    for index in range(3):
        frame = Shapes(image_size=32)[index]["video"][0].permute(1, 2, 0).numpy()
        names.append(str(tmp_path / f"{index}.png"))
        Image.fromarray(frame).save(names[-1])
    return names


def test_the_first_stage_logs_its_codebook(first_stage: Path):
    logged = lines(first_stage)[0]
    assert {"reconstruction", "quantization", "perplexity", "codes_in_use", "dead_codes"} <= (
        logged.keys()
    )


def test_the_second_stage_holds_the_first_and_an_average(first_stage: Path, trained: Path):
    tokenizer, model = load_model(first_stage), load_model(trained)
    kept = model.decoder.tokenizer.state_dict()
    for name, value in tokenizer.tokenizer.state_dict().items():
        assert torch.equal(kept[name], value), name
    state = torch.load(trained / "checkpoints" / "last" / "state" / "state.pt", weights_only=True)
    averaged = model.state_dict()
    differing = [n for n, v in state["weights"].items() if not torch.equal(v, averaged[n])]
    assert any(name.startswith("decoder.denoiser.") for name in differing)
    assert not any(name.startswith("decoder.tokenizer.") for name in differing)


PAINT = """
import sys, torch
from slot_decoders.models import load_model
model = load_model(sys.argv[1])
slots = torch.linspace(-1, 1, 24).view(1, 1, 3, 8)
made = model.sample(slots, generator=torch.Generator().manual_seed(5), num_steps=3)
torch.save(made, sys.argv[2])
"""


@pytest.mark.slow
def test_a_new_process_paints_the_same_from_one_folder(trained: Path, tmp_path: Path):
    folder = tmp_path / "copy"
    model: HubModel = load_model(trained)
    model.save_pretrained(folder)
    command = [sys.executable, "-c", PAINT, str(folder), str(tmp_path / "made.pt")]
    offline = {"HF_HUB_OFFLINE": "1", "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, env=offline)
    slots = torch.linspace(-1, 1, 24).view(1, 1, 3, 8)
    here = load_model(folder).sample(slots, generator=torch.Generator().manual_seed(5), num_steps=3)
    there = torch.load(tmp_path / "made.pt", weights_only=True)
    torch.testing.assert_close(here, there, atol=1e-5, rtol=0)


def test_a_tokenizer_of_another_kind_is_refused(first_stage: Path, tmp_path: Path, capsys):
    for key, value, sentence in (
        ("model.preprocessing", {"image_size": [32, 32]}, "preprocessing.image_size is (16, 16)"),
        ("model.decoder.tokenizer", {**TOKENIZER, "latent_channels": 4}, "latent_channels is 3"),
    ):
        with pytest.raises(SystemExit) as stopped:
            train_tiny_failing(tmp_path / key, first_stage, key, value)
        assert stopped.value.code == 2
        assert sentence in capsys.readouterr().err


def train_tiny_failing(out: Path, first_stage: Path, key: str, value: object) -> None:
    given = {
        **RUN,
        "data": SMALL_DATA,
        "model.num_slots": 3,
        "model.slot_dim": 8,
        "model.encoder.preprocessing": None,
        "model.encoder.backbone": BACKBONE,
        "model.decoder.tokenizer": TOKENIZER,
        "model.decoder.denoiser": DENOISER,
        "start.tokenizer": str(first_stage),
        key: value,
    }
    del given["data.num_workers"]
    words = ["slot_diffusion/shapes", "--out", str(out)]
    for name, change in given.items():
        words += ["--set", f"{name}={json.dumps(change)}"]
    run(train.main, words)


def test_pictures_are_edited(lively: Path, pictures: list[str], tmp_path: Path):
    out = tmp_path / "edited"
    edits = ["--remove", "0.png:1", "--swap", "0.png:2", "1.png:0", "--steps", "2"]
    go(edit.main, [str(lively), *pictures, "--out", str(out), *edits])
    assert (out / "overview.png").is_file()
    again = tmp_path / "again"
    go(edit.main, [str(lively), *pictures, "--out", str(again), "--steps", "2"])
    changed = [
        not np.array_equal(read(out / "edited" / name), read(again / "edited" / name))
        for name in ("0.png", "1.png", "2.png")
    ]
    assert changed == [True, True, False]


def test_only_the_place_of_a_removed_slot_is_painted(
    lively: Path, pictures: list[str], tmp_path: Path
):
    model, first = load_model(lively), video_of(pictures[0])
    slot = int(model.segment(first)[0, 0].argmax(0).mode().values[0])  # it has a place
    out = tmp_path / "edited"
    words = ["--remove", f"0.png:{slot}", "--keep", "--steps", "2"]
    go(edit.main, [str(lively), *pictures, "--out", str(out), *words])
    for number in range(2):
        video = video_of(pictures[number])
        small = pixels(model.preprocessing.undo(model.preprocessing(video)))[0, 0]
        made = read(out / "edited" / f"{number}.png")
        same = (np.abs(made.astype(int) - small) <= 1).all(-1)
        labels = model.segment(video)[0, 0].argmax(0).numpy()
        gone = (labels == slot) & (number == 0)
        stays = edit.places_kept(gone[None])[0].view(16, 2, 16, 2).all(3).all(1).numpy()
        assert same[stays].all()
        assert same.all() == (number == 1)


def video_of(path: str) -> torch.Tensor:
    return torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)[None, None] / 255


@pytest.mark.parametrize("other", [[], ["--swap", "0.png:2", "1.png:0"], ["--remove", "1"]])
def test_keeping_the_rest_is_of_removals_alone(
    lively: Path, pictures: list[str], tmp_path: Path, other: list[str], capsys
):
    words = [str(lively), *pictures, "--out", str(tmp_path / "out"), "--keep", *other]
    with pytest.raises(SystemExit) as stopped:
        run(edit.main, [*words, "--steps", "1"])
    told = capsys.readouterr().err
    if other[:1] == ["--remove"]:
        assert not stopped.value.code
    else:
        assert stopped.value.code == 2
        assert "error: --keep is of --remove alone: other edits may paint anywhere" in told


def read(picture: Path) -> np.ndarray:
    return np.asarray(Image.open(picture))


def test_a_single_picture_lies_where_the_message_says(lively: Path, tmp_path: Path, capsys):
    photo, out = tmp_path / "photo.jpg", tmp_path / "edited"
    Image.new("RGB", (40, 30), (200, 30, 30)).save(photo)
    go(edit.main, [str(lively), str(photo), "--out", str(out), "--remove", "1", "--steps", "2"])
    assert capsys.readouterr().out == (
        f"1 edited; in {out}:\n"
        "  edited/photo.jpg.png, 16x16 pixels, which is what the model paints\n"
        "  overview.png, before and after, and each slot with its number\n"
    )
    assert read(out / "edited" / "photo.jpg.png").shape == (16, 16, 3)
    again = tmp_path / "photo.jpg.png"
    Image.new("RGB", (16, 16)).save(again)
    words = [str(lively), str(photo), str(again), "--out", str(tmp_path / "two"), "--steps", "2"]
    with pytest.raises(SystemExit):
        run(edit.main, words)
    assert "photo.jpg.png: is written for another picture already" in capsys.readouterr().err


@pytest.mark.parametrize("how", ["reconstruct", "shift", "concepts"])
def test_pictures_are_generated(trained: Path, pictures: list[str], tmp_path: Path, how: str):
    out = tmp_path / "generated"
    words = [str(trained), str(tmp_path), "--out", str(tmp_path.parent / f"out-{how}")]
    out = Path(words[-1])
    go(generate.main, [*words, "--how", how, "--steps", "2", "--seed", "1"])
    made = sorted((out / "generated").iterdir())
    assert len(made) == (16 if how == "concepts" else 3)
    assert read(made[0]).shape == (16, 16, 3)
    assert (out / "overview.png").is_file()
    assert (out / "concepts.png").is_file() == (how == "concepts")


@pytest.mark.parametrize("option", ["--concepts", "--count"])
def test_what_is_of_concepts_alone_is_told(lively: Path, tmp_path: Path, option: str, capsys):
    words = [str(lively), str(tmp_path), "--out", str(tmp_path / "out"), option, "3"]
    with pytest.raises(SystemExit) as stopped:
        run(generate.main, words)
    assert stopped.value.code == 2
    assert f"error: {option} is of --how concepts" in capsys.readouterr().err


def test_a_video_is_edited_frame_by_frame_from_one_noise(lively: Path, tmp_path: Path):
    folder = tmp_path / "still"
    folder.mkdir()
    frame = Shapes(image_size=32)[0]["video"][0].permute(1, 2, 0).numpy()
    for time in range(3):
        Image.fromarray(frame).save(folder / f"{time}.png")
    out = tmp_path / "out"
    words = ["--remove", "1", "--steps", "2", "--batch-size", "2"]
    go(edit.main, [str(lively), str(folder), "--out", str(out), *words])
    frames = sorted((out / "edited" / "still").iterdir())
    assert [path.name for path in frames] == ["000000.png", "000001.png", "000002.png"]
    first, second = (np.asarray(Image.open(path)).astype(int) for path in frames[:2])
    assert np.abs(first - second).max() <= 1  # nothing moves, so nothing flickers


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--remove", "7"], "'7' names slot 7 of 0.png, which has the slots 0 to 2"),
        (["--scheduler", "euler"], "there is no scheduler 'euler'; expected dpm_solver, ddim, ddp"),
        (["--steps", "2000"], "num_steps is 2000, expected 1 to 1000"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_one_sentence(
    trained: Path, pictures: list[str], tmp_path: Path, words: list[str], sentence: str, capsys
):
    with pytest.raises(SystemExit) as stopped:
        run(edit.main, [str(trained), *pictures, "--out", str(tmp_path / "out"), *words])
    assert stopped.value.code == 2
    told = capsys.readouterr().err
    assert f"error: {sentence}" in told
    assert "Traceback" not in told


def test_a_folder_of_pictures_is_no_video(lively: Path, tmp_path: Path, capsys):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in (1, 2):
        Image.new("RGB", (8 * number, 8)).save(folder / f"{number}.png")
    with pytest.raises(SystemExit):
        run(edit.main, [str(lively), str(folder), "--out", str(tmp_path / "out")])
    assert "; a folder is taken for the frames of one video" in capsys.readouterr().err


def test_frames_of_several_videos_are_not_taken_for_one(lively: Path, tmp_path: Path, capsys):
    folders = [tmp_path / "videos" / name for name in ("a", "b")]
    for folder in folders:
        folder.mkdir(parents=True)
        Image.new("RGB", (16, 16)).save(folder / "0.png")
    words = [str(lively), str(tmp_path / "videos"), "--out", str(tmp_path / "out")]
    for command, more in ((edit, []), (generate, ["--frames"])):
        with pytest.raises(SystemExit) as stopped:
            run(command.main, [*words, *more])
        assert stopped.value.code == 2
        assert "a/0.png: lies in a folder inside" in capsys.readouterr().err
    words = [str(lively), *map(str, folders), "--out", str(tmp_path / "made"), "--steps", "2"]
    go(generate.main, [*words, "--frames"])
    made = sorted((tmp_path / "made" / "generated").iterdir())
    assert [path.name for path in made] == ["a", "b"]


@pytest.mark.parametrize("place", [".", ".."])
def test_a_folder_is_called_by_its_name_wherever_one_stands(
    lively: Path, tmp_path: Path, monkeypatch, place: str
):
    folder = tmp_path / "still"
    (folder / "inside").mkdir(parents=True)
    Image.new("RGB", (16, 16)).save(folder / "0.png")
    monkeypatch.chdir(folder if place == "." else folder / "inside")
    go(edit.main, [str(lively), place, "--out", str(tmp_path / "out"), "--steps", "2"])
    assert (tmp_path / "out" / "edited" / "still" / "000000.png").is_file()


def test_pictures_of_two_sizes_exchange_slots(lively: Path, pictures: list[str], tmp_path: Path):
    other = tmp_path / "other.png"
    Image.new("RGB", (24, 16)).save(other)
    places = [str(lively), pictures[0], str(other), "--steps", "2", "--out"]
    go(edit.main, [*places, str(tmp_path / "edited"), "--swap", "0.png:1", "other.png:0"])
    go(generate.main, [*places, str(tmp_path / "made"), "--how", "shift"])
    painted = read(tmp_path / "edited" / "edited" / "other.png")
    assert painted.shape == read(tmp_path / "edited" / "edited" / "0.png").shape
    assert (tmp_path / "made" / "overview.png").is_file()


def test_a_decoder_learns_to_paint_for_an_encoder_that_finds_objects(
    first_stage: Path, trained: Path, tmp_path: Path
):
    """As the recipe for plain shapes is to be started; its encoder hardly moves."""
    changes = {
        "start.weights": str(trained),
        "start.fresh": ["decoder"],
        "start.tokenizer": str(first_stage),
    }
    out = train_tiny("slot_diffusion/shapes_plain", tmp_path / "run", **changes)
    before, after = (load_model(run).state_dict() for run in (trained, out))
    for name, value in before.items():
        if name.startswith("encoder."):
            torch.testing.assert_close(after[name], value, atol=1e-4, rtol=0)
    assert lines(out)[0]["denoising"] > 0


# --- recipes at full size ------------------------------------------------------------------------

DATASETS: tuple[str, ...] = (
    "celeba",
    "clevrtex",
    "coco",
    "voc",
    "movi_d",
    "movi_e",
    "movi_solid",
    "movi_tex",
)
DATASETS += ("physion",)


def test_the_networks_have_as_many_weights_as_the_original_codes():
    with torch.device("meta"):
        decoder = build_model(load_options("slot_diffusion/clevrtex").model).decoder
    for part, expected in (("denoiser", 134_243_331), ("tokenizer", 13_857_886)):
        assert sum(p.numel() for p in decoder.get_submodule(part).parameters()) == expected


@pytest.mark.slow
@pytest.mark.parametrize("name", DATASETS)
def test_recipes_train_two_steps(name: str, first_stage: Path, tmp_path: Path):
    """On shapes, as pictures or videos; reading the datasets has tests of its own."""
    data = {**SMALL_DATA, "num_frames": 2 if name[:4] in ("movi", "phys") else 1}
    train_tiny(f"vqvae/{name}", tmp_path / "first", data)
    started = {"start.tokenizer": str(first_stage)}
    out = train_tiny(f"slot_diffusion/{name}", tmp_path / "second", data, **started)
    assert lines(out)[0]["denoising"] > 0
