"""Processes of gpu.py: each leads a group of its own, which can be stilled, and how many fit."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from gpu_cases import case_of


class Run:
    """A command, which leads a group of processes; its words go to files."""

    def __init__(self, name: str, command: Sequence[str], folder: Path) -> None:
        self.name = name
        self.begun = time.monotonic()
        self.still = 0.0  # seconds in which it was stopped
        self.said, self.errors = folder / f"{name}.out", folder / f"{name}.err"
        with self.said.open("wb") as said, self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=errors,
                process_group=0,
            )

    @property
    def age(self) -> float:
        """Seconds since its start in which it was not stopped."""
        return time.monotonic() - self.begun - self.still

    @property
    def ended(self) -> bool:
        """Whether its process is no more."""
        return self.process.poll() is not None

    def lines(self) -> list[str]:
        """What it has said, in whole lines."""
        return self.said.read_text().split("\n")[:-1]

    def send(self, number: int) -> None:
        """A signal to the process and those that compile for it."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def go(self) -> None:
        """Let it time itself."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.write(b"go\n")
            self.process.stdin.flush()

    def end(self) -> None:
        """Kill whatever is left of it."""
        self.send(signal.SIGKILL)
        self.process.wait()

    def failure(self) -> dict[str, str]:
        """Its error in a line, and the end of all that it said; PyTorch adds advice below."""
        said = self.errors.read_text(errors="replace").strip()
        lines = said.splitlines() or [f"exit code {self.process.returncode}"]
        error = next((line for line in lines[::-1] if re.match(r"[\w.]+: ", line)), lines[-1])
        return {"missing": f"failed: {error[:200]}", "errors": said[-4000:]}


class Room(NamedTuple):
    """What there is for cases that are made ready side by side."""

    cases: int
    gib: float

    def first_fit(self, names: Sequence[str], beside: Sequence[str]) -> str | None:
        """The first case that fits ``beside`` others; alone, any does."""
        if not beside:
            return next(iter(names), None)
        free = self.gib - sum(case_of(name).gib for name in beside)
        fitting = (name for name in names if case_of(name).gib <= free)
        return next(fitting, None) if len(beside) < self.cases else None
