"""Samples a second of the training app with one and with two processes of one thread each, or what
a step's time is spent on.

    uv run python tools/bench/scaling.py
    uv run python tools/bench/scaling.py --recipe savi/shapes --steps 60
    uv run python tools/bench/scaling.py --split --steps 200 --workers 8 --image-size 128

The first two train the recipe with its own batch size, which counts all processes together, so two
processes do the same work in halves. They take turns, several times, and the best of each counts.
Two processes on two free cores come close to 2.0 where the model outweighs the exchange of
gradients (gloo); more than two, and NCCL, have not been measured by this script so far.

``--split`` trains in one process on the GPU, or the CPU where there is none. It draws textured
shapes, prepares them with ``slot-data prepare --cache``, and divides the time from one batch to
the next into waiting for data, handing it to the device, the forward pass, the backward pass, the
optimizer (with clipping and the average of the weights), and the rest (the agreement of processes,
the log). On a GPU the times are those at which its queue reached each part, by CUDA events, so
measuring makes nobody wait, and waiting for data is what the GPU stood idle for.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from PIL import Image
from torch.utils.data import DataLoader

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "apps"))

import train  # noqa: E402  (the path to it is set above)
from slot_data import load_dataset_by_name  # noqa: E402
from support.command_line import run  # noqa: E402

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


PARTS: tuple[str, ...] = ("data wait", "to the device", "forward", "backward", "optimizer", "rest")
WARM_UP = 10  # batches that are not counted


class Timeline:
    """Which part of a step begins when, as the device sees it."""

    def __init__(self) -> None:
        self.device = torch.device("cpu")
        self.marks: list[tuple[str, Any]] = []

    def mark(self, part: str) -> None:
        """``part`` begins."""
        moment: Any = time.perf_counter()
        if self.device.type == "cuda":
            moment = torch.cuda.Event(enable_timing=True)
            moment.record()
        self.marks.append((part, moment))

    def before(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """``function``, whose call begins ``part``."""

        def wrapped(*arguments: Any, **options: Any) -> Any:
            self.mark(part)
            return function(*arguments, **options)

        return wrapped

    def after(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """``function``, whose end begins ``part``."""

        def wrapped(*arguments: Any, **options: Any) -> Any:
            result = function(*arguments, **options)
            self.mark(part)
            return result

        return wrapped

    def seconds(self) -> tuple[dict[str, float], int]:
        """Of each part, and of how many batches, from the end of the warm-up to the last batch."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        batches = [place for place, (part, _) in enumerate(self.marks) if part == PARTS[0]]
        counted = self.marks[batches[WARM_UP] : batches[-1] + 1]
        found = dict.fromkeys(PARTS, 0.0)
        for (part, begun), (_, ended) in pairwise(counted):
            cuda = self.device.type == "cuda"
            found[part] += begun.elapsed_time(ended) / 1e3 if cuda else ended - begun
        return found, len(batches) - 1 - WARM_UP


def watch(timeline: Timeline) -> None:
    """Make the training app mark the parts of its steps."""

    class Watched(Accelerator):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            timeline.device = self.device
            self.backward = timeline.before("backward", timeline.after("rest", self.backward))
            self.clip_grad_norm_ = timeline.before("optimizer", self.clip_grad_norm_)

    class Waiting(DataLoader[Any]):
        def __iter__(self) -> Iterator[Any]:
            batches = super().__iter__()
            while True:
                timeline.mark("data wait")
                batch = next(batches, None)
                timeline.mark("to the device")
                if batch is None:
                    return
                yield batch

    def build(*arguments: Any) -> torch.optim.Optimizer:
        optimizer = build_optimizer(*arguments)
        optimizer.register_step_pre_hook(lambda *_: timeline.mark("optimizer"))
        return optimizer

    build_optimizer = train.build_optimizer
    train.build_optimizer, train.Accelerator, train.DataLoader = build, Watched, Waiting
    # What stands in the loop before the model is called, and after the weights have changed.
    train.sample_generators = timeline.after("forward", train.sample_generators)
    train.Throughput.add = timeline.before("rest", train.Throughput.add)


