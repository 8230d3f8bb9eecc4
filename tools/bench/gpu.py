"""What a GPU makes of the papers' own sizes: training steps, reconstruction and sampling in bf16.

    uv run python tools/bench/gpu.py --out tools/bench/results/gpu.json

Each model is that of its recipe, with first weights, and so are its batch, its optimizer and its
clipping; the pictures are noise that lies on the device already. A training step is one of
apps/train.py: noise for each sample, forward, backward, clipping, Adam, and the loss is read. Each
case is run as it is and compiled; all are made ready side by side, as compiling takes minutes of
the processor, and timed one after the other while the rest waits. Medians of several turns.

Floating-point operations are counted by PyTorch's own counter (products and convolutions, forward
and backward), and divided by the time and by what the device does in a product of two large
matrices in bf16, measured in the same run.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
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

PRODUCT = 8192  # rows and columns of the matrices that measure the device
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
    compiled: Annotated[bool, typer.Option(help="also compiled")] = True,
    together: Annotated[int, typer.Option(min=1, help="cases made ready side by side")] = 4,
    child: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Time the cases and print a table."""
    if child:
        _child(child, device, batch)
        return
    if device == "cuda" and not torch.cuda.is_available():
        raise typer.BadParameter("there is no GPU here; cpu only tries the script")
    for name in only or ():
        if name not in CASES:
            raise typer.BadParameter(f"there is no case '{name}'; there are {', '.join(CASES)}")
    names = [f"{name}{way}" for name in only or CASES for way in ("", "+compiled")[: 1 + compiled]]
    options = ["--device", device, "--batch", str(batch)]

    # Each process would else compile on all cores.
    cores = {"TORCHINDUCTOR_COMPILE_THREADS": str(max((os.cpu_count() or 1) // together, 1))}

    def start(name: str) -> tuple[subprocess.Popen[str], str]:
        command = [sys.executable, __file__, "--child", name, *options]
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **cores},
        )
        assert process.stdout is not None
        return process, process.stdout.readline().strip()

    with ThreadPoolExecutor(together) as pool:
        ready = dict(zip(names, pool.map(start, names), strict=True))
    rows = []
    for name, (process, answer) in ready.items():
        if answer != "ready":
            process.wait()
            print(f"{name:32} failed: {answer}")
            continue
        rows.append(json.loads(process.communicate("go\n")[0]))
    peak = product_rate(device)
    print(f"{device_name(device)}, bf16, a product of two large matrices: {peak:.0f} TFLOP/s")
    titles = ("batch", "ms", "frames/s", "peak GiB", "TFLOP/s", "share")
    print(" " * 32 + "".join(f"{title:>10}" for title in titles))
    operations = {row["name"]: row["operations"] for row in rows}
    for row in rows:
        # Compiled code runs kernels that the counter does not see; the work is the same.
        counted = operations.get(row["name"].removesuffix("+compiled"), row["operations"])
        row["tflops"] = counted / row["seconds"] / 1e12
        row["share"] = row["tflops"] / peak
        cells = [f"{row['batch']}x{row['frames']}", f"{1000 * row['seconds']:.1f}"]
        cells += [f"{row[key]:.1f}" for key in ("frames_per_second", "peak_gib", "tflops")]
        print(f"{row['name']:32}" + "".join(f"{c:>10}" for c in [*cells, f"{row['share']:.1%}"]))
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        head = {"device": device_name(device), "torch": torch.__version__, "product_tflops": peak}
        out.write_text(json.dumps({**head, "rows": rows}, indent=1) + "\n")


def _child(name: str, device: str, batch: int) -> None:
    """Make one case ready, wait for a line, and print what is measured as JSON."""
    case = CASES[name.removesuffix("+compiled")]
    options = load_options(case.recipe)
    case = case._replace(batch=batch or case.batch or options.train.batch_size)
    action = prepare(case, options, device, compiled=name.endswith("+compiled"))
    counter = FlopCounterMode(display=False)
    if name.endswith("+compiled"):
        action()
    else:
        with counter:
            action()
    action()
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
    print("ready", flush=True)
    sys.stdin.readline()
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
    if case.job == "train":
        model.train()
        if compiled:
            model.compile()
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
    decoder = model.decoder
    if case.job == "reconstruct":
        if compiled:
            decoder.step = torch.compile(decoder.step)

        def reconstruct() -> None:
            with low:
                model.reconstruct(video)

        return reconstruct
    if compiled:
        decoder.denoiser.compile()
    shape = (case.batch, case.frames, model.num_slots, model.config.slot_dim)
    slots = torch.randn(shape, device=device)

    def sample() -> None:
        with low:
            model.sample(slots, num_steps=STEPS)

    return sample


def product_rate(device: str) -> float:
    """TFLOP/s of a large product of random matrices in bf16."""
    size = PRODUCT if device == "cuda" else 256
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
