"""Answers about videos: what is chosen on the test set, what on held-out videos, and by hand."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slot_eval import EvalError
from slot_eval.cli import main
from slot_eval.physion_vqa import (
    Answers,
    ChoiceProtocol,
    read_answers,
    score_answers,
    standard_error,
)


def logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


def write(folder: Path, name: str, seed: int, step: int, probabilities: list[float], **more: Any):
    """Four videos, of which the first two are yes."""
    path = folder / f"{name}.npz"
    stored: dict[str, Any] = {
        "ids": np.array([f"{name[0]}{number}" for number in range(len(probabilities))]),
        "logits": np.array([logit(value) for value in probabilities]),
        "outcomes": np.array([True, True, False, False]),
        "seed": seed,
        "step": step,
    }
    np.savez(path, **{**stored, **more})
    return path


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Two seeds with two checkpoints each, on a test and on a validation part."""
    return {
        # on the test: 3 of 4, all at 0.6 alone; 2 of 4, 3 of 4
        "t01": write(tmp_path, "t01", 0, 1, [0.7, 0.52, 0.51, 0.3]),
        "t02": write(tmp_path, "t02", 0, 2, [0.7, 0.62, 0.57, 0.3]),
        "t11": write(tmp_path, "t11", 1, 1, [0.3, 0.3, 0.3, 0.3]),
        "t12": write(tmp_path, "t12", 1, 2, [0.9, 0.3, 0.1, 0.1]),
        # on validation the first checkpoint of each seed is better
        "v01": write(tmp_path, "v01", 0, 1, [0.9, 0.9, 0.1, 0.1]),
        "v02": write(tmp_path, "v02", 0, 2, [0.1, 0.9, 0.1, 0.1]),
        "v11": write(tmp_path, "v11", 1, 1, [0.9, 0.9, 0.1, 0.1]),
        "v12": write(tmp_path, "v12", 1, 2, [0.1, 0.1, 0.1, 0.9]),
    }


def read(files: dict[str, Path], letter: str):
    return [read_answers(path) for name, path in files.items() if name[0] == letter]


def test_the_best_on_the_test_set_itself(files: dict[str, Path]):
    result = score_answers("slotdiffusion", read(files, "t"), [])
    assert result["accuracy"] == 1.0
    assert result["chosen"] == [{"seed": 0, "step": 2, "threshold": 0.6, "accuracy": 1.0}]
    assert result["num_numbers_seen_on_test"] == 4 * 6
    assert "chosen on the test set itself" in result["note"]


def test_chosen_on_held_out_videos(files: dict[str, Path]):
    result = score_answers("held-out", read(files, "t"), read(files, "v"))
    # all thresholds are equally good on validation, so it is the first, 0.4
    assert result["chosen"] == [
        {"seed": 0, "step": 1, "threshold": 0.4, "accuracy": 0.75},
        {"seed": 1, "step": 1, "threshold": 0.4, "accuracy": 0.5},
    ]
    assert result["accuracy"] == 0.625
    assert result["standard_error"] == pytest.approx(0.125)
    assert standard_error([0.5]) is None


def test_a_threshold_is_one_of_the_probability(files: dict[str, Path]):
    answers = read_answers(files["t02"])
    assert [answers.accuracy(at) for at in (0.55, 0.6, 0.65)] == [0.75, 1.0, 0.75]


def test_scenarios(tmp_path: Path):
    scenarios = np.array(["Roll", "Drop", "Roll", "Drop"])
    path = write(tmp_path, "t", 0, 1, [0.9, 0.1, 0.1, 0.1], scenarios=scenarios)
    result = score_answers("slotdiffusion", [read_answers(path)], [])
    assert result["scenarios"] == {"Drop": 0.5, "Roll": 1.0}


def test_the_order_of_videos_does_not_matter(tmp_path: Path):
    one = write(tmp_path, "t", 0, 1, [0.9, 0.1, 0.1, 0.2])
    stored = dict(np.load(one))
    for name in ("ids", "logits", "outcomes"):
        stored[name] = stored[name][::-1]
    np.savez(tmp_path / "u.npz", **{**stored, "step": 2})
    both = [read_answers(one), read_answers(tmp_path / "u.npz")]
    assert score_answers("slotdiffusion", both, [])["accuracy"] == 0.75


def test_what_does_not_fit_is_told(files: dict[str, Path], tmp_path: Path):
    test, validation = read(files, "t"), read(files, "v")
    third = read_answers(write(tmp_path, "t21", 2, 1, [0.9, 0.3, 0.1, 0.1]))
    cases: list[tuple[tuple[ChoiceProtocol, list[Answers], list[Answers]], str]] = [
        (("held-out", test, []), "chooses on other videos: give their --validation"),
        (("slotdiffusion", test, validation), "chooses on the test set: no --validation"),
        (("held-out", test[1:], validation), "step 1 of seed 0 is the best on validation, but"),
        (("held-out", test, validation[:2]), "^seed 1 of the test: there is no --validation to"),
        (("held-out", [*test, third], validation[:2]), "^seeds 1, 2 of the test: there is no"),
        (("held-out", test, test), "video 't0' is both in the test and in the validation"),
        (("slotdiffusion", test + validation, []), "is of other videos than"),
        (("slotdiffusion", [*test, test[0]], []), "is step 1 of seed 0, as"),
    ]
    for arguments, words in cases:
        with pytest.raises(EvalError, match=words):
            score_answers(*arguments)
    for more, words in (
        ({"outcomes": np.ones(4, bool)}, "the outcome of all 4 videos is true; expected both"),
        ({"outcomes": np.ones(3, bool)}, "are not of equally many videos"),
        ({"ids": np.array(["a", "a", "b", "c"])}, "a video occurs more than once"),
        ({"logits": np.array([0, 1, 2, np.nan])}, "a logit is not finite"),
    ):
        with pytest.raises(EvalError, match=words):
            read_answers(write(tmp_path, "x", 0, 1, [0.1, 0.2, 0.3, 0.4], **more))
    np.savez(tmp_path / "y.npz", ids=np.array(["a"]))
    with pytest.raises(EvalError, match="lacks logits; expected ids, logits, outcomes, seed, step"):
        read_answers(tmp_path / "y.npz")
    (tmp_path / "z.npz").write_text("no")
    with pytest.raises(EvalError, match=r"z\.npz: is no \.npz file"):
        read_answers(tmp_path / "z.npz")
    with pytest.raises(EvalError, match=r"no\.npz: there is no such file"):
        read_answers(tmp_path / "no.npz")


def test_the_command_line(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    words = ["physion-vqa", *(str(path) for name, path in files.items() if name[0] == "t")]
    for name, path in files.items():
        words += ["--validation", str(path)] if name[0] == "v" else []
    out = tmp_path / "vqa.json"
    for code, told in ((0, "accuracy  0.6250 ± 0.1250 (standard error)"), (2, "exists already")):
        with pytest.raises(SystemExit) as ended:
            main([*words, "--out", str(out)])
        assert ended.value.code == code
        printed = capsys.readouterr()
        assert told in printed.out + printed.err
        if not code:
            assert "chance    0.5000 (always the commoner answer)" in printed.out
    assert json.loads(out.read_text())["protocol"] == "held-out"
