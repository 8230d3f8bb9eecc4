"""What a GPU makes of the papers' own sizes: training steps, reconstruction and sampling in bf16.

    uv run python tools/bench/gpu.py --out tools/bench/results/gpu.json
    uv run python tools/bench/gpu.py --device cpu --batch 1 --turns 1 --minutes 60

The second only tries the script, on a machine without a GPU: with the recipes on ``shapes``, and
compiled without making kernels; ``--backend inductor`` makes them there, too, with a C++ compiler.
What follows is about the first.

Each model is that of its recipe, with first weights, and so are its batch, its optimizer and its
clipping; the pictures are noise that lies on the device already. A training step is one of
apps/train.py: noise for each sample, forward, backward, clipping, Adam, and the loss is read.
Medians of several turns.

Each case has a process of its own, first as it is, then compiled (``model.compile()``), and with
``--recomputing`` training steps once more with gradient checkpointing. Several cases are
made ready side by side, as compiling takes minutes of the processor, as far as they fit into the
memory of the device together; when one is ready the others stand still while it is timed. Its row
is printed, and the file written anew, at once. After ``--minutes`` all ends, and the rows say what
was not ready. Of a case that failed the file keeps the end of what it said. ``graphs`` are those
that were compiled; breaks in them are told, and whether any were made while it was timed.

``--beside`` runs another command meanwhile, a training, say, on the GPU that is idle while the
processor compiles: it stands still while a case is timed, and what it prints comes last.

Floating-point operations are counted by PyTorch's own counter (products, convolutions and, on a
GPU, attention, forward and backward), and divided by the time and by what the device does in a
product of two large matrices in bf16, measured before.
"""

from __future__ import annotations

import json
import math
import os
import shlex
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from gpu_cases import CASES, COMPILED, RECOMPUTING, plain_name, seconds
from gpu_runs import Room, Run

from slot_core.model_card import public_command

WIDTH = 36  # of a name
TITLES = ("batch", "ms", "frames/s", "peak GiB", "TFLOP/s", "share", "ready in s", "graphs")
CHILD = Path(__file__).with_name("gpu_cases.py")
NO_KERNELS = "aot_eager_decomp_partition"  # on the CPU; all but the last step of inductor
PRODUCT = 8192  # rows and columns of the matrices that measure the device
SMALL_PRODUCT = 256  # on the CPU


