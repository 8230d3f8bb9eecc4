"""Kill training runs at random moments, let them resume, and compare them with a run that was left
alone: every one must end with the same bits.

    uv run python tools/bench/faults.py --points 200 --record kills.jsonl
    uv run python tools/bench/faults.py --points 40 --processes 2

Each point is a ``kill -9`` of a run (of two processes: of one of them, chosen at random, or of
both) at a random moment between its first step and its end. A run is killed again and again until
it gets through, then compared: weights, optimizer, average, losses, scores and sample ids. For
each phase in which it was hit, the table says how often, how many steps had to be done again at
most (never more than lie between two checkpoints), and how long it took from the start of the
next attempt to its first new step. What came of it last is in tools/bench/faults.md.

With ``--record FILE`` each run that was compared leaves a line there, and a later call of the same
kind goes on behind those lines: it takes other moments, and prints the table of all of them.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path += [str(ROOT / "apps"), str(ROOT / "apps" / "tests")]

from conftest import TINY  # noqa: E402
from runs import assert_equal_runs, last_step  # noqa: E402

import train  # noqa: E402  (the path to it is set above)
from support.command_line import run  # noqa: E402

CHECKPOINT_EVERY = 5
CHANGES: dict[str, Any] = {
    "train.num_steps": 60,
    "train.ema_decay": 0.9,
    "validation.every": 20,
    "checkpoint.every": CHECKPOINT_EVERY,
    "model.encoder.initializer.type": "gaussian",
}
PHASES = ("training", "saving", "validation", "starting")
PATIENCE = 300.0  # seconds until a run that does nothing is given up


@dataclass
class Kill:
    """One kill, and what it cost."""

    phase: str
    steps_again: int
    seconds: float | None = (
        None  # to the next step; None where there was no checkpoint to go on from
    )


def attempt(out: Path, phase: Any, rank: int, world: int, port: int) -> int:
    """Start one process of a run, by a fork that has imported everything; its number."""
    number = os.fork()
    if number:
        return number
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    log = os.open(out.with_suffix(f".{rank}.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if world > 1:
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world}
        place |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        os.environ.update({key: str(value) for key, value in place.items()})
        os.environ["ACCELERATE_USE_CPU"] = "true"
    if rank == 0:
        train.RunFolder.save = marked(train.RunFolder.save, phase, 1)
        train.score = marked(train.score, phase, 2)
    words = ["slot_attention/shapes", "--out", str(out), "--resume"]
    for key, value in {**TINY, **CHANGES}.items():
        words += ["--set", f"{key}={json.dumps(value)}"]
    try:
        run(train.main, words)
    except SystemExit as end:
        os._exit(int(end.code or 0))
    except BaseException:
        os._exit(70)


def marked(function: Callable[..., Any], phase: Any, number: int) -> Callable[..., Any]:
    """``function`` that says when it is at work."""

    def wrapped(*arguments: Any, **options: Any) -> Any:
        phase.value = number
        try:
            return function(*arguments, **options)
        finally:
            phase.value = 0

    return wrapped


class Runs:
    """Runs of ``world`` processes below one folder."""

    def __init__(self, folder: Path, world: int) -> None:
        self.folder = folder
        self.world = world
        self.chance = random.Random()
        self.phase = multiprocessing.Value("i", 0)
        self.kills: list[Kill] = []
        self.hit: Kill | None = None  # the last kill, until the run recovers from it
        self.whole = folder / "whole"
        self.start, self.length = 0.0, 0.0
        self.start, self.length = self._finish(self.whole, None)

    def kill_and_compare(self, moments: str, most: int) -> list[Kill]:
        """Train one run, killed up to ``most`` times at moments that are drawn from their name."""
        self.chance, self.kills, out = random.Random(moments), [], self.folder / "run"
        for _ in range(self.chance.randint(1, most)):
            self._finish(out, self.chance.choice(PHASES))
        self._finish(out, None)
        assert_equal_runs(self.whole, out)
        shutil.rmtree(out)
        return self.kills

    def _finish(self, out: Path, aim: str | None) -> tuple[float, float]:
        """One attempt, killed at a random moment of the phase ``aim`` if it gets there.

        Returns the seconds until its first new step, and those from there to its end.
        """
        begun, first, port = time.monotonic(), None, free_port()
        resumed, log = newest(out), inode(out)
        delay = self.chance.uniform(0, self.start if aim == "starting" else self.length)
        self.phase.value = 0
        living = [attempt(out, self.phase, r, self.world, port) for r in range(self.world)]
        victims = living if self.chance.random() < 0.5 else [self.chance.choice(living)]
        while living:
            now = time.monotonic()
            if now - begun > PATIENCE:
                end(living)
                raise SystemExit(f"{out}: did not end within {PATIENCE:.0f} seconds")
            if first is None and inode(out) != log and last_step(out) > resumed:
                first = now
                if self.hit and resumed:
                    self.hit.seconds = first - begun
                self.hit = None
            since = begun if aim == "starting" else first
            if aim and since and now - since >= delay and aim == self._now(first):
                self._record(out, aim)
                aim = None
                end(victims)
            living = self._wait(out, living)
            time.sleep(0.0005)
        return (first or begun) - begun, time.monotonic() - (first or begun)

    def _now(self, first: float | None) -> str:
        return "starting" if first is None else PHASES[self.phase.value]

    def _wait(self, out: Path, living: list[int]) -> list[int]:
        """Those that still live. Where one was killed, the others end as a launcher ends them."""
        left, killed = [], False
        for process in living:
            ended, status = os.waitpid(process, os.WNOHANG)
            if not ended:
                left.append(process)
            elif os.WIFSIGNALED(status):
                killed = True
            elif status:
                log = out.with_suffix(".0.log").read_text()[-2000:]
                raise SystemExit(f"{out}: a process ended with {status >> 8}\n{log}")
        if killed:
            end(left)
            for process in left:
                os.waitpid(process, 0)
            return []
        return left

    def _record(self, out: Path, phase: str) -> None:
        self.hit = Kill(phase, last_step(out) - newest(out))
        self.kills.append(self.hit)


def end(processes: list[int]) -> None:
    """Kill them without any warning."""
    for process in processes:
        os.kill(process, signal.SIGKILL)


def inode(out: Path) -> int:
    """Which file the log is; an attempt begins by writing a new one."""
    log = out / "metrics.jsonl"
    return log.stat().st_ino if log.exists() else 0


def newest(out: Path) -> int:
    """The step of the newest checkpoint, 0 without one."""
    saved = max((out / "checkpoints").glob("step-*"), default=None)
    return int(saved.name[5:]) if saved else 0


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def recorded(record: Path, kind: str) -> list[list[Kill]]:
    """The kills of every run of one kind in a record."""
    lines = map(json.loads, record.read_text().splitlines() if record.exists() else [])
    return [[Kill(**kill) for kill in line["kills"]] for line in lines if line["kind"] == kind]


def print_table(runs: list[list[Kill]], kind: str) -> None:
    """How often each phase was hit, and what that cost."""
    kills = [kill for run in runs for kill in run]
    print(
        f"{len(kills)} kills in {len(runs)} runs of {kind}: all {len(runs)} ended bitwise equal "
        "to the run that was left alone"
    )
    print("| hit in | kills | steps done again, at most | seconds to the next step, median |")
    print("|---|---|---|---|")
    for phase in PHASES:
        of = [kill for kill in kills if kill.phase == phase]
        again = max((kill.steps_again for kill in of), default=0)
        seconds = sorted(kill.seconds for kill in of if kill.seconds is not None)
        median = f"{seconds[len(seconds) // 2]:.1f}" if seconds else "-"
        print(f"| {phase} | {len(of)} | {again} | {median} |")


def main() -> None:
    """Kill, resume, compare, and print the table."""
    parser = argparse.ArgumentParser(description="Kill runs at random moments and compare them.")
    parser.add_argument("--points", type=int, default=200, help="kills at random moments")
    parser.add_argument("--processes", type=int, default=1, help="of one run")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--record", type=Path, help="where each run leaves a line, to go on behind")
    told = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    kind = f"{told.processes} process(es)"
    with tempfile.TemporaryDirectory() as folder:
        record = told.record or Path(folder) / "record.jsonl"
        done = recorded(record, kind)
        runs = Runs(Path(folder), told.processes)
        while (left := told.points - sum(map(len, done))) > 0:
            done.append(runs.kill_and_compare(f"{told.seed} {len(done)}", min(5, left)))
            with record.open("a") as lines:
                kills = [asdict(kill) for kill in done[-1]]
                print(json.dumps({"kind": kind, "kills": kills}), file=lines)
    print_table(done, kind)


if __name__ == "__main__":
    main()
