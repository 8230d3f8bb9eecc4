"""How fast slots are rolled out at Physion's setting, and what makes it faster.

    uv run python tools/bench/rollout.py
    uv run python tools/bench/rollout.py --videos 64 --frames 30 --device cuda

SlotFormer as SlotDiffusion trains it on Physion (12 layers of width 256, 8 slots, 15 frames seen),
10 frames ahead, without gradients. A step is one predicted frame of one video, a second on the CPU
one of CPU time of all threads. The cases take turns; medians are printed. As the reference does, a
step projects the whole window anew and computes PyTorch's layers for all of its tokens, in the last
one too.

There is no line for a cache of keys and values, as there is no exact one: positions are counted in
the window, so when it moves on by a frame, every token of every layer changes. So nearly all of the
work remains: its products of matrices alone are timed as well, as what there is to gain at most.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Annotated

import torch
import torch.nn.functional as F
import typer
from torch import Tensor, nn

from slot_core import SlotFormer

BURN_IN, SLOTS, DIM, HIDDEN = 15, 8, 192, 1024
ONE = "one video"


def main(
    videos: Annotated[int, typer.Option(help="in the batches")] = 8,
    frames: Annotated[int, typer.Option(help="predicted of each")] = 10,
    stride: Annotated[int, typer.Option(help="interleaved rollouts of one video")] = 3,
    turns: Annotated[int, typer.Option(min=1, help="of all cases, one after the other")] = 5,
    threads: Annotated[int, typer.Option(help="of the CPU")] = 1,
    device: Annotated[str, typer.Option(help="cpu, cuda, ...")] = "cpu",
    compiled: Annotated[bool, typer.Option("--compile/--eager", help="also compiled")] = True,
) -> None:
    """Print steps per second, and each as a multiple of the reference's, of as many videos."""
    torch.manual_seed(0)
    torch.set_num_threads(threads)
    model = SlotFormer(DIM, burn_in=BURN_IN, hidden_dim=HIDDEN).to(device).eval()
    past = torch.randn(videos, BURN_IN * stride, SLOTS, DIM, device=device)
    layers = pytorch_layers(model)
    cases = cases_of(model, layers, past, frames, compiled=compiled)
    print(f"{videos} videos, {frames} frames, {threads} thread(s) on {device}")
    with torch.no_grad():
        expected = as_the_reference(model, layers, past[:, -BURN_IN:], frames)
        difference = (expected - model(past, frames)).abs().max()
        print(f"largest difference from the reference's way: {float(difference):.1e}")
        speeds: dict[str, list[float]] = {name: [] for name in cases}
        for turn in range(turns + 1):
            for name, (roll_out, count) in cases.items():
                speed = count * frames / seconds(roll_out, device)
                if turn:  # the first is for warming up, and for compiling
                    speeds[name].append(speed)
    for name, found in speeds.items():
        base = speeds[f"as the reference, {ONE if ONE in name else 'batched'}"]
        ratio = statistics.median(speed / first for speed, first in zip(found, base, strict=True))
        print(f"{name:34}{statistics.median(found):10.0f} steps/s{ratio:8.2f} x")


def cases_of(
    model: SlotFormer, layers: nn.ModuleList, past: Tensor, frames: int, *, compiled: bool
) -> dict[str, tuple[Callable[[], object], int]]:
    """What is timed, by name, and of how many videos a call is."""
    stride = past.shape[1] // BURN_IN
    cases: dict[str, tuple[Callable[[], object], int]] = {}
    for name, count in ((ONE, 1), ("batched", len(past))):
        seen = past[:count, -BURN_IN:]
        cases[f"as the reference, {name}"] = (
            partial(as_the_reference, model, layers, seen, frames),
            count,
        )
        cases[f"eager, {name}"] = (partial(model, seen, frames), count)
        if compiled:
            quick = deepcopy(model)
            quick.compile()
            cases[f"compiled, {name}"] = (partial(quick, seen, frames), count)
        cases[f"products alone, {name}"] = (products(model, count, frames), count)
    cases[f"every frame, {stride} rollouts apart"] = (
        lambda: [model(past[:, offset::stride], frames) for offset in range(stride)],
        stride * len(past),
    )
    cases[f"every frame, {stride} rollouts at once"] = (
        partial(model, past, stride * frames, stride=stride),
        stride * len(past),
    )
    return cases


def pytorch_layers(model: SlotFormer) -> nn.ModuleList:
    """PyTorch's transformer layers with the weights of the model's."""
    layers = nn.ModuleList()
    for ours in model.layers:
        layer = nn.TransformerEncoderLayer(256, 8, HIDDEN, batch_first=True, norm_first=True)
        layer.load_state_dict(ours.state_dict())
        layers.append(layer)
    return layers.to(model.time_encoding.device).eval()


def as_the_reference(
    model: SlotFormer, layers: nn.ModuleList, past: Tensor, num_steps: int
) -> Tensor:
    """The same numbers, computed for every token of the window in every layer."""
    window, predicted = past, []
    for _ in range(num_steps):
        tokens = (model.input(window) + model.time_encoding[:, None]).flatten(1, 2)
        for layer in layers:
            tokens = layer(tokens)
        predicted.append(model.output(tokens[:, -SLOTS:]))
        window = torch.cat([window[:, 1:], predicted[-1][:, None]], 1)
    return torch.stack(predicted, 1)


def products(model: SlotFormer, videos: int, num_steps: int) -> Callable[[], None]:
    """The products of tokens with the layers' weights, and nothing else of a rollout."""
    device = model.time_encoding.device
    tokens, newest = (
        torch.randn(videos * frames * SLOTS, 256, device=device) for frames in (BURN_IN, 1)
    )
    layers = [
        (
            layer.get_parameter("self_attn.in_proj_weight"),
            layer.get_parameter("self_attn.out_proj.weight"),
            layer.get_parameter("linear1.weight"),
            layer.get_parameter("linear2.weight"),
        )
        for layer in model.layers
    ]

    def multiply() -> None:
        for _ in range(num_steps):
            for number, (joint, out, up, down) in enumerate(layers, 1):
                F.linear(tokens, joint)
                rest = newest if number == len(layers) else tokens  # of the last layer
                F.linear(rest, out)
                F.linear(F.linear(rest, up), down)

    return multiply


def seconds(roll_out: Callable[[], object], device: str) -> float:
    """That a call takes; on the CPU of its own time, which other work on the machine is not in."""
    now = time.perf_counter if device.startswith("cuda") else time.process_time
    begin = now()
    roll_out()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return now() - begin


if __name__ == "__main__":
    typer.run(main)
