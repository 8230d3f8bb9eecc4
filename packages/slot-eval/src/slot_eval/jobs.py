"""A job: one model, one data set, one question, cut into blocks of neighbouring samples.

A block is the unit of everything: it is what a model sees at once, what is seeded, and what one of
several processes takes. It is the same block whatever takes it, so several processes give exactly
the rows that one gives.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from multiprocessing.sharedctypes import Synchronized
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from slot_eval import plugins
from slot_eval.errors import EvalError
from slot_eval.plugins import read_sample
from slot_eval.streaming import Results
from slot_eval.truth import pixels_of

Sample = Mapping[str, Any]


class Block(NamedTuple):
    """What a block gives: its samples' ids, one row per sample or frame, and one tensor for each
    sample (labels, videos or features), if the job keeps them."""

    ids: list[str]
    rows: list[dict[str, Any]]
    kept: list[Tensor]


@dataclass(frozen=True)
class Job:
    """Everything that a process must know; subclasses say what is done with a batch.

    ``model_options`` are changes to the model's configuration, ``limit`` takes the first samples
    only, ``num_slots`` is what the model must have, if given. Raises EvalError from whatever it
    does with models and data that cannot be had.
    """

    model: str
    data: str
    split: str
    options: Mapping[str, Any] = field(default_factory=dict)
    limit: int | None = None
    batch_size: int = 16
    device: str = "cpu"
    seed: int = 0
    threads: int | None = None
    num_slots: int | None = None
    model_options: Mapping[str, Any] = field(default_factory=dict)

    needs: ClassVar[tuple[str, ...]] = ()
    """The methods that the model must have."""

    def open(self) -> "OpenJob":
        """Load the model and the data."""
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        dataset = plugins.load_dataset(self.data, self.split, self.options)
        model = on_device(plugins.load_model(self.model, self.model_options), self.device)
        if missing := [name for name in self.needs if not callable(getattr(model, name, None))]:
            raise EvalError(
                f"the model {self.model} has no method {missing[0]}, so it cannot do this"
            )
        found = getattr(model, "num_slots", None)
        if self.num_slots is not None and found != self.num_slots:
            raise EvalError(f"the model {self.model} has {found} slots, not {self.num_slots}")
        return OpenJob(self, model, dataset)

    def batch(self, opened: "OpenJob", samples: list[Sample]) -> Block:
        """What a batch of samples of one shape gives."""
        raise NotImplementedError

    def num_samples(self, dataset: Any) -> int:
        """How many samples of the data set are used."""
        return len(dataset) if self.limit is None else min(self.limit, len(dataset))


@dataclass(frozen=True)
class OpenJob:
    """A job with its model and its data, and the model that makes slots if that is another."""

    job: Job
    model: Any
    dataset: Any
    encoder: Any = None

    def __len__(self) -> int:
        return self.job.num_samples(self.dataset)

    @property
    def burn_in(self) -> int:
        """How many frames are seen before the first that is predicted."""
        stated = getattr(self.job, "burn_in", None)
        return self.model.burn_in if stated is None else stated

    @property
    def starts(self) -> range:
        """The first sample of each block."""
        return range(0, len(self), self.job.batch_size)

    def block(self, start: int) -> Block:
        """What the block of samples from ``start`` on gives."""
        torch.manual_seed((self.job.seed * 1_000_003 + start) % 2**63)
        stop = min(start + self.job.batch_size, len(self))
        samples = [self.sample(index) for index in range(start, stop)]
        parts = [self.job.batch(self, batch) for batch in of_one_shape(samples)]
        return Block(
            [name for part in parts for name in part.ids],
            [row for part in parts for row in part.rows],
            [one for part in parts for one in part.kept],
        )

    def sample(self, index: int) -> Sample:
        """A sample of the data set; raises EvalError where it gives none."""
        return read_sample(self.dataset, index, self.job.data)

    def video(self, samples: Sequence[Sample]) -> Tensor:
        """Videos as a model takes them: float in [0, 1] on its device."""
        videos = [pixels_of(one, self.job.data) for one in samples]
        return torch.stack(videos).to(self.job.device).float() / 255

    def conditioning(self, samples: Sequence[Sample]) -> dict[str, Tensor]:
        """What the model is told of the first frame's objects, as an argument of its methods."""
        model = self.encoder or self.model
        kind = getattr(model, "conditioned_on", None)
        if kind is None:
            return {}
        if any("labels" not in one for one in samples):
            raise EvalError(
                f"the model is conditioned on {kind} of objects, but samples of "
                f"{self.job.data} have no labels to take them from"
            )
        first = torch.stack([one["labels"][0] for one in samples])
        told = plugins.conditioning(kind, first, model.num_slots)
        return {"conditioning": told.to(self.job.device)}


