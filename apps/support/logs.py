"""A run's metrics as JSON lines, one for each event, that a resumed run goes on with."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from slot_core import InputError


class MetricsLog:
    """Appends to ``metrics.jsonl``.

    Lines of steps after ``start_step``, one cut off by a kill, and the line of a test that was not
    ``tested`` to its end are dropped first: the run that resumes there writes them again.
    """

    def __init__(self, path: Path, start_step: int, *, tested: bool) -> None:
        self.path = path
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        kept = [line for line in lines if _is_whole(line) and _stays(line, start_step, tested)]
        temporary = path.with_name(f".{path.name}")
        temporary.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
        temporary.replace(path)

    def write(self, kind: str, step: int, **values: Any) -> None:
        """Append one event, such as a training step or a validation."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"kind": kind, "step": step, **values}) + "\n")


def read_events(run: Path) -> list[dict[str, Any]]:
    """The events of a run's log, but a line that is just being written.

    Raises:
        InputError: if there is no log, or it is none of a run.
    """
    path = run / "metrics.jsonl"
    try:
        lines = path.read_text(encoding="utf-8").rpartition("\n")[0].splitlines()
        events = [json.loads(line) for line in lines]
    except (OSError, ValueError):
        raise InputError(f"{path}: cannot be read; expected the log of a run") from None
    if not all(isinstance(event, dict) and {"kind", "step"} <= event.keys() for event in events):
        raise InputError(f"{path}: is not the log of a run")
    return events


def _is_whole(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _stays(line: str, start_step: int, tested: bool) -> bool:
    event = json.loads(line)
    return event["step"] <= start_step and (tested or event["kind"] != "test")


class Throughput:
    """Samples a second of wall time since the last reading."""

    def __init__(self) -> None:
        self.since, self.samples = time.perf_counter(), 0

    def add(self, samples: int) -> None:
        """Count samples that were trained on."""
        self.samples += samples

    def read(self) -> float:
        """Samples a second since the last call, and start over."""
        now = time.perf_counter()
        rate = self.samples / max(now - self.since, 1e-9)
        self.since, self.samples = now, 0
        return rate
