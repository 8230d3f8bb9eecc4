"""What a GPU makes of the papers' own sizes: training steps, reconstruction and sampling in bf16.

    uv run python tools/bench/gpu.py --out tools/bench/results/gpu.json
    uv run python tools/bench/gpu.py --device cpu --batch 1 --turns 1 --minutes 60

The second only tries the script, on a machine without a GPU: with the recipes on ``shapes``, and
compiled without making kernels. What follows is about the first.

Each model is that of its recipe, with first weights, and so are its batch, its optimizer and its
clipping; the pictures are noise that lies on the device already. A training step is one of
apps/train.py: noise for each sample, forward, backward, clipping, Adam, and the loss is read.
Medians of several turns.

Each case has a process of its own, first as it is, then compiled (``model.compile()``). Several are
made ready side by side, as compiling takes minutes of the processor; when one is ready the others
stand still while it is timed. Its row is printed, and the file written anew, at once. After
``--minutes`` all ends, and the rows say what was not ready.

Floating-point operations are counted by PyTorch's own counter (products and convolutions, forward
and backward), and divided by the time and by what the device does in a product of two large
matrices in bf16, measured before.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
import typer
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "apps"))

from slot_core.noise import sample_generators  # noqa: E402
from slot_decoders.models import build_model  # noqa: E402
from support.optimizers import build_optimizer  # noqa: E402  (the path to it is set above)
from support.options import RunOptions, load_options  # noqa: E402

COMPILED = "+compiled"
TITLES = ("batch", "ms", "frames/s", "peak GiB", "TFLOP/s", "share", "ready in s")
PRODUCT = 8192  # rows and columns of the matrices that measure the device
SMALL_PRODUCT = 256  # on the CPU
STEPS = 20  # of DPM-Solver


class Case(NamedTuple):
    """One thing to time: ``batch`` videos of ``frames`` frames; the recipe's batch if 0."""

    recipe: str
    job: str
    batch: int = 0
    frames: int = 1
    turns: int = 10


CASES = {
    "slot_attention-train": Case("slot_attention/clevrtex", "train"),
    "slate-train": Case("slate/clevrtex", "train"),
    "slate-reconstruct": Case("slate/clevrtex", "reconstruct", batch=64, turns=3),
    "steve-train": Case("steve/movi_e", "train", frames=3),
    "steve-reconstruct": Case("steve/movi_e", "reconstruct", batch=16, frames=3, turns=3),
    "slot_diffusion-train": Case("slot_diffusion/clevrtex", "train"),
    "slot_diffusion-sample": Case("slot_diffusion/clevrtex", "sample", batch=8, turns=5),
}


