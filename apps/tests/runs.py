"""Starting runs, and comparing what they leave behind bit by bit."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from slot_core import LossOutput

APPS = Path(__file__).parents[1]
TRAIN = APPS / "train.py"


def start(
    arguments: Sequence[str],
    launcher: Sequence[str] = (sys.executable,),
    environment: dict[str, str] | None = None,
    script: Sequence[str] = (str(TRAIN),),
) -> subprocess.Popen[str]:
    """``train.py`` in a process of its own."""
    command = [*launcher, *script, *arguments]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})},
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    """Wait for a run that must succeed; what it printed."""
    try:
        output, _ = process.communicate(timeout=300)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    assert process.returncode == 0, output
    return output


def kill_after(process: subprocess.Popen[str], out: Path, step: int) -> None:
    """Kill the run and its workers, without any warning, once ``step`` stands in its log."""
    deadline = time.monotonic() + 120
    while last_step(out) < step:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "the run logs no steps"
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def process_of_rank(launcher: int, rank: int) -> int:
    """The process number of one rank below a launcher."""
    for place in Path("/proc").glob("[0-9]*"):
        try:
            environment = (place / "environ").read_bytes().split(b"\0")
            parent = (place / "stat").read_text().rpartition(")")[2].split()[1]
        except OSError:  # another user's, or it has just ended
            continue
        if int(parent) == launcher and f"RANK={rank}".encode() in environment:
            return int(place.name)
    raise AssertionError(f"no process {rank} below {launcher}")


def last_step(out: Path) -> int:
    """The newest training step in the log, 0 if there is none. Those who wait for it ask often."""
    return next((event["step"] for event in _logged(out, "train", newest_first=True)), 0)


def events(out: Path, kind: str) -> list[dict[str, Any]]:
    """The log's events of one kind, without what depends on the clock."""
    found = list(_logged(out, kind))
    for event in found:
        event.pop("samples_per_second", None)
    return found


def _logged(out: Path, kind: str, newest_first: bool = False) -> Iterator[dict[str, Any]]:
    path = out / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    for line in reversed(lines) if newest_first else lines:
        try:
            event = json.loads(line)
        except ValueError:  # a line being written
            continue
        if event["kind"] == kind:
            yield event


def assert_equal_runs(one: Path, other: Path) -> None:
    """Weights, optimizer, average, position, losses, rates and sample ids, bit by bit."""
    for kind in ("train", "validation", "test"):
        assert events(one, kind) == events(other, kind)
        assert events(one, kind)
    newest = [max((run / "checkpoints").glob("step-*")) for run in (one, other)]
    assert newest[0].name == newest[1].name
    weights = [load_file(checkpoint / "model" / "model.safetensors") for checkpoint in newest]
    _assert_equal(weights[0], weights[1])
    states = [torch.load(c / "state" / "state.pt", weights_only=True) for c in newest]
    _assert_equal(states[0], states[1])


def assert_alike_runs(one: Path, other: Path, atol: float = 1e-6) -> None:
    """Within rounding: sums over processes, or over pieces of a batch, have another order.

    ``atol`` is of the weights: Adam makes whole steps of a gradient that is nothing but rounding,
    such as that of the bias of all masks.
    """
    for left, right in zip(events(one, "train"), events(other, "train"), strict=True):
        assert left["sample_ids"] == right["sample_ids"]
        for key in ("loss", "gradient_norm"):
            assert left.get(key) == pytest.approx(right.get(key), rel=1e-4), left["step"]
    assert [found["step"] for found in events(one, "test")] == [last_step(other)]
    newest = [max((run / "checkpoints").glob("step-*")) for run in (one, other)]
    weights = [load_file(checkpoint / "model" / "model.safetensors") for checkpoint in newest]
    assert weights[0].keys() == weights[1].keys()
    for name, value in weights[0].items():
        torch.testing.assert_close(value, weights[1][name], atol=atol, rtol=1e-5)


def _assert_equal(one: Any, other: Any) -> None:
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            _assert_equal(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            _assert_equal(left, right)
    else:
        assert one == other


def set_back(run: Path, copy: Path, step: int) -> Path:
    """A copy of a run without what came after ``step``."""
    shutil.copytree(run, copy, symlinks=True)
    for checkpoint in (copy / "checkpoints").glob("step-*"):
        if int(checkpoint.name.removeprefix("step-")) > step:
            shutil.rmtree(checkpoint)
    return copy


def poisoned(forward: Callable[..., LossOutput], steps: Collection[int]) -> Callable[..., Any]:
    """A model's ``forward``, of which these training steps, counted from 1, have a loss that is not
    a number."""
    seen = iter(range(1, 1000))

    def poisonous(*arguments: Any, **options: Any) -> LossOutput:
        losses = forward(*arguments, **options)
        if torch.is_grad_enabled() and next(seen) in steps:  # not of held-out samples
            return replace(losses, total=losses.total * math.nan)
        return losses

    return poisonous