def prepare(out: Path, raw: Path, size: int, samples: int, frames: int) -> None:
    """Textured shapes, as pictures or as videos of ``frames`` frames, drawn to ``raw`` and prepared
    in ``out``."""
    shapes = load_dataset_by_name(
        "shapes", split="train", level="textured", image_size=size, num_samples=samples,
        num_frames=frames,
    )  # fmt: skip
    for number in range(samples):
        for frame, picture in enumerate(shapes[number]["video"].numpy()):
            name = f"{number:06d}/{frame:04d}.png" if frames > 1 else f"{number:06d}.png"
            # Divided here, so that there are held-out ones however few are drawn.
            split = "validation" if number < 2 else "train"
            path = raw / split / "images" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture.transpose(1, 2, 0)).save(path)
    command = [sys.executable, "-c", "from slot_data.cli import main; main()", "prepare", "folder"]
    command += ["--source", str(raw), "--out", str(out), "--cache"]
    command += ["--split", "train", "--split", "validation", "--option", f"image_size={size}"]
    command += ["--option", f"num_frames={frames}"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"the data could not be prepared:\n{done.stderr}")


def split_of_a_step(told: Namespace) -> None:
    """Train on prepared data and print what each part of a step takes."""
    timeline = Timeline()
    watch(timeline)
    with tempfile.TemporaryDirectory() as folder:
        root = told.prepared or Path(folder) / "prepared"
        if not root.exists():
            prepare(root, Path(folder) / "raw", told.image_size, told.samples, told.frames)
        data = {"name": "folder", "root": str(root), "image_size": told.image_size}
        data |= {"num_frames": told.frames, "num_workers": told.workers, "splits": {"test": None}}
        steps = told.steps + WARM_UP + 1
        changes = [f"data={json.dumps(data)}", "validation.num_samples=2", "train.num_threads=1"]
        changes += [*(f"{key}={steps}" for key in QUIET), *told.set]
        train_app(told.recipe, Path(folder) / "run", changes)
    seconds, batches = timeline.seconds()
    whole = sum(seconds.values())
    name = "the CPU"
    if timeline.device.type == "cuda":
        name = torch.cuda.get_device_name(timeline.device)
    print(
        f"{told.recipe} on {name}, {told.workers} loader worker(s), {told.frames} frame(s) of "
        f"{told.image_size}x{told.image_size}: {1e3 * whole / batches:.1f} ms from batch to batch, "
        f"the mean of {batches}"
    )
    print("| part | ms | share |")
    print("|---|---|---|")
    for part in PARTS:
        print(f"| {part} | {1e3 * seconds[part] / batches:.2f} | {seconds[part] / whole:.1%} |")


def train_app(recipe: str, out: Path, changes: Sequence[str]) -> None:
    """The training app in this process; ends this one if it fails."""
    words = [recipe, "--out", str(out)]
    for change in changes:
        words += ["--set", change]
    try:
        run(train.main, words)
    except SystemExit as end:
        if end.code:
            raise


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Compare one process with two, or split a step.")
    parser.add_argument("--recipe", default="slot_attention/shapes")
    parser.add_argument("--steps", type=int, default=40, help="of one run")
    parser.add_argument("--rounds", type=int, default=2, help="to take the best of")
    parser.add_argument("--split", action="store_true", help="a step's time into its parts")
    parser.add_argument("--workers", type=int, default=2, help="that load data, of --split")
    parser.add_argument("--image-size", type=int, default=64, help="of the data of --split")
    parser.add_argument("--frames", type=int, default=1, help="of the data of --split")
    parser.add_argument("--samples", type=int, default=2000, help="of the data of --split")
    parser.add_argument("--prepared", type=Path, help="the data of --split: made there, or found")
    parser.add_argument(
        "--set", action="append", default=[], help="an option of the run of --split"
    )
    told = parser.parse_args()
    if told.split:
        split_of_a_step(told)
    else:
        compare_processes(told)


def compare_processes(told: Namespace) -> None:
    """Measure in turns and print the rates and their ratio."""
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
