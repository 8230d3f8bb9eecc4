"""Tiny trainings in processes that are forked from one that has imported everything, so that a run
that goes on after a fault costs seconds; for faults.py."""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path += [str(ROOT / "apps"), str(ROOT / "apps" / "tests")]

import torch._dynamo  # noqa: E402, F401  (else the optimizer of each run imports it)
from runs import last_step  # noqa: E402
from tiny_run import TINY  # noqa: E402  (the path to it is set above)

import train  # noqa: E402  (the path to it is set above)
from support.command_line import run  # noqa: E402
from support.interruption import REQUEUE  # noqa: E402

CHECKPOINT_EVERY = 5
NUM_STEPS = 60
CHANGES: dict[str, Any] = {
    "train.num_steps": NUM_STEPS,
    "train.ema_decay": 0.9,
    "validation.every": 20,
    "checkpoint.every": CHECKPOINT_EVERY,
    "model.encoder.initializer.type": "gaussian",
}
PATIENCE = 1800.0  # seconds until a run that does nothing is given up

Patch = Callable[[int], None]
"""Called with the rank in the process of a run, before it begins."""


def fork(function: Callable[[], Any], log: Path) -> int:
    """Call ``function`` in a process of its own that prints to ``log``; its number."""
    sys.stdout.flush()
    number = os.fork()
    if number:
        return number
    gc.freeze()  # nothing of what is shared with the other process becomes garbage here
    code = 70
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        function()
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}")
    sys.stdout.flush()
    os._exit(code)


@dataclass(frozen=True)
class Attempt:
    """One attempt at a run.

    out: folder of the run. world: how many processes. changes: of options, beside those that all
    have; None leaves one out. patch: puts a fault in. logs: where what it prints goes, beside
    ``out`` if left out.
    """

    out: Path
    world: int = 1
    changes: Mapping[str, Any] | None = None
    patch: Patch | None = None
    logs: Path | None = None

    def begin(self) -> list[int]:
        """Start it, going on from where the run is; the numbers of its processes."""
        port = free_port()
        return [fork(lambda r=rank: self._train(r, port), self.log(rank)) for rank in self._ranks]

    def log(self, rank: int) -> Path:
        """What a process printed, in all attempts."""
        return (self.logs or self.out.parent) / f"{self.out.name}.{rank}.log"

    def said(self) -> list[str]:
        """What each of them printed so far."""
        return [log.read_text() if log.exists() else "" for log in map(self.log, self._ranks)]

    @property
    def _ranks(self) -> range:
        return range(self.world)

    def _train(self, rank: int, port: int) -> None:
        if self.world > 1:
            place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": self.world}
            place |= {"LOCAL_WORLD_SIZE": self.world, "MASTER_PORT": port}
            os.environ.update({key: str(value) for key, value in place.items()})
            os.environ |= {"MASTER_ADDR": "127.0.0.1", "ACCELERATE_USE_CPU": "true"}
        if self.patch is not None:
            self.patch(rank)
        words = ["slot_attention/shapes", "--out", str(self.out), "--resume"]
        for key, value in {**TINY, **CHANGES, **(self.changes or {})}.items():
            words += ["--set", f"{key}={json.dumps(value)}"] if value is not None else []
        run(train.main, words)


@dataclass(frozen=True)
class Ended:
    """How an attempt ended.

    codes: of its processes, negative where a signal ended one. said: what they printed. seconds:
    from its start to its first new step; None if there was none.
    """

    codes: list[int]
    said: str
    seconds: float | None


def finish(attempt: Attempt) -> Ended:
    """Start an attempt and wait for its end; where one process fails, the others are ended, as a
    launcher does it."""
    begun, first, before = time.monotonic(), None, attempt.said()
    resumed, log = newest(attempt.out), inode(attempt.out)
    living = dict(enumerate(attempt.begin()))
    codes: dict[int, int] = {}
    while living:
        if time.monotonic() - begun > PATIENCE:
            end(living.values())
            raise SystemExit(f"{attempt.out}: did not end within {PATIENCE:.0f} seconds")
        if first is None and inode(attempt.out) != log and last_step(attempt.out) > resumed:
            first = time.monotonic()
        for rank, process in list(living.items()):
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                codes[rank] = os.waitstatus_to_exitcode(status)
                del living[rank]
        if any(code not in (0, REQUEUE) for code in codes.values()):
            end(living.values())
        time.sleep(0.002)
    said = [now[len(then) :] for then, now in zip(before, attempt.said(), strict=True)]
    return Ended([codes[rank] for rank in sorted(codes)], "".join(said), first and first - begun)


class Clock:
    """When each step of a run was over, by the clock of all processes."""

    def __init__(self) -> None:
        self._moments = multiprocessing.Array("d", NUM_STEPS + 1)

    def note(self, step: int) -> None:
        """``step`` is over."""
        self._moments[step] = time.monotonic()

    def between(self, step: int, other: int) -> float:
        """Seconds from one step to another."""
        return self._moments[other] - self._moments[step]


def at_steps(steps: set[int], action: Callable[[], Any], clock: Clock | None = None) -> None:
    """Call ``action`` at the end of these steps of a run that begins, before its weights change."""
    agree, count = train.agree, iter(range(1, NUM_STEPS + 1))

    def acting(*arguments: Any) -> list[bool]:
        step = next(count)
        if step in steps:
            action()
        flags = agree(*arguments)
        if clock is not None:
            clock.note(step)
        return flags

    train.agree = acting


def end(processes: Any) -> None:
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
