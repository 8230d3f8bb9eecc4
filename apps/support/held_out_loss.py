"""The training's own loss on samples that it does not learn from: it needs no labels.

Next to the training's it tells what is learned by heart, and of one's own pictures it is the only
number there is. It takes as many frames and as many samples at once as the training, so that what
fits there fits here, and noise from the samples' ids: two validations differ only by what was
learned between them, or by what anneals.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from accelerate.utils import gather_object

from slot_core import InputError, sample_generators
from slot_core.noise import Generators
from slot_decoders.models.without_gradients import without_gradients
from support.inputs import inputs_of

CLIPS = ("video", "slots")  # what a model learns from that has a time axis


class HeldOutLoss:
    """A mean over samples, batch by batch, whichever process has which.

    Args:
        num_frames: of a sample as the training sees it; of longer ones the first are taken.
        batch_size: the most samples at once, which decides the memory and not the mean.
        progress: the share of the training that is done.
    """

    def __init__(self, model: Any, *, num_frames: int, batch_size: int, progress: float) -> None:
        self.model, self.num_frames, self.batch_size = model, num_frames, batch_size
        self.progress = progress
        self._sums: list[tuple[float, int]] = []

    def update(self, batch: Mapping[str, Any], device: torch.device) -> None:
        """Take in a collated batch.

        One that lacks what only training needs, such as the pixels of slots, counts for nothing.

        Raises:
            DataError: as ``inputs_of`` does.
        """
        for part in _parts(batch, self.num_frames, self.batch_size):
            try:
                inputs = inputs_of(self.model, part, device)
            except InputError:
                return
            count = len(part["id"])
            own = sample_generators(0, 0, part["id"], device)
            total = _total(self.model, inputs, own, self.progress)
            self._sums.append((total * count, count))

    def mean(self) -> float:
        """Over the samples of all processes, which all must ask; NaN if there were none."""
        sums = gather_object(self._sums)
        count = sum(number for _, number in sums)
        return math.fsum(total for total, _ in sums) / count if count else math.nan


@without_gradients
def _total(model: Any, inputs: Sequence[Any], generator: Generators, progress: float) -> float:
    return float(model(*inputs, generator=generator, progress=progress).total)


def _parts(batch: Mapping[str, Any], num_frames: int, batch_size: int) -> Iterator[dict[str, Any]]:
    short = {key: batch[key][:, :num_frames] if key in CLIPS else batch[key] for key in batch}
    for start in range(0, len(batch["id"]), batch_size):
        yield {key: value[start : start + batch_size] for key, value in short.items()}
