"""Which samples a step sees: a pure function of (seed, step), whatever the number of processes,
loader workers or micro-batches.

The training set is one endless list: the permutation of epoch 0, then of epoch 1, and so on. Step
s takes the positions from s * batch_size up to (s + 1) * batch_size, so a batch may span two
epochs and no sample is ever dropped. A run that resumes at step s computes where it was.
"""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from torch.utils.data import Sampler

from slot_data.raw_bits import KEY_LIMIT, ORDER, philox
from slot_data.sample import DataError

Key = tuple[int, int]
"""(epoch, index of the sample): what StepBatches yields and AugmentedDataset is indexed by."""


@lru_cache(maxsize=4)  # a batch spans two epochs, and validation may run beside training
def permutation(seed: int, epoch: int, num_samples: int) -> np.ndarray:
    """int64 [num_samples], read-only: the samples sorted by 64 raw bits each."""
    raw = philox(ORDER, seed, epoch).random_raw(num_samples)
    order = np.argsort(raw, kind="stable")
    order.flags.writeable = False
    return order


def sample_at(seed: int, epoch: int, position: int, num_samples: int) -> int:
    """The index of the sample at `position` (from 0) of an epoch."""
    return int(permutation(seed, epoch, num_samples)[position])


class StepBatches(Sampler[list[Key]]):
    """A batch sampler: one list of (epoch, index) per micro-batch of this process.

    num_samples: length of the dataset.
    batch_size: samples per optimizer step, over all processes and micro-batches.
    num_steps: steps of the whole run; `start_step` of them are already done.
    accumulation: micro-batches per step. A step's samples are split over these first, then over
        the processes, in contiguous parts.
    shuffle: False keeps the dataset's own order in every epoch.

    Its length is (num_steps - start_step) * accumulation. Give it to a DataLoader as
    `batch_sampler`, with a dataset that is indexed by (epoch, index); every process builds its own,
    so no launcher may split it again.

    Raises DataError if the numbers do not fit one another.
    """

    def __init__(
        self,
        num_samples: int,
        batch_size: int,
        seed: int,
        rank: int,
        world_size: int,
        start_step: int,
        num_steps: int,
        accumulation: int = 1,
        shuffle: bool = True,
    ) -> None:
        for name, value in (
            ("num_samples", num_samples),
            ("batch_size", batch_size),
            ("world_size", world_size),
            ("accumulation", accumulation),
        ):
            if value < 1:
                raise DataError(f"{name} is {value}, not at least 1")
        if not 0 <= seed < KEY_LIMIT:
            raise DataError(f"seed is {seed}, not in [0, 2**64)")
        if not 0 <= rank < world_size:
            raise DataError(f"rank is {rank}, not in [0, {world_size})")
        if not 0 <= start_step <= num_steps:
            raise DataError(f"start_step is {start_step}, not in [0, num_steps = {num_steps}]")
        parts = world_size * accumulation
        if batch_size % parts:
            raise DataError(
                f"batch_size {batch_size} is not divisible by {parts} "
                f"({world_size} processes x {accumulation} micro-batches)"
            )
        self.num_samples, self.batch_size, self.seed = num_samples, batch_size, seed
        self.rank, self.world_size, self.accumulation = rank, world_size, accumulation
        self.start_step, self.num_steps, self.shuffle = start_step, num_steps, shuffle

    def __len__(self) -> int:
        return (self.num_steps - self.start_step) * self.accumulation

    @property
    def samples_at_once(self) -> int:
        """Of a micro-batch of one process."""
        return self.batch_size // (self.world_size * self.accumulation)

    def __iter__(self) -> Iterator[list[Key]]:
        share = self.samples_at_once
        for step in range(self.start_step, self.num_steps):
            for micro in range(self.accumulation):
                first = step * self.batch_size
                first += (micro * self.world_size + self.rank) * share
                yield [self.key_at(place) for place in range(first, first + share)]

    def key_at(self, place: int) -> Key:
        """The sample at `place` of the endless list."""
        epoch, position = divmod(place, self.num_samples)
        if not self.shuffle:
            return epoch, position
        return epoch, sample_at(self.seed, epoch, position, self.num_samples)