def run_job(opened: OpenJob, processes: int = 1) -> Iterator[Block]:
    """The blocks of a job in order, each when it is done; raises EvalError on repeated ids, of
    samples and of rows.

    Of several processes each opens the job for itself.
    """
    samples: set[str] = set()
    rows: set[str] = set()
    for block in blocks(opened, processes):
        for name in block.ids:
            if name in samples:
                raise EvalError(f"the id {name!r} occurs more than once in {opened.job.data}")
            samples.add(name)
        for row in block.rows:
            if row["id"] in rows:
                raise EvalError(
                    f"the row {row['id']!r} would be of two samples of {opened.job.data}, which "
                    "needs other ids"
                )
            rows.add(row["id"])
        yield block


def blocks(opened: OpenJob, processes: int) -> Iterator[Block]:
    """The blocks in order, without a check."""
    if processes == 1:
        yield from map(opened.block, opened.starts)
        return
    context = get_context("spawn")
    told = (opened.job, context.Value("i", 0))
    with ProcessPoolExecutor(processes, context, open_in_worker, told) as pool:
        yield from pool.map(block_in_worker, opened.starts)


_OPENED: list[OpenJob | EvalError] = []


def open_in_worker(job: Job, opened_before: Synchronized) -> None:
    """Open the job once per process; what is wrong with it is told with the first block."""
    with opened_before.get_lock():
        turn = opened_before.value
        opened_before.value += 1
    try:
        _OPENED[:] = [replace(job, device=device_of(job.device, turn)).open()]
    except EvalError as error:
        _OPENED[:] = [error]


def block_in_worker(start: int) -> Block:
    """One block in a process that has opened the job."""
    (opened,) = _OPENED
    if isinstance(opened, EvalError):
        raise opened
    return opened.block(start)


def gather(results: Results, parts: Sequence[Block]) -> None:
    """The rows of all blocks into the results."""
    for part in parts:
        results.extend(part.rows)


def of_one_shape(samples: Sequence[Sample]) -> Iterator[list[Sample]]:
    """Gather neighbours that have the same entries of the same shapes."""
    batch: list[Sample] = []
    for sample in samples:
        if batch and shapes(sample) != shapes(batch[0]):
            yield batch
            batch = []
        batch.append(sample)
    if batch:
        yield batch


def shapes(sample: Sample) -> dict[str, Any]:
    """What must be equal for two samples to be stacked."""
    return {name: one.shape for name, one in sample.items() if isinstance(one, Tensor)}


def chosen_device(name: str | None) -> str:
    """The device of this name; a GPU if there is one, else the CPU, for None."""
    return name or ("cuda" if torch.cuda.is_available() else "cpu")


def device_of(name: str, turn: int) -> str:
    """That of one of several processes: they take GPUs in turn, unless one of them is named."""
    return f"cuda:{turn % torch.cuda.device_count()}" if name == "cuda" else name


def on_device(model: Any, device: str) -> Any:
    """The model where it should run; raises EvalError on a device torch does not have."""
    try:
        return model.to(torch.device(device)) if isinstance(model, torch.nn.Module) else model
    except (RuntimeError, AssertionError) as error:  # how torch says it lacks one
        raise EvalError(f"--device {device}: {str(error).splitlines()[0]}") from error
