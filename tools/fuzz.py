"""Give parsers of ours what nobody would: many thousand files, valid ones with changes and worse.

    uv run python tools/fuzz.py --inputs 100000
    uv run python tools/fuzz.py tfrecord --inputs 2000

Whatever it is, a parser must give a value, or one sentence as an error of its package; soon, and
without taking memory for sizes that are only claimed. An input that does anything else is shrunk by
hypothesis and shown, and the command fails. Of each input that hypothesis draws, some more are made
by changes that checksums do not tell. What came of it last is in tools/bench/faults.md.
"""

from __future__ import annotations

import resource
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Annotated, Any

import typer
from hypothesis import HealthCheck, Phase, given, note, seed, settings
from hypothesis import strategies as st

sys.path += [str(Path(__file__).parents[1] / "apps")]

from fuzz_targets import TARGETS, Target
from support.command_line import run

PATIENCE = 10  # seconds: an input that takes longer hangs
MOST_MEMORY = 2**26  # bytes that reading one small input may take for a moment
MOST_ADDRESSES = 2**31  # bytes beyond those of the process at its start
ROUND = 20_000  # inputs before hypothesis begins anew and forgets
VARIANTS = 19  # of each input that hypothesis draws


@dataclass
class Tally:
    """What became of the inputs of one parser."""

    inputs: int = 0
    parsed: int = 0
    slowest: float = 0.0  # seconds of the process
    memory: int = 0  # bytes: the most that one input took at its peak

    def __str__(self) -> str:
        return (
            f"{self.inputs:>9,} | {self.parsed:>8,} | {self.inputs - self.parsed:>8,} | "
            f"{self.slowest * 1e3:>8.1f} ms | {self.memory / 2**20:>6.1f} MiB"
        )


def fuzz(target: Target, count: int, folder: Path, start: int = 0) -> Tally:
    """Read at least ``count`` inputs, drawn from the seed ``start`` on.

    Raises:
        AssertionError: or whatever the parser raised, with the input that did it.
    """
    tally = Tally()
    while tally.inputs < count:
        _round(target, min(ROUND, count - tally.inputs), folder, tally, start + tally.inputs)
    return tally


def _round(target: Target, count: int, folder: Path, tally: Tally, start: int) -> None:
    @seed(start)
    @settings(
        max_examples=-(-count // (1 + VARIANTS)),
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=[
            HealthCheck.data_too_large,
            HealthCheck.filter_too_much,
            HealthCheck.large_base_example,
            HealthCheck.too_slow,
        ],
    )
    @given(target.inputs, st.integers(0, 2**32 - 1))
    def read(content: Any, number: int) -> None:
        one(content)
        random = Random(number)
        for _ in range(VARIANTS):
            varied = target.vary(content, random)
            try:
                one(varied)
            except BaseException:
                note(f"as varied: {varied!r}")
                raise

    def one(content: Any) -> None:
        before, began = _memory("VmRSS"), time.process_time()
        _forget_peak()
        signal.alarm(PATIENCE)
        try:
            parsed = target.read(content, folder)
        except EOFError as error:  # typer takes it for the end of what is typed
            raise AssertionError("the parser raised EOFError") from error
        finally:
            signal.alarm(0)
        spent, taken = time.process_time() - began, _memory("VmHWM") - before
        assert taken <= MOST_MEMORY, f"{taken:,} bytes of memory for one input"
        tally.inputs += 1
        tally.parsed += parsed
        tally.slowest = max(tally.slowest, spent)
        tally.memory = max(tally.memory, taken)

    read()


def _memory(key: str) -> int:
    """Bytes: VmRSS now, VmHWM at the peak since it was last forgotten."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"this system does not tell its {key}")


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _hangs(*_: Any) -> None:
    raise AssertionError(f"an input takes more than {PATIENCE} seconds")


def main(
    targets: Annotated[list[str] | None, typer.Argument(help="parsers; all if left out")] = None,
    inputs: Annotated[int, typer.Option(min=1, help="for each parser, at least")] = 100_000,
    start: Annotated[int, typer.Option(help="the first seed")] = 0,
) -> None:
    """Fuzz the parsers of TFRecord files, of recipes and --set, and of prediction files."""
    if unknown := sorted(set(targets or ()) - TARGETS.keys()):
        raise typer.BadParameter(f"no parser '{unknown[0]}'; there are {', '.join(TARGETS)}")
    signal.signal(signal.SIGALRM, _hangs)
    most = _memory("VmSize") + MOST_ADDRESSES
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))
    print("parser      |    inputs |   parsed |  refused |     slowest | most memory", flush=True)
    for name in targets or TARGETS:
        with tempfile.TemporaryDirectory() as folder:
            tally = fuzz(TARGETS[name](), inputs, Path(folder), start)
        print(f"{name:<11} | {tally}", flush=True)


if __name__ == "__main__":
    run(main)
