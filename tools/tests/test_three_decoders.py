"""The script that trains three decoders within a time that is told: how long, and how it ends."""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).parents[1] / "bench"
SAVES = "lambda *_: (os.makedirs('{out}/checkpoints/last'), os._exit(75))"
STAND_IN = """
import os, signal, time
signal.signal(signal.SIGTERM, {then})
open('{out}.ready', 'w').close()
time.sleep(600)
"""


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module("three_decoders")


@pytest.fixture
def run_that(script: Any, tmp_path: Path) -> Callable[..., Any]:
    """Instead of a training, a process that does something when it is told to end; it logs that it
    trains so many samples a second."""

    def make(name: str, then: str, rate: float = 1.0) -> Any:
        class Instead(script.Wanted):
            def start(self) -> subprocess.Popen[bytes]:
                self.out.mkdir(parents=True)
                line = {"kind": "train", "step": 1, "samples_per_second": rate}
                (self.out / "metrics.jsonl").write_text(json.dumps(line) + "\n")
                self.log.touch()
                code = STAND_IN.format(then=then.format(out=self.out), out=self.out)
                process = subprocess.Popen([sys.executable, "-c", code])
                while not self.out.with_suffix(".ready").exists():
                    assert process.poll() is None
                    time.sleep(0.01)
                return process

        return Instead("none", tmp_path / name, {})

    return make


@pytest.mark.parametrize("together", [False, True])
def test_trials_tell_how_many_steps_take_the_minutes(
    script, run_that, tmp_path, monkeypatch, capsys, together
):
    rates = {"mixture": 64.0, "transformer": 32.0, "diffusion": 8.0}

    def runs(_: argparse.Namespace) -> list[Any]:
        return [run_that(name, SAVES, rate) for name, rate in rates.items()]

    monkeypatch.setattr(script, "models", runs)
    monkeypatch.setattr(script, "TRIAL", 0.0)
    told = argparse.Namespace(out=tmp_path, minutes_each=2.0, batch_size=16, together=together)
    assert script.steps_of_trials(told) == [480, 240, 60]
    assert capsys.readouterr().out == "2 minutes each: 480 240 60 steps\n"
    assert not any(tmp_path.iterdir())


def test_at_the_end_of_the_time_all_save(script, run_that):
    runs = [run_that("one", SAVES), run_that("other", SAVES)]
    script.train(runs, together=True, until=time.time())
    assert all((run.out / "checkpoints" / "last").exists() for run in runs)


def test_a_run_that_does_not_save_is_ended_all_the_same(
    script, run_that, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(script, "SAVING", 0.1)
    runs = [run_that("saves", SAVES), run_that("deaf", "signal.SIG_IGN")]
    with pytest.raises(SystemExit):
        script.train(runs, together=True, until=time.time())
    assert f"{tmp_path / 'deaf'} failed" in capsys.readouterr().err
    saved = tmp_path / "older" / "checkpoints" / "last"
    keeps = run_that("older", f"lambda *_: os.makedirs('{saved}')")
    script.train([keeps], together=True, until=time.time())
