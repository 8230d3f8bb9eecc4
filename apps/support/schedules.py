"""The learning rate as a pure function of the step: nothing to save, nothing to restore."""

from __future__ import annotations

import math
from typing import Literal

Schedule = Literal["cosine", "linear", "exponential", "constant"]


def learning_rate_factor(
    step: int,
    num_steps: int,
    *,
    schedule: Schedule,
    warmup_fraction: float,
    final_fraction: float,
) -> float:
    """The fraction of the peak learning rate that step ``step`` (from 0) uses.

    It climbs linearly from ``final_fraction`` at step 0 to 1 at the end of the warm-up, then
    follows the schedule and would be back at ``final_fraction`` at step ``num_steps``. This is
    SlotDiffusion's schedule, whose first step is all but still. An exponential one falls by the
    same factor in each step, as those of DINOSAUR's code.
    """
    warmup = warmup_fraction * num_steps
    if step < warmup:
        return final_fraction + (1 - final_fraction) * step / warmup
    if schedule == "constant":
        return 1.0
    progress = (step - warmup) / (num_steps - warmup)
    if schedule == "exponential":
        return final_fraction**progress
    shape = 0.5 * (1 + math.cos(math.pi * progress)) if schedule == "cosine" else 1 - progress
    return final_fraction + (1 - final_fraction) * shape