def main(
    out: Annotated[Path | None, typer.Option(help="file for all that was measured")] = None,
    only: Annotated[list[str] | None, typer.Option(help="names of cases; all if left out")] = None,
    device: Annotated[str, typer.Option(help="cuda, or cpu to try the script")] = "cuda",
    batch: Annotated[int, typer.Option(min=0, help="instead of each case's own")] = 0,
    turns: Annotated[int, typer.Option(min=0, help="instead of each case's own")] = 0,
    compiled: Annotated[bool, typer.Option(help="also compiled")] = True,
    recomputing: Annotated[
        bool, typer.Option("--recomputing", help="also training steps with gradient checkpointing")
    ] = False,
    backend: Annotated[str, typer.Option(help="of torch.compile; the device's own if empty")] = "",
    together: Annotated[
        int, typer.Option(min=0, help="cases made ready side by side; one for two cores if 0")
    ] = 0,
    minutes: Annotated[float, typer.Option(min=0, help="after which all cases end")] = 9.0,
    beside: Annotated[str, typer.Option(help="a command to run meanwhile, to its end")] = "",
    beside_gib: Annotated[float, typer.Option(min=0, help="of the GPU, which that needs")] = 0.0,
) -> None:
    """Time the cases and print a table."""
    end = time.monotonic() + 60 * minutes
    if device == "cuda" and not torch.cuda.is_available():
        raise typer.BadParameter("there is no GPU here; cpu only tries the script")
    for name in only or ():
        if name not in CASES:
            raise typer.BadParameter(f"there is no case '{name}'; there are {', '.join(CASES)}")
    words = shlex.split(beside)
    if words and shutil.which(words[0]) is None:
        raise typer.BadParameter(f"--beside: there is no command {words[0]}")
    names = list(only or CASES)
    trained = [name for name in names if CASES[name].job == "train" and recomputing]
    # What takes longest to compile begins first.
    names += [name + COMPILED for name in reversed(names) if compiled]
    names += [name + RECOMPUTING for name in trained]
    cores = len(os.sched_getaffinity(0))
    together = together or max(cores // 2, 1)
    command = [sys.executable, str(CHILD), "--device", device]
    command += ["--batch", str(batch), "--turns", str(turns)]
    command += ["--backend", backend or ("inductor" if device == "cuda" else NO_KERNELS)]
    # Each process would else compile on all cores; while one traces, others compile.
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = str(max(2 * cores // together, 1))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and end the cases, below

    table = Table(out, device, public_command(words))
    room = Room(together, free_gib(device) - beside_gib)
    with tempfile.TemporaryDirectory() as folder:
        other = [Run("beside", words, Path(folder))] if words else []
        try:
            measure(names, command, Path(folder), room, end, table, other)
            for run in other:
                code = run.process.wait()
                print(f"beside it, still for {run.still:.0f} s, ended with {code}:", flush=True)
                print(run.said.read_text(), end="")
                print(run.errors.read_text(), end="", file=sys.stderr)
        finally:
            for run in other:
                run.end()


class Table:
    """The rows so far, on the screen and in the file."""

    def __init__(self, out: Path | None, device: str, beside: str) -> None:
        self.out = out
        self.peak = product_rate(device)
        self.head = {"device": device_name(device), "torch": torch.__version__, "beside": beside}
        self.rows: list[dict[str, Any]] = []
        size = PRODUCT if device == "cuda" else SMALL_PRODUCT
        product = f"a product of two {size}x{size}: {self.peak:.3g} TFLOP/s"
        print(f"{self.head['device']}, torch {torch.__version__}, bf16, {product}")
        print(" " * WIDTH + "".join(f"{title:>11}" for title in TITLES), flush=True)
        self._write()

    def add(self, row: dict[str, Any]) -> None:
        """One more row: of a case that was timed, or of why it was not."""
        self.rows.append(row)
        if "seconds" in row:
            # Compiled code runs kernels that the counter does not see; the work is the same. And
            # what is done twice to save memory counts once.
            counted = {done["name"]: done.get("operations") for done in self.rows}
            operations = counted.get(plain_name(row["name"]))
            cells = [f"{row['batch']}x{row['frames']}", f"{1000 * row['seconds']:.1f}"]
            cells += [f"{row[key]:.1f}" for key in ("frames_per_second", "peak_gib")]
            if operations:
                row["tflops"] = operations / row["seconds"] / 1e12
                row["share"] = row["tflops"] / self.peak
                cells += [f"{row['tflops']:.1f}", f"{row['share']:.1%}"]
            else:
                cells += ["", ""]
            cells.append(f"{row['ready_in']:.0f}")
            cells.append(str(row["graphs"]) if row["name"].endswith(COMPILED) else "")
            if row["graph_breaks"] or row["late_graphs"]:
                cells.append(f"  {row['graph_breaks']} breaks, {row['late_graphs']} while timed")
            text = "".join(f"{cell:>11}" for cell in cells)
        else:
            text = f"  {row['missing']}"
        print(f"{row['name']:{WIDTH}}{text}", flush=True)
        self._write()

    def _write(self) -> None:
        """Beside its place first: the file is whole whenever it is read."""
        if self.out is None:
            return
        self.out.parent.mkdir(parents=True, exist_ok=True)
        beside = self.out.with_name(self.out.name + ".new")
        said = {**self.head, "product_tflops": self.peak, "rows": self.rows}
        beside.write_text(json.dumps(said, indent=1) + "\n")
        beside.replace(self.out)


def measure(
    names: Sequence[str],
    command: Sequence[str],
    folder: Path,
    room: Room,
    end: float,
    table: Table,
    beside: Sequence[Run],
) -> None:
    """Make cases ready side by side, and time each when it is, until ``end``; those ``beside`` do
    something else."""
    waiting, alive = list(names), list[Run]()
    try:
        while waiting or alive:
            if time.monotonic() < end:
                name = room.first_fit(waiting, [run.name for run in alive])
                if name is not None:
                    waiting.remove(name)
                    alive.append(Run(name, [*command, name], folder))
                    continue
            ready = next((run for run in alive if run.ended or run.lines()), None)
            if ready is not None:
                alive.remove(ready)
                try:
                    table.add(timed(ready, [*alive, *beside], end))
                finally:
                    ready.end()
            elif time.monotonic() >= end:
                break
            else:
                time.sleep(0.05)
        for run in alive:
            table.add({"name": run.name, "missing": f"not ready in {run.age:.0f} s"})
        for name in waiting:
            table.add({"name": name, "missing": "not begun in time"})
    finally:
        for run in alive:
            run.end()


def timed(ready: Run, others: list[Run], end: float) -> dict[str, Any]:
    """The row of a case that is ready, or that failed, while the others stand still."""
    age = ready.age
    for run in others:
        run.send(signal.SIGSTOP)
    try:
        if ready.lines():
            ready.go()
        while not ready.ended and time.monotonic() < end:
            time.sleep(0.05)
        if not ready.ended:
            missing = f"ready in {age:.0f} s, not timed in {ready.age - age:.0f} s"
            return {"name": ready.name, "missing": missing}
        lines = ready.lines()
        if ready.process.returncode or len(lines) != 2:
            return {"name": ready.name, **ready.failure()}
        return {**json.loads(lines[1]), "ready_in": age}
    finally:
        for run in others:
            run.still += ready.age - age
            run.send(signal.SIGCONT)


def product_rate(device: str) -> float:
    """TFLOP/s of a large product of random matrices in bf16."""
    size = PRODUCT if device == "cuda" else SMALL_PRODUCT
    left, right = (torch.randn(size, size, device=device).bfloat16() for _ in range(2))
    torch.mm(left, right)
    taken = statistics.median(seconds(lambda: torch.mm(left, right), device) for _ in range(20))
    return 2 * size**3 / taken / 1e12


def free_gib(device: str) -> float:
    """Of its memory; on the CPU what is there is enough."""
    return torch.cuda.mem_get_info()[0] / 2**30 if device == "cuda" else math.inf


def device_name(device: str) -> str:
    """As its maker calls it."""
    return torch.cuda.get_device_name() if device == "cuda" else "the CPU"


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    app()
