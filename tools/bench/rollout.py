"""How fast slots are rolled out at Physion's setting, and what makes it faster.

    uv run python tools/bench/rollout.py
    uv run python tools/bench/rollout.py --videos 64 --frames 30 --device cuda

SlotFormer as SlotDiffusion trains it on Physion (12 layers of width 256, 8 slots, 15 frames seen),
10 frames ahead, without gradients. A step is one predicted frame of one video. The cases take
turns, so that other work on the machine slows all; medians are printed. The first line is the
reference's way: every step projects the whole window anew and computes the last layer for all of
its tokens. There is no line for a cache of keys and values, as there is no exact one: positions are
counted in the window, so when it moves on by a frame, every token of every layer changes.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from copy import deepcopy
from typing import Annotated

import torch
import typer
from torch import Tensor

from slot_core import SlotFormer

BURN_IN, SLOTS, DIM = 15, 8, 192


def main(
    videos: Annotated[int, typer.Option(help="in the batches")] = 8,
    frames: Annotated[int, typer.Option(help="predicted of each")] = 10,
    stride: Annotated[int, typer.Option(help="interleaved rollouts of one video")] = 3,
    turns: Annotated[int, typer.Option(min=1, help="of all cases, one after the other")] = 5,
    threads: Annotated[int, typer.Option(help="of the CPU")] = 1,
    device: Annotated[str, typer.Option(help="cpu, cuda, ...")] = "cpu",
    compiled: Annotated[bool, typer.Option("--compile/--eager", help="also compiled")] = True,
) -> None:
    """Print steps per second, and each as a multiple of the first."""
    torch.manual_seed(0)
    torch.set_num_threads(threads)
    model = SlotFormer(DIM, burn_in=BURN_IN, hidden_dim=1024).to(device).eval()
    past = torch.randn(videos, BURN_IN * stride, SLOTS, DIM, device=device)
    whole, far = past[:, -BURN_IN:], frames * stride

    def apart() -> None:
        for offset in range(stride):
            model(past[:, offset::stride], frames)

    cases: dict[str, tuple[Callable[[], object], int]] = {
        "as the reference, one video": (lambda: as_the_reference(model, whole[:1], frames), 1),
        "as the reference, batched": (lambda: as_the_reference(model, whole, frames), videos),
        "eager, one video": (lambda: model(whole[:1], frames), 1),
        "eager, batched": (lambda: model(whole, frames), videos),
        f"every frame, {stride} rollouts apart": (apart, videos * stride),
        f"every frame, {stride} rollouts at once": (
            lambda: model(past, far, stride=stride),
            videos * stride,
        ),
    }
    if compiled:
        quick = deepcopy(model)
        quick.next_frame = torch.compile(quick.next_frame)  # the same for any number of frames
        cases["compiled, batched"] = (lambda: quick(whole, frames), videos)
    print(f"{videos} videos, {frames} frames, {threads} thread(s) on {device}")
    with torch.no_grad():
        difference = (as_the_reference(model, whole, frames) - model(whole, frames)).abs().max()
        print(f"largest difference from the reference's way: {float(difference):.1e}")
        speeds: dict[str, list[float]] = {name: [] for name in cases}
        for turn in range(turns + 1):
            for name, (roll_out, count) in cases.items():
                speed = count * frames / seconds(roll_out, device)
                if turn:  # the first is for warming up, and for compiling
                    speeds[name].append(speed)
    base = next(iter(speeds.values()))
    for name, found in speeds.items():
        ratio = statistics.median(speed / first for speed, first in zip(found, base, strict=True))
        print(f"{name:34}{statistics.median(found):10.0f} steps/s{ratio:8.2f} x")


def as_the_reference(model: SlotFormer, past: Tensor, num_steps: int) -> Tensor:
    """The same numbers, computed for every token of the window in every layer."""
    window, predicted = past, []
    for _ in range(num_steps):
        tokens = (model.input(window) + model.time_encoding[:, None]).flatten(1, 2)
        for layer in model.layers:
            tokens = layer(tokens)
        predicted.append(model.output(tokens[:, -SLOTS:]))
        window = torch.cat([window[:, 1:], predicted[-1][:, None]], 1)
    return torch.stack(predicted, 1)


def seconds(roll_out: Callable[[], object], device: str) -> float:
    """That a call takes."""
    begin = time.perf_counter()
    roll_out()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - begin


if __name__ == "__main__":
    typer.run(main)
