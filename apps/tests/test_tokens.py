"""A tokenizer and a decoder of its tokens, trained one after the other, and used."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from runs import assert_equal_runs, last_step
from test_resume import GoneError, Stops
from typer.testing import CliRunner

import predict
import slot_data
import train
from slot_decoders.models import SlotAutoencoder, TokenizerModel, load_model
from slot_eval.cli import app as slot_eval
from support.command_line import run

TOKENIZER = {"vocab_size": 8, "hidden_dim": 8}
PICTURES = {"data.preset": None, "data.num_workers": 0, "data.level": "textured"}
UNKNOWN = ("channels", "broadcast_size", "output_stride")  # of the decoder of other tests


def ending(main, arguments) -> int:
    with pytest.raises(SystemExit) as stopped:
        run(main, [str(argument) for argument in arguments])
    return int(stopped.value.code or 0)


@pytest.fixture
def tokenizer(tmp_path, tiny) -> Path:
    """A run of two steps."""
    slots = ("num_slots", "slot_dim", "encoder.preprocessing", "encoder.corrector.hidden_dim")
    without = [f"model.decoder.{key}" for key in UNKNOWN] + [f"model.{key}" for key in slots]
    sizes = {f"model.tokenizer.{key}": value for key, value in TOKENIZER.items()}
    changes = {**PICTURES, **sizes, "train.num_steps": 2}
    out = tmp_path / "tokenizer"
    assert ending(train.main, tiny(out, recipe="dvae/clevrtex", without=without, **changes)) == 0
    return out


@pytest.fixture
def slate(tiny):
    """Arguments of a run of seconds on the tokens of a run."""

    def arguments(out: Path, tokenizer: Path | None, **changes) -> list[str]:
        stated = {
            **PICTURES,
            **{f"model.decoder.tokenizer.{key}": value for key, value in TOKENIZER.items()},
            "model.encoder.backbone": {"type": "cnn", "channels": [8]},
            "model.decoder.num_layers": 1,
            "start.tokenizer": None if tokenizer is None else str(tokenizer),
            **changes,
        }
        without = [f"model.decoder.{key}" for key in UNKNOWN]
        return tiny(out, recipe="slate/clevrtex", without=without, **stated)

    return arguments


def test_the_second_stage_holds_the_first_and_is_used_like_any_model(tmp_path, tokenizer, slate):
    out = tmp_path / "slate"
    assert ending(train.main, slate(out, tokenizer, **{"train.num_steps": 2})) == 0
    first, model = load_model(tokenizer), load_model(out)
    assert isinstance(first, TokenizerModel)
    assert isinstance(model, SlotAutoencoder)
    own = model.decoder.tokenizer.state_dict()
    for name, value in first.tokenizer.state_dict().items():
        assert torch.equal(own[name], value), name
    logged = [json.loads(line) for line in (tokenizer / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in logged if line["kind"] == "train"]
    assert {"reconstruction", "perplexity", "codes_in_use", "temperature"} <= steps[0].keys()
    logged = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert "cross_entropy" in logged[0]
    assert "fg_ari" in next(line for line in logged if line["kind"] == "validation")

    pictures = tmp_path / "pictures"
    pictures.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    Image.fromarray(noise).save(pictures / "one.png")
    assert ending(predict.main, [out, pictures, "--out", tmp_path / "found"]) == 0
    assert list((tmp_path / "found").rglob("*.png"))
    scores = ["run", "--model", str(out), "--data", "shapes", "--limit", "2"]
    told = CliRunner().invoke(slot_eval, [*scores, "--out", str(tmp_path / "scores")])
    assert told.exit_code == 0, told.output


def test_slots_of_one_picture_can_be_painted_into_another(tmp_path, tokenizer, slate):
    out = tmp_path / "slate"
    assert ending(train.main, slate(out, tokenizer, **{"train.num_steps": 1})) == 0
    model = load_model(out)
    assert isinstance(model, SlotAutoencoder)
    slots = model.encode(torch.rand(2, 1, 3, 32, 32)).slots
    mixed = torch.cat([slots[:1, :, :2], slots[1:, :, 2:]], dim=2)
    painted = model.decoder.decode(mixed).reconstruction
    assert painted.shape == (1, 1, 3, 32, 32)
    assert painted.isfinite().all()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"start.tokenizer": None}, "set start.tokenizer to its run, folder or repository"),
        ({"start.tokenizer": "no/such/run"}, "no/such/run"),
        ({"model.decoder.tokenizer.vocab_size": 9}, "vocab_size is 8, the model's is 9"),
        ({"model.preprocessing.image_size": [30, 32]}, "30x32 pixels, expected multiples"),
        ({"model.preprocessing.mean": [0.4, 0.5, 0.5]}, "is another tokenizer"),
        ({"model.decoder.num_heads": 3}, "width 16 cannot be split among 3 heads"),
    ],
)
def test_what_does_not_fit_is_one_sentence(tmp_path, tokenizer, slate, capsys, changes, words):
    capsys.readouterr()
    assert ending(train.main, slate(tmp_path / "slate", tokenizer, **changes)) == 2
    told = capsys.readouterr().err
    assert words in told
    assert "Traceback" not in told


def test_a_tokenizer_of_pictures_that_its_patches_do_not_fill(tmp_path, tiny, capsys):
    changes = {**PICTURES, "data.image_size": 34, "model.preprocessing.image_size": [34, 34]}
    slots = ("num_slots", "slot_dim", "encoder.preprocessing", "encoder.corrector.hidden_dim")
    without = [f"model.decoder.{key}" for key in UNKNOWN] + [f"model.{key}" for key in slots]
    arguments = tiny(tmp_path / "run", recipe="dvae/clevrtex", without=without, **changes)
    assert ending(train.main, arguments) == 2
    assert "34x34" in capsys.readouterr().err


@pytest.mark.slow
def test_two_interruptions_change_nothing(tmp_path, tokenizer, slate, monkeypatch):
    changes = {"model.decoder.permuted_orders": True, "train.ema_decay": 0.9}
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert ending(train.main, slate(whole, tokenizer, **changes)) == 0
    for samples in (4 * 3, 4 * 4):  # dies in step 4, after the checkpoint of step 2; then in step 7
        with monkeypatch.context() as patch:
            load = slot_data.load_dataset_by_name
            patch.setattr(
                train,
                "load_dataset",
                lambda *a, count=samples, load=load, **k: (
                    Stops(load(*a, **k), count) if k["split"] == "train" else load(*a, **k)
                ),
            )
            with pytest.raises(GoneError):
                run(train.main, [*slate(broken, tokenizer, **changes), "--resume"])
    assert 0 < last_step(broken) < 8
    assert ending(train.main, [*slate(broken, tokenizer, **changes), "--resume"]) == 0
    assert_equal_runs(whole, broken)
