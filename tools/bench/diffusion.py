"""Sampling and training of SlotDiffusion, in one run.

    uv run python tools/bench/diffusion.py --small

Pictures are sampled in 20 steps of DPM-Solver, and the CLEVRTex recipe takes training steps at its
own size (``--small``: with a narrow U-Net), on the CPU. Printed are pictures per second of both and
the U-Net's share of a sample. What a GPU makes of the same sizes, gpu.py says.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Annotated, Any

import torch
import typer

from slot_decoders.models import presets

NUM_STEPS = 20
SMALL: dict[str, Any] = {
    "encoder": {"backbone": {"type": "cnn", "channels": (32, 32), "strides": (2, 2)}},
    "decoder": {
        "tokenizer": {"channels": (32, 32, 32), "layers_per_block": 1, "vocab_size": 64},
        "denoiser": {"channels": (32, 32), "layers_per_block": 1, "attention_levels": (1,)},
    },
}


def main(
    small: Annotated[bool, typer.Option("--small", help="a narrow model")] = False,
    samples: Annotated[int, typer.Option(min=1, help="pictures sampled at once")] = 8,
    batch_size: Annotated[int, typer.Option(min=1, help="pictures of a training step")] = 8,
    turns: Annotated[int, typer.Option(min=1)] = 5,
    threads: Annotated[int, typer.Option(min=1)] = 1,
) -> None:
    """Sample with the model of the CLEVRTex recipe, and train it."""
    torch.set_num_threads(threads)
    model = presets.slot_diffusion(**(SMALL if small else {}))
    slots = torch.randn(samples, 1, model.num_slots, model.config.slot_dim)
    video = torch.rand(batch_size, 1, 3, 128, 128)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad])

    def train() -> None:
        model.train()
        model(video).total.backward()
        optimizer.step()
        optimizer.zero_grad()

    def sample(num_steps: int) -> None:
        model.sample(slots, num_steps=num_steps)

    sample(1)
    train()
    sampling = statistics.median(seconds(lambda: sample(NUM_STEPS)) for _ in range(turns))
    once = statistics.median(seconds(lambda: sample(1)) for _ in range(turns))
    training = statistics.median(seconds(train) for _ in range(turns))
    evaluation = (sampling - once) / (NUM_STEPS - 1)
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{parameters:,} weights, median of {turns}")
    print(
        f"sampling: {samples / sampling:.3g} pictures/s in {NUM_STEPS} steps, batches of {samples}"
    )
    print(f"  {NUM_STEPS * evaluation / sampling:.0%} of it is the U-Net and its solver")
    print(f"training: {batch_size / training:.3g} pictures/s in batches of {batch_size}")
    print(f"  one step costs {training / evaluation:.1f} evaluations of the sampling")


def seconds(action: Callable[[], object]) -> float:
    """How long ``action`` takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


if __name__ == "__main__":
    typer.run(main)
