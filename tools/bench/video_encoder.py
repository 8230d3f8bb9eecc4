"""What the encoder's loop over time costs, against pictures, in one run.

    uv run python tools/bench/video_encoder.py

A clip of T frames is encoded, and T pictures, by one encoder; then the predictor alone goes over
the clip's slots. The three take turns, so that other work on the machine slows all. The median
over the turns of (clip - predictor) / pictures is printed: what is left of the cost of time, which
should be at most 1.1, since the features of all frames are computed in one call.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Annotated

import torch
import typer
from torch import nn

from slot_decoders.models import presets

LIMIT = 1.1


def main(
    frames: Annotated[int, typer.Option(min=2)] = 12,
    size: Annotated[int, typer.Option(help="height and width")] = 64,
    turns: Annotated[int, typer.Option(min=1)] = 9,
    threads: Annotated[int, typer.Option(min=1)] = 1,
) -> None:
    """Encode a clip and as many pictures with SAVi's encoder."""
    torch.set_num_threads(threads)
    encoder = presets.savi(image_size=size).encoder.eval()
    predictor = encoder.predictor
    assert predictor is not None
    clip = torch.rand(1, frames, 3, size, size)
    pictures = clip.transpose(0, 1)
    with torch.no_grad():
        slots = encoder(clip).slots
        ratios = []
        for _ in range(turns):
            whole = seconds(lambda: encoder(clip))
            apart = seconds(lambda: encoder(pictures))
            between = seconds(lambda: predict(predictor, slots))
            ratios.append((whole - between) / apart)
    ratio = statistics.median(ratios)
    print(
        f"{frames} frames of {size}x{size}: a clip without its predictor takes {ratio:.2f} times "
        f"as long as pictures (median of {turns} turns, {threads} thread(s); wanted: {LIMIT})"
    )


def predict(predictor: nn.Module, slots: torch.Tensor) -> None:
    """The predictor alone, once between each two frames."""
    state = None
    for time_slots in slots[:, :-1].unbind(1):
        _, state = predictor(time_slots, state)


def seconds(action: Callable[[], object]) -> float:
    """How long ``action`` takes, in the processor time of this process."""
    start = time.process_time()
    action()
    return time.process_time() - start


if __name__ == "__main__":
    typer.run(main)
