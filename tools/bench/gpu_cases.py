"""One case of gpu.py, in a process of its own: what it is, and how it is made ready and timed.

    python tools/bench/gpu_cases.py steve-train+compiled

It says ``ready``, waits for a line, times itself, and prints what it found as JSON.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
import typer
from torch._dynamo.utils import counters
from torch.utils.flop_counter import FlopCounterMode

sys.path.append(str(Path(__file__).parents[2] / "apps"))

from slot_core.noise import sample_generators
from slot_decoders.models import build_model
from support.optimizers import build_optimizer
from support.options import RunOptions, load_options

COMPILED = "+compiled"
RECOMPUTING = "+recomputing"  # with gradient checkpointing
STEPS = 20  # of DPM-Solver


class Case(NamedTuple):
    """One thing to time: ``batch`` videos of ``frames`` frames; the recipe's batch if 0.

    It needs about ``gib`` GiB of a GPU, with what PyTorch keeps for itself.
    """

    recipe: str
    job: str
    gib: int
    batch: int = 0
    frames: int = 1
    turns: int = 10


CASES = {
    "slot_attention-train": Case("slot_attention/clevrtex", "train", 18),
    "slate-train": Case("slate/clevrtex", "train", 16),
    "slate-reconstruct": Case("slate/clevrtex", "reconstruct", 6, batch=64, turns=3),
    "steve-train": Case("steve/movi_e", "train", 22, frames=3),
    "steve-reconstruct": Case("steve/movi_e", "reconstruct", 6, batch=16, frames=3, turns=3),
    "slot_diffusion-train": Case("slot_diffusion/clevrtex", "train", 16),
    "slot_diffusion-sample": Case("slot_diffusion/clevrtex", "sample", 3, batch=8, turns=5),
}


def case_of(name: str) -> Case:
    """That of a name, however it is done."""
    return CASES[plain_name(name)]


def plain_name(name: str) -> str:
    """That of the case as it is."""
    return name.partition("+")[0]


def main(
    name: str, device: str = "cuda", batch: int = 0, turns: int = 0, backend: str = "inductor"
) -> None:
    """Make one case ready, wait for a line, and print what is measured as JSON."""
    case = case_of(name)
    recipe = case.recipe if device == "cuda" else f"{case.recipe.split('/')[0]}/shapes"
    options = load_options(recipe)
    batch = batch or case.batch or options.train.batch_size
    case = case._replace(recipe=recipe, batch=batch, turns=turns or case.turns)
    compiled = name.endswith(COMPILED)
    action = prepare(
        case,
        options,
        device,
        backend if compiled else None,
        recomputing=name.endswith(RECOMPUTING),
    )
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
    graphs = _compiled_graphs()
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
        "graphs": graphs,
        "late_graphs": _compiled_graphs() - graphs,
        "graph_breaks": sum(counters["graph_break"].values()),
    }
    print(json.dumps(row), flush=True)


def _compiled_graphs() -> int:
    """How many there are in this process."""
    return counters["stats"]["unique_graphs"]


def prepare(
    case: Case, options: RunOptions, device: str, backend: str | None, *, recomputing: bool
) -> Callable[[], object]:
    """The action to time, compiled if there is a ``backend``."""
    torch.manual_seed(0)
    model: Any = build_model(options.model)
    optimizer = build_optimizer(model, options.optimizer)
    model.to(device)
    size = model.config.preprocessing.image_size
    video = torch.rand(case.batch, case.frames, 3, *size, device=device)
    low = torch.autocast(device, torch.bfloat16)
    if backend is not None:
        # Else a part that was compiled too often would quietly run as it is.
        torch._dynamo.config.fail_on_recompile_limit_hit = True
        model.compile(backend=backend)
    if recomputing:
        model.enable_gradient_checkpointing()
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


def seconds(action: Callable[[], object], device: str) -> float:
    """How long ``action`` takes, until it is done on the device."""
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    action()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


if __name__ == "__main__":
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(main)
    app()
