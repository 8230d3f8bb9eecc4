"""Models of slots from extraction to answers, at tiny sizes: train, resume, roll out, and what is
refused."""

# pyright: reportTypedDictNotRequiredAccess=false
# (samples of slots have slots)

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from predicting import NUM_SLOTS, SLOT_DIM, tiny_video_model
from runs import APPS, assert_equal_runs, events, finish, start
from tiny_diffusion import DENOISER

import answer_questions
import extract_slots
import roll_out_slots
import score_rollouts
import train
from slot_core import InputError, fingerprint
from slot_data import Shapes, collate
from slot_data.framing import Framing
from slot_data.presets import preset_of
from slot_data.slots import Slots
from slot_decoders.models import build_model, load_model, presets
from support.command_line import run
from support.datasets import load_dataset, read_options
from support.options import RECIPES as HOUSE
from support.options import load_options
from support.slot_inputs import told_of_slots
from support.slot_scoring import drawn_prediction, results_of_slots, update_of_slots

FRAMES = 8
TINY_FORMER = {"burn_in": 3, "model_dim": 8, "num_layers": 1, "num_heads": 2, "hidden_dim": 8}


def call(command: Any, *words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        run(command, [str(word) for word in words])
    return int(ended.value.code or 0)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video model, and its slots of twelve videos of each split."""
    place = tmp_path_factory.mktemp("place")
    tiny_video_model().save_pretrained(place / "model")
    words: list[object] = [place / "model", "shapes", "--out", place / "slots"]
    for split in ("train", "validation", "test"):
        words += ["--split", split]
    for key, value in {
        "num_samples": 12,
        "num_frames": FRAMES,
        "image_size": 32,
        "min_objects": 2,
        "max_objects": 2,
        "outcome_from": 3,
        "speed": 2,
    }.items():
        words += ["--option", f"{key}={value}"]
    assert call(extract_slots.main, *words) == 0
    return place


def words_of(recipe: str, place: Path, out: Path, **changes: Any) -> list[str]:
    """A run of four steps on the slots in ``place``."""
    settings: dict[str, Any] = {
        "model.num_slots": NUM_SLOTS,
        "model.slot_dim": SLOT_DIM,
        "data.root": str(place / "slots"),
        "data.num_frames": FRAMES,
        "data.num_workers": 0,
        "train.num_steps": 4,
        "train.batch_size": 4,
        "train.num_threads": 1,
        "validation.every": 2,
        "validation.num_samples": 6,
        "validation.batch_size": 4,
        "checkpoint.every": 2,
        "log.every": 1,
        "log.curves": False,
    }
    if recipe.startswith("slot_former"):
        settings |= {f"model.dynamics.{key}": value for key, value in TINY_FORMER.items()}
    if recipe == "slot_former/shapes":
        config = tiny_video_model().config
        settings |= {
            "start.decoder": str(place / "model"),
            "model.preprocessing": config.preprocessing.model_dump(mode="json"),
            "model.decoder": config.decoder.model_dump(mode="json"),
        }
    if recipe == "slot_former/physion":
        settings |= {"data.num_frames": 4, "data.stride": 2, "model.decoder": None}
    words = [recipe, "--out", str(out)]
    for key, value in {**settings, **changes}.items():
        words += ["--set", f"{key}={json.dumps(value)}"]
    return words


@pytest.mark.parametrize(("recipe", "frames"), [("slot_former", 150), ("relation_readout", 75)])
def test_slots_of_physion_are_found_in_the_pixels_that_their_model_was_trained_on(
    recipe: str, frames: int
):
    head = (HOUSE / recipe / "physion.yaml").read_text()
    (command,) = re.findall(r"extract_slots\.py .*(?:\n#         .*)*", head)
    options = read_options("physion", re.findall(r"--option (\S+)", command))
    trained = load_options("slot_diffusion/physion").data.dataset_options(training=True)
    for split in re.findall(r"--split (\S+)", command):
        found, seen = (
            {**preset_of("physion", given["preset"]).options_of(split), **given}
            for given in (options, trained)
        )
        pixels = [field.name for field in fields(Framing)] + ["max_frames", "stride"]
        assert [found.get(name) for name in pixels] == [seen.get(name) for name in pixels]
        assert (found["num_frames"], found["clips"]) == (frames, "first")
        subset = "readout" if recipe == "relation_readout" else "training"
        assert found.get("subset", "training") == subset


def test_scores_of_a_decoder_that_draws_noise_are_the_samples_own():
    torch.manual_seed(0)
    denoiser = {**DENOISER, "channels": [8], "attention_levels": [0]}
    model = presets.slot_former(
        num_slots=NUM_SLOTS,
        slot_dim=SLOT_DIM,
        stride=1,
        dynamics=TINY_FORMER,
        preprocessing={"image_size": [16, 16]},
        decoder={"type": "diffusion", "tokenizer": None, "denoiser": denoiser},
    ).eval()
    slots, video = torch.randn(3, 4, NUM_SLOTS, SLOT_DIM), torch.rand(3, 4, 3, 16, 16)

    def scores(*batches: slice) -> dict[str, float]:
        results = results_of_slots(model)
        for part in batches:
            batch = {"id": list("abc"[part]), "slots": slots[part], "video": video[part]}
            update_of_slots(results, model, batch, torch.device("cpu"))
        return {row["id"]: row["mse"] for row in results.rows}

    found = scores(slice(0, 2), slice(2, 3))
    assert found.keys() == {"a+001", "b+001", "c+001"}
    assert scores(slice(0, 1), slice(1, 3)) == pytest.approx(found, rel=1e-5)


RECIPES = ("slot_former/shapes", "slot_former/physion", "relation_readout/shapes")


@pytest.mark.parametrize("recipe", [*RECIPES, "relation_readout/physion"])
def test_every_recipe_trains_and_is_scored(recipe: str, place: Path, tmp_path: Path):
    assert call(train.main, *words_of(recipe, place, tmp_path / "run")) == 0
    losses = [event["loss"] for event in events(tmp_path / "run", "train")]
    assert len(losses) == 4
    metric = "accuracy" if recipe.startswith("relation") else "slot_error"
    assert all(metric in event for event in events(tmp_path / "run", "validation"))
    model = load_model(tmp_path / "run")
    assert model.config.slots_of == fingerprint(place / "model")
    if recipe == "slot_former/shapes":
        assert {"psnr", "ssim", "fg_ari", "miou"} < events(tmp_path / "run", "validation")[0].keys()
        assert (tmp_path / "run" / "pictures" / "validation-00000004.png").exists()
        decoder = tiny_video_model().decoder.state_dict()
        for name, value in model.decoder.state_dict().items():
            assert torch.equal(value, decoder[name]), name


@pytest.mark.parametrize("recipe", ["slot_former/shapes", "relation_readout/shapes"])
def test_a_run_that_resumes_is_the_run(recipe: str, place: Path, tmp_path: Path):
    assert call(train.main, *words_of(recipe, place, tmp_path / "whole")) == 0
    words = words_of(recipe, place, tmp_path / "twice")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "draw", stop_at_the_end)
        with pytest.raises(KeyboardInterrupt):
            run_without_catching(words)
    assert call(train.main, *words, "--resume") == 0
    assert_equal_runs(tmp_path / "whole", tmp_path / "twice")


def stop_at_the_end(model: Any, dataset: Any, path: Path, **more: Any) -> None:
    """In place of drawing: the run ends at its last validation, whose checkpoint lacks."""
    if path.stem.endswith("4"):
        raise KeyboardInterrupt


def run_without_catching(words: list[str]) -> None:
    changes = words[4::2]
    train.main(words[0], changes, Path(words[2]))


def test_slots_are_rolled_out(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert call(train.main, *words_of("slot_former/shapes", place, tmp_path / "run")) == 0
    words = [tmp_path / "run", place / "slots", "--out", tmp_path / "rolled"]
    words += ["--observed", 4, "--frames", 9, "--split", "test"]
    assert call(roll_out_slots.main, *words) == 0
    seen = Slots("test", place / "slots")
    rolled = Slots("test", tmp_path / "rolled", outcomes=True)
    model = load_model(tmp_path / "run")
    for number in (0, 11):
        past = seen[number]["slots"][:4]
        expected = torch.cat([past, model.rollout(past[None], 5)[0]])
        torch.testing.assert_close(rolled[number]["slots"], expected, rtol=0, atol=1e-5)
    assert rolled.description.fingerprint == seen.description.fingerprint
    assert rolled.description.dynamics is not None
    assert [rolled[number]["outcome"] for number in range(4)] == [False, True, False, True]
    assert call(roll_out_slots.main, *words) == 0
    capsys.readouterr()
    assert call(roll_out_slots.main, *words, "--frames", 10) == 2
    assert "after 4 frames, 9 in all', these have" in capsys.readouterr().err


@pytest.mark.slow
def test_rollouts_are_scored_frame_by_frame(place: Path, tmp_path: Path):
    assert call(train.main, *words_of("slot_former/shapes", place, tmp_path / "run")) == 0
    words = [tmp_path / "run", place / "slots", "--out", tmp_path / "scores", "--frames", 4]
    assert call(score_rollouts.main, *words) == 0
    told = json.loads((tmp_path / "scores" / "scores.json").read_text())
    assert told["num_videos"] == 12
    slots = torch.stack([Slots("test", place / "slots")[n]["slots"] for n in range(12)])
    past, future = slots[:, :3], slots[:, 3:7]
    velocity = past[:, 2] - past[:, 1]
    expected = {
        "model": load_model(tmp_path / "run").rollout(past, 4),
        "still": past[:, 2:].expand(-1, 4, -1, -1),
        "linear": torch.stack([past[:, 2] + step * velocity for step in (1, 2, 3, 4)], 1),
    }
    expected["found"] = future
    for name, predicted in expected.items():
        scores = told["predictors"][name]
        for step in range(4):
            error = (predicted[:, step] - future[:, step]).square().mean()
            found = scores["frames"][str(step + 1)]["slot_error"]
            assert found == pytest.approx(float(error), rel=1e-4, abs=1e-12)
        assert scores["mean"].keys() == {"slot_error", "mse", "psnr", "ssim", "fg_ari", "miou"}
    assert (tmp_path / "scores" / "prediction.png").exists()
    assert (tmp_path / "scores" / "prediction.gif").exists()
    assert call(score_rollouts.main, *words[:2], "--out", tmp_path / "few", "--frames", 6) == 2
    alone = compared(tmp_path / "scores")
    assert "below both of those that learn nothing" in alone
    assert "standard error" not in alone  # of a single seed there is none
    none = [*words[:2], "--out", tmp_path / "none", "--no-pixels", "--lpips", "alex"]
    assert call(score_rollouts.main, *none) == 2


@pytest.fixture(scope="module")
def halves(place: Path) -> Path:
    """A model of dynamics with a decoder, and a run of a readout, saved in half precision."""
    torch.manual_seed(0)
    config = tiny_video_model().config
    former = presets.slot_former(
        num_slots=NUM_SLOTS,
        slot_dim=SLOT_DIM,
        stride=1,
        dynamics=TINY_FORMER,
        preprocessing=config.preprocessing.model_dump(),
        decoder=config.decoder.model_dump(),
    )
    former.to(torch.bfloat16).save_pretrained(place / "halves" / "former")
    readout = build_model(load_readout_config()).to(torch.bfloat16)
    readout.save_pretrained(place / "halves" / "run" / "checkpoints" / "step-00000001" / "model")
    (place / "halves" / "run" / "options.json").write_text('{"train": {"seed": 0}}')
    return place / "halves"


def test_models_in_half_precision_take_the_slots_of_files(
    place: Path, halves: Path, tmp_path: Path
):
    words = [halves / "former", place / "slots"]
    rolled = ["--out", tmp_path / "rolled", "--observed", 4, "--frames", 6, "--split", "test"]
    assert call(roll_out_slots.main, *words, *rolled) == 0
    slots = Slots("test", tmp_path / "rolled")[0]["slots"]
    assert slots.dtype == torch.float32
    assert torch.equal(slots[:4], Slots("test", place / "slots")[0]["slots"][:4])
    assert call(score_rollouts.main, *words, "--out", tmp_path / "scores", "--frames", 2) == 0
    told = json.loads((tmp_path / "scores" / "scores.json").read_text())["predictors"]
    assert told["found"]["mean"]["slot_error"] == 0  # nothing is rounded for the decoder's sake
    assert told["model"]["mean"].keys() >= {"slot_error", "mse"}
    answers = [halves / "run", place / "slots", "--out", tmp_path / "answers"]
    assert call(answer_questions.main, *answers) == 0
    (written,) = (tmp_path / "answers").iterdir()
    assert np.load(written)["logits"].shape == (12,)


def test_models_in_half_precision_are_scored_and_drawn(place: Path, halves: Path, tmp_path: Path):
    dataset = load_dataset("slots", split="test", root=place / "slots", outcomes=True, num_frames=6)
    batch: Any = collate([dataset[number] for number in range(2)])
    batch["video"] = torch.rand(2, 6, 3, 32, 32)
    device = torch.device("cpu")
    for name, rows in (("former", 2 * 3), ("run/checkpoints/step-00000001", 2)):
        model = load_model(halves / name)
        results = results_of_slots(model)
        update_of_slots(results, model, batch, device)
        assert len(results) == rows
    drawn_prediction(load_model(halves / "former"), batch, tmp_path / "drawn.png", device)
    assert (tmp_path / "drawn.png").exists()


def compared(*folders: Path) -> str:
    script = str(APPS.parent / "tools" / "compare_rollouts.py")
    return finish(start([str(folder) for folder in folders], script=(script,)))


@pytest.mark.slow
def test_seeds_are_compared_with_what_learns_nothing(tmp_path: Path):
    table = {
        "still": {"slot_error": 0.1, "mse": 0.05},
        "linear": {"slot_error": 0.3, "mse": 0.03},
        "found": {"slot_error": 0.0, "mse": 0.01},
    }
    for name, slots, pixels in (("a", 0.04, 0.02), ("b", 0.06, 0.04)):
        model = {"slot_error": slots, "mse": pixels}
        predictors = {key: {"mean": errors} for key, errors in {"model": model, **table}.items()}
        told = {"model": name, "slots": "s", "predictors": predictors}
        (tmp_path / name).mkdir()
        (tmp_path / name / "scores.json").write_text(json.dumps(told))
    told = compared(tmp_path / "a", tmp_path / "b")
    sentences = told.splitlines()[-2:]
    assert sentences[0].startswith("slot error: mean 0.0500, standard error 0.0100; below both")
    assert [sentence[-16:] for sentence in sentences] == [" on 2 of 2 seeds", " on 1 of 2 seeds"]


def test_what_cannot_be_used_is_told(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    def told(command: Any, *words: object) -> str:
        assert call(command, *words) == 2
        return capsys.readouterr().err.strip()

    out = tmp_path / "run"
    former, readout = "slot_former/shapes", "relation_readout/shapes"
    assert "would keep its random weights; set start.decoder" in told(
        train.main, *words_of(former, place, out, **{"start.decoder": None})
    )
    assert "takes its decoder whole, with the tokenizer, from start.decoder" in told(
        train.main, *words_of(former, place, out, **{"start.tokenizer": "no/such/folder"})
    )
    assert "has 8 frames; a clip of 20 frames 1 apart needs 20" in told(
        train.main, *words_of(former, place, out, **{"data.num_frames": 20})
    )
    assert "training needs the burn-in of 3 and at least 1" in told(
        train.main, *words_of(former, place, out, **{"data.num_frames": 3})
    )
    assert "holds slots whose slot_dim is 16, the model's is 24" in told(
        train.main, *words_of(readout, place, tmp_path / "b", **{"model.slot_dim": 24})
    )
    assert "RelationReadoutModel learns from outcome, which the dataset does not give" in told(
        train.main, *words_of(readout, place, tmp_path / "c", **{"data.outcomes": False})
    )
    other = tiny_video_model()
    with torch.no_grad():
        next(other.parameters()).add_(1)
    other.save_pretrained(tmp_path / "other")
    sentence = told(
        train.main,
        *words_of(former, place, tmp_path / "e", **{"start.decoder": str(tmp_path / "other")}),
    )
    assert (
        f"other: is the model {fingerprint(tmp_path / 'other')[:12]}, but the slots are" in sentence
    )
    assert "expected more than the 4 observed" in told(
        roll_out_slots.main, "x", "y", "--out", "z", "--observed", 4, "--frames", 4
    )
    assert "holds a SlotAutoencoder, which predicts no slots" in told(
        roll_out_slots.main,
        *(place / "model", place / "slots", "--out", tmp_path / "f"),
        *("--observed", 4, "--frames", 5),
    )


def test_slots_of_another_checkpoint_are_refused(place: Path):
    config = tiny_video_model()
    dataset = Slots("train", place / "slots")
    readout = load_readout_config(slots_of="a" * 64)
    with pytest.raises(InputError, match="but this one learns from those of aaaaaaaaaaaa"):
        told_of_slots(readout, dataset)
    assert told_of_slots(config.config, dataset) is config.config
    with pytest.raises(InputError, match=r"a RelationReadout learns from slots; write them with"):
        told_of_slots(readout, Shapes())


def load_readout_config(**changes: Any) -> Any:
    from slot_decoders.models import RelationReadoutConfig

    return RelationReadoutConfig(num_slots=NUM_SLOTS, slot_dim=SLOT_DIM, **changes)


@pytest.mark.slow
def test_the_whole_pipeline_runs_and_goes_on(tmp_path: Path):
    sizes = {"SEEDS": "0", "SAVI_STEPS": "2", "FORMER_STEPS": "2", "READOUT_STEPS": "2"}
    sizes |= {"VIDEOS": "8", "TRIED_ON": "4", "HELD_OUT": "4"}
    sizes |= {"QUESTIONS": "8", "CHOSEN_ON": "12", "ASKED": "17"}
    scores = tmp_path / "rollouts-0" / "scores.json"
    for _ in range(2):
        pipeline = start([str(tmp_path)], ("bash",), sizes, (str(APPS / "tiny_pipeline.sh"),))
        told = finish(pipeline)
        scores.rename(scores.with_name("scores.json.partial"))  # as if killed while scoring
    assert re.search(r"^videos +17$", told, re.MULTILINE)
    assert "standard error" not in told  # of a single seed there is none
    assert "accuracy  0." in told
    assert "below both of those that learn nothing on" in told
