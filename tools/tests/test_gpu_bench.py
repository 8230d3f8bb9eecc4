"""The benchmark that runs where there is a GPU, tried where there is none."""

from __future__ import annotations

import importlib
import json
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from bench import hours
from support.command_line import run
from support.options import load_options

SCRIPT = Path(__file__).parents[1] / "bench" / "gpu.py"
H200 = SCRIPT.parent / "results" / "h200"


CLOCK = """
import sys, time
from pathlib import Path

while "seconds" not in Path(sys.argv[1]).read_text():  # of a case
    print(time.monotonic(), flush=True)
    time.sleep(0.005)
print(time.monotonic())  # the row may be there as soon as it goes on
"""


def gpu(out: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it on the CPU."""
    command = [sys.executable, str(SCRIPT), "--device", "cpu", "--batch", "1", "--turns", "1"]
    done = subprocess.run(
        [*command, "--out", str(out), *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done


def rows(out: Path, *arguments: str) -> list[dict[str, Any]]:
    """What it writes, on the CPU."""
    done = gpu(out, *arguments)
    written = json.loads(out.read_text())
    assert written["product_tflops"] > 0
    for row in written["rows"]:
        assert row["name"] in done.stdout
    return written["rows"]


@pytest.mark.slow
def test_what_is_not_ready_in_time_is_said_and_the_file_is_whole(tmp_path: Path):
    found = rows(
        tmp_path / "gpu.json", "--minutes", "0.02", "--together", "1", "--only", "steve-train"
    )
    assert [row["name"] for row in found] == ["steve-train", "steve-train+compiled"]
    assert found[0]["missing"].startswith("not ready in ")
    assert found[1]["missing"] == "not begun in time"


@pytest.mark.slow
def test_a_reconstruction_is_timed_as_it_is_and_compiled(tmp_path: Path):
    plain, compiled = rows(tmp_path / "gpu.json", "--minutes", "30", "--only", "steve-reconstruct")
    for row in (plain, compiled):
        assert row["seconds"] > 0
        assert row["ready_in"] > 0
    assert plain["operations"] > 0
    assert compiled["tflops"] * compiled["seconds"] == pytest.approx(plain["operations"] / 1e12)
    assert compiled["graphs"] > plain["graphs"] == 0
    assert compiled["graph_breaks"] == compiled["late_graphs"] == 0


@pytest.mark.slow
def test_a_training_step_is_timed_with_gradient_checkpointing_too(tmp_path: Path):
    given = ("--minutes", "30", "--only", "steve-train", "--no-compiled", "--recomputing")
    plain, again = rows(tmp_path / "gpu.json", *given)
    assert [plain["name"], again["name"]] == ["steve-train", "steve-train+recomputing"]
    assert again["operations"] > 1.2 * plain["operations"] > 0
    assert again["tflops"] * again["seconds"] == pytest.approx(plain["operations"] / 1e12)


@pytest.mark.slow
def test_what_runs_beside_stands_still_while_a_case_is_timed(tmp_path: Path):
    clock, out = tmp_path / "clock.py", tmp_path / "gpu.json"
    clock.write_text(CLOCK)
    beside = shlex.join([sys.executable, str(clock), str(out)])
    done = gpu(out, "--only", "slot_attention-train", "--no-compiled", "--beside", beside)
    written = json.loads(out.read_text())
    assert written["beside"].endswith(" clock.py gpu.json")  # without the folders of this machine
    (row,) = written["rows"]
    said, ticks = done.stdout.split("ended with 0:\n")
    assert "beside it, still for " in said
    times = [float(tick) for tick in ticks.split()]
    assert max(after - before for before, after in pairwise(times)) > row["seconds"]


@pytest.mark.slow
def test_what_failed_says_why_and_leaves_the_others_alone(tmp_path: Path):
    plain, failed = rows(
        tmp_path / "gpu.json", "--minutes", "30", "--only", "slot_attention-train", "--backend", "x"
    )
    assert plain["seconds"] > 0
    assert failed["missing"].startswith("failed: torch._dynamo.exc.")
    assert "'x'" in failed["missing"]
    assert failed["errors"].startswith("Traceback")


def test_cases_side_by_side_fit_into_the_memory(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    bench: Any = importlib.import_module("gpu")
    needs = {name: case.gib for name, case in bench.CASES.items()}
    steve, slate, sample = needs["steve-train"], needs["slate-train"], 3
    assert needs["slot_diffusion-sample"] == sample
    names = ["slate-train+compiled", "slot_diffusion-sample"]
    for free, fits in ((slate, names[0]), (slate - 1, names[1]), (sample - 1, None)):
        room = bench.Room(cases=3, gib=steve + free)
        assert room.first_fit(names, ["steve-train"]) == fits
    assert bench.Room(cases=1, gib=99).first_fit(names, ["steve-train"]) is None
    assert bench.Room(cases=3, gib=1).first_fit(names, []) == names[0]
    assert bench.Room(cases=3, gib=1).first_fit([], []) is None


def test_hours_are_those_of_the_recipes_steps(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        run(hours.main, [str(H200 / "gpu.json")])
    assert not ended.value.code
    shown = capsys.readouterr().out
    assert shown in (H200 / "README.md").read_text()  # which quotes it
    (row,) = [line for line in shown.splitlines() if line.startswith("slate/clevrtex ")]
    steps = load_options("slate/clevrtex").train.num_steps
    rows = json.loads((H200 / "gpu.json").read_text())["rows"]
    (timed,) = [one["seconds"] for one in rows if one["name"] == "slate-train"]
    assert row.split()[-2] == f"{timed * steps / 3600:.1f}"


def test_hours_of_another_file_are_one_sentence(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        run(hours.main, [str(H200 / "README.md")])
    assert ended.value.code == 2
    assert "is not what tools/bench/gpu.py writes" in capsys.readouterr().err
