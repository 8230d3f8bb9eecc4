"""Samples a second of the training app with one and with two processes of one thread each.

    uv run python tools/bench/scaling.py
    uv run python tools/bench/scaling.py --recipe savi/shapes --steps 60

Both train the recipe with its own batch size, which counts all processes together, so two of them
do the same work in halves. They take turns, several times, and the best of each counts. Two
processes on two free cores come close to 2.0 where the model outweighs the exchange of gradients
(gloo); more than two, and NCCL, have not been measured by this script so far.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
QUIET = ("validation.every", "checkpoint.every", "train.num_steps")


def samples_per_second(recipe: str, steps: int, processes: int) -> float:
    """The best rate between two lines of the log of a run."""
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--num_machines", "1"]
    launcher += ["--num_processes", str(processes), "--mixed_precision", "no"]
    launcher += ["--dynamo_backend", "no", "--main_process_port", "0"]
    launcher += ["--multi_gpu"] if processes > 1 else ["--cpu"]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        command = [*launcher, str(ROOT / "apps" / "train.py"), recipe, "--out", str(out)]
        for key in QUIET:
            command += ["--set", f"{key}={steps}"]
        command += ["--set", "train.num_threads=1", "--set", f"log.every={max(steps // 4, 1)}"]
        command += ["--set", "validation.num_samples=1", "--set", "data.splits.test=null"]
        environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode or f"{processes} process(es) on cpu" not in done.stdout:
            raise SystemExit(f"{recipe} with {processes} process(es) failed:\n{done.stderr}")
        events = map(json.loads, (out / "metrics.jsonl").read_text().splitlines())
        return max(e["samples_per_second"] for e in events if e["kind"] == "train")


def main() -> None:
    """Measure in turns and print the rates and their ratio."""
    parser = argparse.ArgumentParser(description="Compare one process with two.")
    parser.add_argument("--recipe", default="slot_attention/shapes")
    parser.add_argument("--steps", type=int, default=40, help="of one run")
    parser.add_argument("--rounds", type=int, default=2, help="to take the best of")
    told = parser.parse_args()
    best = {1: 0.0, 2: 0.0}
    for _ in range(told.rounds):
        for processes in best:
            rate = samples_per_second(told.recipe, told.steps, processes)
            best[processes] = max(best[processes], rate)
    print(
        f"{told.recipe} on the CPU, one thread a process: {best[1]:.1f} samples/s with 1 process, "
        f"{best[2]:.1f} with 2: {best[2] / best[1]:.2f} times as many"
    )


if __name__ == "__main__":
    main()
