"""Kills at random moments, of trainings and of what writes a folder by pieces; for faults.py."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forked_runs import NUM_STEPS, PATIENCE, Attempt, end, fork, inode, newest
from pieces import Writer, contents
from runs import assert_equal_runs, last_step

import train

PHASES = ("training", "saving", "validation", "starting")  # of a training
WRITING = ("writing", "starting")  # of what writes pieces
STEP_SECONDS = 0.05  # about as long as a step or a piece takes


@dataclass
class Kill:
    """One kill, and what it cost.

    again: steps that are done once more; of pieces, those that were finished before the kill and
    written once more all the same. seconds: from the next start to the next step or piece; None
    where nothing was there to go on from.
    """

    phase: str
    again: int
    seconds: float | None = None


class Trainings:
    """Runs of ``world`` processes below one folder; a kill hits one of them, or all."""

    def __init__(self, folder: Path, world: int) -> None:
        self.folder = folder
        self.world = world
        self.chance = random.Random()
        self.phase = multiprocessing.Value("i", 0)
        self.kills: list[Kill] = []
        self.hit: Kill | None = None  # the last kill, until the run recovers from it
        self.whole = folder / "whole"
        self.start = 1.0  # seconds from the newest start to its first step
        self._finish(self.whole, None)

    def kill_and_compare(self, moments: str, most: int) -> list[Kill]:
        """Train one run, killed up to ``most`` times at moments that are drawn from their name."""
        self.chance, self.kills, out = random.Random(moments), [], self.folder / "run"
        for _ in range(self.chance.randint(1, most)):
            self._finish(out, self.chance.choice(PHASES))
        self._finish(out, None)
        assert_equal_runs(self.whole, out)
        shutil.rmtree(out)
        return self.kills

    def _finish(self, out: Path, aim: str | None) -> None:
        """One attempt, killed at a random moment of the phase ``aim`` if it gets there.

        Moments count from a random step, so that they are spread alike on a fast machine and on a
        busy one.
        """
        begun, first, since = time.monotonic(), None, None
        resumed, log = newest(out), inode(out)
        step, delay = self.chance.uniform(resumed, NUM_STEPS), self.chance.uniform(0, STEP_SECONDS)
        if aim == "starting":
            since, delay = begun, self.chance.uniform(0, self.start)
        self.phase.value = 0
        attempt = Attempt(out, self.world, patch=self._mark)
        living = attempt.begin()
        victims = living if self.chance.random() < 0.5 else [self.chance.choice(living)]
        while living:
            now = time.monotonic()
            if now - begun > PATIENCE:
                end(living)
                raise SystemExit(f"{out}: did not end within {PATIENCE:.0f} seconds")
            if first is None and inode(out) != log and last_step(out) > resumed:
                first, self.start = now, now - begun
                if self.hit and resumed:
                    self.hit.seconds = self.start
                self.hit = None
            if since is None and first and last_step(out) >= step:
                since = now
            if aim and since and now - since >= delay and aim == self._now(first):
                self.hit = Kill(aim, last_step(out) - newest(out))
                self.kills.append(self.hit)
                aim = None
                end(victims)
            living = self._wait(attempt, living)
            time.sleep(0.0005)

    def _mark(self, rank: int) -> None:
        """In the first process: say what it is at."""
        if rank == 0:
            train.RunFolder.save = marked(train.RunFolder.save, self.phase, 1)
            train.score = marked(train.score, self.phase, 2)

    def _now(self, first: float | None) -> str:
        return "starting" if first is None else PHASES[self.phase.value]

    def _wait(self, attempt: Attempt, living: list[int]) -> list[int]:
        """Those that still live. Where one was killed, the others end as a launcher ends them."""
        left, killed = [], False
        for process in living:
            ended, status = os.waitpid(process, os.WNOHANG)
            if not ended:
                left.append(process)
            elif os.WIFSIGNALED(status):
                killed = True
            elif status:
                said = attempt.said()[0][-2000:]
                raise SystemExit(f"{attempt.out}: a process ended with {status >> 8}\n{said}")
        if killed:
            end(left)
            for process in left:
                os.waitpid(process, 0)
            return []
        return left


def marked(function: Callable[..., Any], phase: Any, number: int) -> Callable[..., Any]:
    """``function`` that says when it is at work."""

    def wrapped(*arguments: Any, **options: Any) -> Any:
        phase.value = number
        try:
            return function(*arguments, **options)
        finally:
            phase.value = 0

    return wrapped


class Writings:
    """Folders that one writer writes."""

    def __init__(self, folder: Path, writer: Writer) -> None:
        self.folder = folder
        self.writer = writer
        self.chance = random.Random()
        self.kills: list[Kill] = []
        self.start = 1.0  # seconds from the newest start to its first piece
        self._finish(folder / "whole", None)
        self.whole = contents(folder / "whole")
        self.pieces = len(writer.finished(folder / "whole"))

    def kill_and_compare(self, moments: str, most: int) -> list[Kill]:
        """Write one folder, killed up to ``most`` times at moments drawn from their name."""
        self.chance, self.kills, out = random.Random(moments), [], self.folder / "out"
        for _ in range(self.chance.randint(1, most)):
            self._finish(out, self.chance.choice(WRITING))
        self._finish(out, None)
        assert contents(out) == self.whole, f"{out}: differs from what was written in one go"
        shutil.rmtree(out)
        return self.kills

    def _finish(self, out: Path, aim: str | None) -> None:
        """One attempt, killed at a random moment of the phase ``aim`` if it gets there."""
        before, first, begun = self.writer.finished(out), None, time.monotonic()
        since, piece, delay = None, 0, self.chance.uniform(0, self.start)
        if aim == "writing":
            piece = self.chance.randint(min(len(before) + 1, self.pieces), self.pieces)
            delay = self.chance.uniform(0, STEP_SECONDS)
        last = self.kills[-1] if self.kills else None
        log = out.with_suffix(".log")
        process = fork(lambda: self.writer.write(out), log)
        while True:
            now = time.monotonic()
            done = len(self.writer.finished(out))
            if first is None and done > len(before):
                first, self.start = now, now - begun
                if last and before:
                    last.seconds = self.start
            if since is None and (aim == "starting" or (first and done >= piece)):
                since = now
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                break
            if aim and since and now - since >= delay:
                self.kills.append(Kill(WRITING[first is None], 0))
                end([process])
                os.waitpid(process, 0)
                status = 0
                break
            time.sleep(0.0005)
        if status:
            raise SystemExit(f"{out}: the writer failed\n{log.read_text()[-2000:]}")
        after = self.writer.finished(out)
        if last:
            last.again += sum(after.get(name) != moment for name, moment in before.items())
