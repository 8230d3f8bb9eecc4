"""Memory and step time of a long training of a tiny model: both must stay flat.

    uv run python tools/bench/long_run.py --picture tools/bench/long_run.png

It trains 20,000 steps on `shapes` with two loader workers, validates and saves on the way, and
looks once a second at the resident memory of the process and of its workers, and at the processor's
time that the process has taken (from /proc): other work on the machine does not lengthen that. Both
are printed of the second tenth of the run and of the last.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from matplotlib import pyplot

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "apps" / "tests"))

from tiny_run import TINY  # noqa: E402  (the path to it is set above)

CHANGES = {
    "data.num_samples": None,  # as many as the dataset has
    "data.num_workers": 2,
    "train.ema_decay": 0.99,
    "validation.num_samples": 16,
    "validation.num_pictures": 2,
    "log.every": 50,
}
PAGE, TICKS = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")
SPANS = 40  # over each of which the steps' time is averaged


class Look(NamedTuple):
    """What was seen at one moment: MiB, and seconds of the processor since the start."""

    step: int
    process: float
    workers: float
    seconds: float


def memory(process: int) -> tuple[float, float]:
    """MiB of a process, and of its children together."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return resident(process), sum(resident(int(child)) for child in children)


def resident(process: int) -> float:
    """MiB of one process; 0 once it has ended."""
    try:
        pages = Path(f"/proc/{process}/statm").read_text().split()
    except OSError:
        return 0.0
    return int(pages[1]) * PAGE / 2**20


def processor_seconds(process: int) -> float:
    """User and system time of a process without its children."""
    after_name = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / TICKS


def observe(steps: int, out: Path) -> list[Look]:
    """A training, looked at once a second."""
    changes = {**TINY, **CHANGES, "train.num_steps": steps}
    changes |= {"validation.every": steps // 20, "checkpoint.every": steps // 20}
    command = [sys.executable, str(ROOT / "apps" / "train.py"), "--out", str(out)]
    for key, value in changes.items():
        command += ["--set", f"{key}={json.dumps(value)}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*command, "--set", "data.splits.test=null"],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    seen: list[Look] = []
    while process.poll() is None:
        time.sleep(1)
        lines = trained(out)
        if lines and process.poll() is None:
            whole, workers = memory(process.pid)
            if workers:  # they end before it does
                taken = processor_seconds(process.pid)
                seen.append(Look(int(lines[-1]["step"]), whole, workers, taken))
    if process.returncode:
        raise SystemExit(f"the training ended with {process.returncode}")
    return seen


def step_times(seen: list[Look]) -> list[tuple[int, float]]:
    """Milliseconds of the processor for a step, validation and saving included, span by span."""
    times, begun = [], seen[0]
    for look in seen:
        if look.step - begun.step >= max(seen[-1].step // SPANS, 1):
            taken = look.seconds - begun.seconds
            times.append((look.step, 1e3 * taken / (look.step - begun.step)))
            begun = look
    return times


def trained(out: Path) -> list[dict[str, float]]:
    """The lines of training in a log that may be being written."""
    log = out / "metrics.jsonl"
    whole = log.read_text().rpartition("\n")[0].splitlines() if log.exists() else []
    return [event for event in map(json.loads, whole) if event["kind"] == "train"]


def draw(path: Path, seen: list[Look]) -> None:
    """Memory and step time against the step, one above the other."""
    figure, (above, below) = pyplot.subplots(2, 1, figsize=(7, 5), sharex=True)
    steps = [look.step for look in seen]
    above.plot(steps, [look.process for look in seen], label="process")
    above.plot(steps, [look.workers for look in seen], label="two loader workers")
    most = max(max(look.process, look.workers) for look in seen)
    above.set(ylabel="resident memory, MiB", ylim=(0, 1.1 * most))
    above.legend(loc="lower right", frameon=False)
    below.plot(*zip(*step_times(seen), strict=True))
    below.set(xlabel="step", ylabel="a step, ms of the processor", ylim=(0, None))
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Train, print, and draw."""
    parser = argparse.ArgumentParser(description="Watch a long training.")
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--picture", type=Path, help="where to draw the two curves")
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        seen = observe(told.steps, Path(folder) / "run")
    tenth = max(len(seen) // 10, 1)
    early, late = seen[tenth : 2 * tenth] or seen, seen[-tenth:]
    for name in ("process", "workers"):
        before, after = (
            statistics.median(getattr(look, name) for look in part) for part in (early, late)
        )
        print(f"{name}: {before:.0f} MiB in the second tenth, {after:.0f} MiB in the last")
    times = [taken for _, taken in step_times(seen)]
    tenth = max(len(times) // 10, 1)
    before, after = (statistics.median(p) for p in (times[tenth : 2 * tenth], times[-tenth:]))
    print(f"step: {before:.1f} ms of the processor in the second tenth, {after:.1f} ms in the last")
    if told.picture:
        draw(told.picture, seen)


if __name__ == "__main__":
    main()
