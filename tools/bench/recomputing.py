"""What gradient checkpointing saves and costs, family by family, in one run on the CPU.

    uv run python tools/bench/recomputing.py

The models are those of the presets, at a small size of pictures. A training step is done without
and with ``enable_gradient_checkpointing``, in turns. Printed are, without it and with it and as
ratios: the bytes that the forward pass keeps for the backward pass; the peak of all tensors that
there are at once beside weights and their gradients, as PyTorch's profiler sees them allocated and
freed; how many of PyTorch's operations a step starts, which a GPU waits for where they are small;
and the processor time of a step, the median over the turns.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler tells of its own beginning and end

import torch
import typer
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from slot_core.recomputing import kept_bytes
from slot_decoders.models import presets

MB = 1e6


class Case(NamedTuple):
    """A preset, and how many videos of how many frames it trains on at once."""

    preset: Callable[..., Any]
    batch: int
    frames: int = 1


CASES = {
    "slot_attention": Case(presets.slot_attention, 4),
    "savi": Case(presets.savi, 1, 6),
    "slate": Case(presets.slate, 4),
    "steve": Case(presets.steve, 1, 6),
    "slot_diffusion": Case(presets.slot_diffusion, 4),
    "slot_diffusion, videos": Case(presets.slot_diffusion, 1, 6),
    "slot_former": Case(presets.slot_former, 2, 20),
    "dvae": Case(presets.dvae, 4),
    "vqvae": Case(presets.vqvae, 4),
}


def main(
    only: Annotated[
        list[str] | None, typer.Option(help="names of families; all if left out")
    ] = None,
    size: Annotated[int, typer.Option(help="height and width of the pictures")] = 64,
    turns: Annotated[int, typer.Option(min=1)] = 3,
    threads: Annotated[int, typer.Option(min=1)] = 1,
) -> None:
    """Measure the families and print a table."""
    torch.set_num_threads(threads)
    for name in only or ():
        if name not in CASES:
            raise typer.BadParameter(f"there is no family '{name}'; there are {', '.join(CASES)}")
    print(f"{size}x{size} pixels, {turns} turns, {threads} thread(s)")
    print(
        f"{'':24}{'batch':>6}{'kept, MB':>24}{'peak, MB':>24}{'operations':>24}{'CPU-seconds':>22}"
    )
    for name in only or CASES:
        case = CASES[name]
        cells = [f"{case.batch}x{case.frames}".rjust(6)]
        for values, digits, width in zip(
            measured(case, size, turns), (0, 0, 0, 2), (24, 24, 24, 22), strict=True
        ):
            plain, again = values
            text = f"{plain:.{digits}f} > {again:.{digits}f} ({again / plain:.2f})"
            cells.append(text.rjust(width))
        print(f"{name:24}{''.join(cells)}", flush=True)


def measured(case: Case, size: int, turns: int) -> list[tuple[float, float]]:
    """Megabytes kept, megabytes at the peak, operations and seconds, each without and with."""
    steps = [step_of(case, size, recomputing=recomputing) for recomputing in (False, True)]
    kept = [kept_bytes(model, forward) / MB for model, forward, _ in steps]
    peaks = [peak_bytes(step) / MB for _, _, step in steps]
    started = [operations(step) for _, _, step in steps]
    taken: list[list[float]] = [[], []]
    for _ in range(turns):
        for times, (_, _, step) in zip(taken, steps, strict=True):
            times.append(seconds(step))
    medians = [statistics.median(times) for times in taken]
    return [(pair[0], pair[1]) for pair in (kept, peaks, started, medians)]


def step_of(
    case: Case, size: int, *, recomputing: bool
) -> tuple[nn.Module, Callable[[], torch.Tensor], Callable[[], None]]:
    """A model, its loss of one batch, and the same with its backward pass."""
    torch.manual_seed(0)
    changes = {}
    if case.preset is not presets.slot_former:
        changes["image_size"] = size
    if case.preset is presets.vqvae:  # whose weights would be downloaded
        changes["tokenizer"] = {"perceptual_weight": 0}
    if case.preset is presets.slot_diffusion and case.frames > 1:
        changes["encoder"] = {"predictor": {"type": "transformer"}}
    model = case.preset(**changes).train()
    for weight in model.parameters():
        weight.grad = torch.zeros_like(weight) if weight.requires_grad else None
    if recomputing:
        model.enable_gradient_checkpointing()
    shape = (3, size, size)
    if case.preset is presets.slot_former:
        shape = (model.num_slots, model.config.slot_dim)
    batch = torch.rand(case.batch, case.frames, *shape)

    def forward() -> torch.Tensor:
        return model(batch).total

    def step() -> None:
        model.zero_grad(set_to_none=False)
        forward().backward()

    return model, forward, step


def peak_bytes(step: Callable[[], None]) -> int:
    """Of the tensors that ``step`` makes, how much there is at once."""
    profile: Any = torch.autograd.profiler.profile(profile_memory=True)
    with profile:
        step()
    now = most = 0
    for event in profile.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    assert most > 0, "the profiler saw no memory"
    return most


def operations(step: Callable[[], None]) -> int:
    """How many ``step`` starts, its backward pass included."""
    with _Counter() as counter:
        step()
    return counter.operations


class _Counter(TorchDispatchMode):
    """Counts the operations while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.operations += 1
        return func(*args, **(kwargs or {}))


def seconds(step: Callable[[], None]) -> float:
    """How long ``step`` takes, in the processor time of this process."""
    start = time.process_time()
    step()
    return time.process_time() - start


if __name__ == "__main__":
    typer.run(main)
