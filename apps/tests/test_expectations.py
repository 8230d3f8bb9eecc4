"""What recorded runs let expect: the interval, whom it applies to, and that records are current."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from runs import events

import train
from slot_core import ConfigError
from support.command_line import run
from support.expectations import Expectation, comparable, expected_of, interval, recorded
from support.options import DEFAULT_RECIPE, RECIPES, load_options

RECORDS = sorted(RECIPES.rglob("*.expected.json"))


def stated(*changes, recipe="slot_attention/shapes"):
    return load_options(recipe, changes).model_dump(mode="json")


@pytest.mark.parametrize("count", [2, 5])
def test_a_further_value_lies_within_the_interval_in_95_of_100_cases(count):
    random = np.random.default_rng(0)
    hits, cases = 0, 4_000
    for _ in range(cases):
        low, high = interval(random.normal(3, 2, count).tolist())
        hits += low <= random.normal(3, 2) <= high
    assert hits / cases == pytest.approx(0.95, abs=0.015)


def test_a_run_is_told_where_it_is():
    curves = {"fg_ari": {100: (0.5, 0.6, 0.7)}, "loss": {100: (1.0,), 200: (0.5,)}}
    found = Expectation(
        command="", options={}, metric="fg_ari", curves=curves, test={"fg_ari": (0.8, 0.9)}
    )
    low, high = interval((0.5, 0.6, 0.7))
    told = f"3 seeds let expect {low:.3f} to {high:.3f}"
    assert found.remark(100, {"fg_ari": 0.6}) == f"fg_ari is on track: {told}"
    assert found.remark(100, {"fg_ari": low - 0.01}) == f"fg_ari is low: {told}"
    assert found.remark(100, {"fg_ari": high + 0.01}) == f"fg_ari is high: {told}"
    assert found.remark(200, {"fg_ari": 0.6}) == found.remark(100, {"loss": 1.0}) == ""
    assert found.remark_on_test({"fg_ari": 0.85}).startswith("fg_ari is on track")
    assert found.band("loss") == {}  # one value lets expect nothing


@pytest.mark.parametrize(
    "change",
    [
        "train.seed=7",
        "train.num_threads=1",
        "data.num_workers=2",
        "log.every=5",
        "checkpoint.keep=9",
    ],
)
def test_what_does_not_change_what_is_learned_may_differ(change):
    assert comparable(stated(change)) == comparable(stated())


@pytest.mark.parametrize(
    "change",
    ["train.batch_size=32", "model.num_slots=9", "data.image_size=32", "validation.num_samples=9"],
)
def test_nothing_is_expected_of_a_run_that_was_told_otherwise(change):
    assert comparable(stated(change)) != comparable(stated())


def test_where_the_first_weights_lie_may_differ_but_not_whether_there_are_any():
    here, there = stated("start.weights=a"), stated("start.weights=b")
    assert comparable(here) == comparable(there) != comparable(stated())
    assert comparable(comparable(here)) == comparable(here)
    assert comparable(comparable(stated())) == comparable(stated())


@pytest.mark.slow
def test_runs_are_recorded_and_another_is_told_where_it_is(tmp_path, tiny, capsys):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text((RECIPES / "slot_attention/shapes.yaml").read_text())
    for seed in range(2):
        go(tiny(tmp_path / f"seed-{seed}", recipe=str(recipe), **{"train.seed": seed}))
    assert "let expect" not in capsys.readouterr().out
    runs = [tmp_path / "seed-0", tmp_path / "seed-1"]
    found = recorded(runs, "fg_ari", "a command", [1.0, 2.0])
    assert found.curves["fg_ari"][4] == tuple(events(r, "validation")[0]["fg_ari"] for r in runs)
    assert found.test["fg_ari"] == tuple(events(r, "test")[0]["fg_ari"] for r in runs)
    (tmp_path / "mine.expected.json").write_text(found.model_dump_json())
    go(tiny(tmp_path / "third", recipe=str(recipe), **{"train.seed": 2}))
    assert capsys.readouterr().out.count("2 seeds let expect") == 3
    go(tiny(tmp_path / "other", recipe=str(recipe), **{"train.batch_size": 6}))
    assert "let expect" not in capsys.readouterr().out
    with pytest.raises(ConfigError, match=r"other.*in more than the seed"):
        recorded([*runs, tmp_path / "other"], "fg_ari", "", [])


def go(arguments):
    with pytest.raises(SystemExit) as stopped:
        run(train.main, arguments)
    assert not stopped.value.code


@pytest.mark.parametrize("content", ["", "[]", '{"metric": 3}', '{"curve": {}}'])
def test_a_file_that_holds_no_expectations_is_one_sentence(tmp_path, content):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text((RECIPES / "slot_attention/shapes.yaml").read_text())
    (tmp_path / "mine.expected.json").write_text(content)
    with pytest.raises(ConfigError, match=r"mine\.expected\.json"):
        expected_of(str(recipe), stated())


def test_the_quickstart_is_told_where_it_is():
    assert expected_of(DEFAULT_RECIPE, stated()) is not None


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_records_are_of_the_recipe_as_it_is(path: Path):
    """A recipe or a default that changes makes the records those of something else: record anew."""
    record = Expectation.parse(json.loads(path.read_text()), source=str(path))
    recipe = f"{path.parent.name}/{path.name.removesuffix('.expected.json')}"
    words = shlex.split(record.command)
    changes = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
    found = expected_of(recipe, stated(*changes, recipe=recipe))
    assert found is not None
    assert record.num_seeds >= 3
    assert record.metric in record.test