def main(
    out: Annotated[Path | None, typer.Option(help="file for all that was measured")] = None,
    only: Annotated[list[str] | None, typer.Option(help="names of cases; all if left out")] = None,
    device: Annotated[str, typer.Option(help="cuda, or cpu to try the script")] = "cuda",
    batch: Annotated[int, typer.Option(min=0, help="instead of each case's own")] = 0,
    turns: Annotated[int, typer.Option(min=0, help="instead of each case's own")] = 0,
    compiled: Annotated[bool, typer.Option(help="also compiled")] = True,
    together: Annotated[
        int, typer.Option(min=0, help="cases made ready side by side; one for two cores if 0")
    ] = 0,
    minutes: Annotated[float, typer.Option(min=0, help="after which all ends")] = 9.0,
    child: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Time the cases and print a table."""
    if child:
        _child(child, device, batch, turns)
        return
    end = time.monotonic() + 60 * minutes
    if device == "cuda" and not torch.cuda.is_available():
        raise typer.BadParameter("there is no GPU here; cpu only tries the script")
    for name in only or ():
        if name not in CASES:
            raise typer.BadParameter(f"there is no case '{name}'; there are {', '.join(CASES)}")
    names = list(only or CASES)
    names += [name + COMPILED for name in names if compiled]
    cores = len(os.sched_getaffinity(0))
    together = together or max(cores // 2, 1)
    arguments = ["--device", device, "--batch", str(batch), "--turns", str(turns)]
    # Each process would else compile on all cores; while one traces, others compile.
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = str(max(2 * cores // together, 1))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and end the cases, below

    table = Table(out, device)
    with tempfile.TemporaryDirectory() as folder:
        measure(deque(names), arguments, Path(folder), together, end, table)


class Table:
    """The rows so far, on the screen and in the file."""

    def __init__(self, out: Path | None, device: str) -> None:
        self.out = out
        self.peak = product_rate(device)
        self.head = {"device": device_name(device), "torch": torch.__version__}
        self.rows: list[dict[str, Any]] = []
        size = PRODUCT if device == "cuda" else SMALL_PRODUCT
        product = f"a product of two {size}x{size}: {self.peak:.3g} TFLOP/s"
        print(f"{self.head['device']}, torch {torch.__version__}, bf16, {product}")
        print(" " * 32 + "".join(f"{title:>11}" for title in TITLES), flush=True)
        self._write()

    def add(self, row: dict[str, Any]) -> None:
        """One more row: of a case that was timed, or of why it was not."""
        self.rows.append(row)
        if "seconds" in row:
            # Compiled code runs kernels that the counter does not see; the work is the same.
            counted = {done["name"]: done.get("operations") for done in self.rows}
            operations = counted.get(row["name"].removesuffix(COMPILED))
            cells = [f"{row['batch']}x{row['frames']}", f"{1000 * row['seconds']:.1f}"]
            cells += [f"{row[key]:.1f}" for key in ("frames_per_second", "peak_gib")]
            if operations:
                row["tflops"] = operations / row["seconds"] / 1e12
                row["share"] = row["tflops"] / self.peak
                cells += [f"{row['tflops']:.1f}", f"{row['share']:.1%}"]
            else:
                cells += ["", ""]
            cells.append(f"{row['ready_in']:.0f}")
            text = "".join(f"{cell:>11}" for cell in cells)
        else:
            text = f"  {row['missing']}"
        print(f"{row['name']:32}{text}", flush=True)
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


class Run:
    """One case in a process of its own, which leads a group of processes; its words go to files."""

    def __init__(self, name: str, arguments: Sequence[str], folder: Path) -> None:
        self.name = name
        self.since = time.monotonic()
        self.said, self.errors = folder / f"{name}.out", folder / f"{name}.err"
        with self.said.open("wb") as said, self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, __file__, "--child", name, *arguments],
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=errors,
                process_group=0,
            )

    @property
    def age(self) -> float:
        """Seconds since its start."""
        return time.monotonic() - self.since

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

    def failure(self) -> str:
        """The last line of its errors."""
        lines = self.errors.read_text(errors="replace").strip().splitlines()
        return f"failed: {lines[-1] if lines else f'exit code {self.process.returncode}'}"


def measure(
    names: deque[str],
    arguments: Sequence[str],
    folder: Path,
    together: int,
    end: float,
    table: Table,
) -> None:
    """Make cases ready side by side, and time each when it is, until ``end``."""
    alive: list[Run] = []
    try:
        while names or alive:
            while names and len(alive) < together and time.monotonic() < end:
                alive.append(Run(names.popleft(), arguments, folder))
            ready = next((run for run in alive if run.ended or run.lines()), None)
            if ready is not None:
                alive.remove(ready)
                try:
                    table.add(timed(ready, alive, end))
                finally:
                    ready.end()
            elif time.monotonic() >= end:
                break
            else:
                time.sleep(0.05)
        for run in alive:
            table.add({"name": run.name, "missing": f"not ready in {run.age:.0f} s"})
        for name in names:
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
            return {"name": ready.name, "missing": ready.failure()}
        return {**json.loads(lines[1]), "ready_in": age}
    finally:
        for run in others:
            run.since += ready.age - age  # it did not work meanwhile
            run.send(signal.SIGCONT)


def _child(name: str, device: str, batch: int, turns: int) -> None:
    """Make one case ready, wait for a line, and print what is measured as JSON."""
    case = CASES[name.removesuffix(COMPILED)]
    recipe = case.recipe if device == "cuda" else f"{case.recipe.split('/')[0]}/shapes"
    options = load_options(recipe)
    batch = batch or case.batch or options.train.batch_size
    case = case._replace(recipe=recipe, batch=batch, turns=turns or case.turns)
    compiled = name.endswith(COMPILED)
    action = prepare(case, options, device, compiled=compiled)
    counter = FlopCounterMode(display=False)
    with nullcontext() if compiled else counter:
        action()
    action()
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
    print("ready", flush=True)
    if not sys.stdin.readline():
        return  # whoever waited for it is no more
    action()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    taken = statistics.median(seconds(action, device) for _ in range(case.turns))
    row = {
        "name": name,
        "recipe": case.recipe,
        "batch": case.batch,
        "frames": case.frames,
        "seconds": taken,
        "frames_per_second": case.batch * case.frames / taken,
        "peak_gib": torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else 0.0,
        "operations": counter.get_total_flops(),
    }
    print(json.dumps(row), flush=True)


def prepare(
    case: Case, options: RunOptions, device: str, *, compiled: bool
) -> Callable[[], object]:
    """The action to time."""
    torch.manual_seed(0)
    model: Any = build_model(options.model)
    optimizer = build_optimizer(model, options.optimizer)
    model.to(device)
    size = model.config.preprocessing.image_size
    video = torch.rand(case.batch, case.frames, 3, *size, device=device)
    low = torch.autocast(device, torch.bfloat16)
    if compiled:
        model.compile(backend="inductor" if device == "cuda" else "aot_eager")
    if case.job == "train":
        model.train()
        ids = [str(number) for number in range(case.batch)]

        def train() -> float:
            own = sample_generators(0, 0, ids, device)
            with low:
                losses = model(video, generator=own)
            losses.total.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), options.optimizer.clip_norm or 1.0)
            optimizer.step()
            optimizer.zero_grad()
            return float(losses.total.detach())

        return train
    # Of weights that can learn, PyTorch's counter wants a graph, and there is none here.
    model.eval().requires_grad_(False)
    # PyTorch's own shortcut for transformer layers without gradients errs under CPU autocast.
    torch.backends.mha.set_fastpath_enabled(False)
    if case.job == "reconstruct":

        def reconstruct() -> None:
            with low:
                model.reconstruct(video)

        return reconstruct
    shape = (case.batch, case.frames, model.num_slots, model.config.slot_dim)
    slots = torch.randn(shape, device=device)

    def sample() -> None:
        with low:
            model.sample(slots, num_steps=STEPS)

    return sample


def product_rate(device: str) -> float:
    """TFLOP/s of a large product of random matrices in bf16."""
    size = PRODUCT if device == "cuda" else SMALL_PRODUCT
    left, right = (torch.randn(size, size, device=device).bfloat16() for _ in range(2))
    torch.mm(left, right)
    taken = statistics.median(seconds(lambda: torch.mm(left, right), device) for _ in range(20))
    return 2 * size**3 / taken / 1e12


def seconds(action: Callable[[], object], device: str) -> float:
    """How long ``action`` takes, until it is done on the device."""
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    action()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def device_name(device: str) -> str:
    """As its maker calls it."""
    return torch.cuda.get_device_name() if device == "cuda" else "the CPU"


if __name__ == "__main__":
    typer.run(main)
