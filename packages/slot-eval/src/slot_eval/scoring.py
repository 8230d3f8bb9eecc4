"""Label files to a result: samples in order, gathered into batches of one shape.

Neither the batches nor the order change a score.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from slot_eval.errors import EvalError
from slot_eval.plugins import user_errors
from slot_eval.predictions import Labels, listed
from slot_eval.streaming import Results

SCORED_TOGETHER = 64


class TrueSample(NamedTuple):
    """What a truth says of one sample, each [T H W]."""

    id: str
    labels: Tensor
    overlap: Tensor | None = None
    void: Tensor | None = None
    class_labels: Tensor | None = None


def samples_of_file(truth: Labels) -> Iterator[TrueSample]:
    """The samples of a label file or folder."""
    for name in truth.ids:
        yield TrueSample(name, truth.load(name), truth.overlap(name))


def samples_of_dataset(dataset: Any, name: str, limit: int | None = None) -> Iterator[TrueSample]:
    """The first ``limit`` samples of a data set; raises EvalError on a sample without labels."""
    seen: set[str] = set()
    for index in range(len(dataset) if limit is None else min(limit, len(dataset))):
        with user_errors(f"cannot read sample {index} of {name}"):
            sample = dataset[index]
        if "labels" not in sample:
            raise EvalError(f"sample {sample['id']!r} of {name} has no labels to score against")
        if sample["id"] in seen:
            raise EvalError(f"the id {sample['id']!r} occurs more than once in {name}")
        seen.add(sample["id"])
        yield TrueSample(
            sample["id"],
            sample["labels"],
            sample.get("overlap"),
            sample.get("void"),
            sample.get("class_labels"),
        )


def score_predictions(
    predictions: Labels,
    truth: Iterable[TrueSample],
    truth_name: str,
    results: Results,
    also: Sequence[str] = (),
) -> None:
    """Score predicted labels; raises EvalError unless ids and sizes are those of the truth."""
    known = set(predictions.ids)
    scored: set[str] = set()
    for batch in batches(truth, SCORED_TOGETHER):
        predicted = []
        for sample in batch:
            if sample.id not in known:
                raise EvalError(f"{predictions.source}: lacks sample {sample.id!r} of {truth_name}")
            labels = predictions.load(sample.id)
            if labels.shape != sample.labels.shape:
                raise EvalError(
                    f"{predictions.source}: sample {sample.id!r} is {size(labels)}, "
                    f"in {truth_name} it is {size(sample.labels)}"
                )
            predicted.append(labels)
        update(results, batch, stacked(predicted), also)
        scored.update(sample.id for sample in batch)
    if unknown := sorted(known - scored):
        raise EvalError(f"{predictions.source}: has {listed(unknown)}, unknown to {truth_name}")


def update(
    results: Results, batch: list[TrueSample], predicted: Tensor, also: Sequence[str]
) -> None:
    """Hand a batch to the results."""
    marks = {
        name: stacked([getattr(sample, name) for sample in batch])
        for name in ("overlap", "void", "class_labels")
        if getattr(batch[0], name) is not None
    }
    true = stacked([sample.labels for sample in batch])
    results.update([sample.id for sample in batch], predicted, true, **marks, also=also)


def stacked(labels: list[Tensor]) -> Tensor:
    """Stack labels whose integer types may differ from file to file."""
    if len({one.dtype for one in labels}) > 1:
        labels = [one.long() for one in labels]
    return torch.stack(labels)


def batches(samples: Iterable[TrueSample], batch_size: int) -> Iterator[list[TrueSample]]:
    """Gather neighbours of equal shape, at most ``batch_size`` of them."""
    batch: list[TrueSample] = []
    for sample in samples:
        if batch and (len(batch) == batch_size or shapes(sample) != shapes(batch[0])):
            yield batch
            batch = []
        batch.append(sample)
    if batch:
        yield batch


def shapes(sample: TrueSample) -> tuple[object, ...]:
    """What must be equal for two samples to be stacked."""
    return (
        sample.labels.shape,
        sample.overlap is None,
        sample.void is None,
        sample.class_labels is None,
    )


def size(labels: Tensor) -> str:
    """``2 frames of 64x48`` (height by width)."""
    time, height, width = labels.shape
    return f"{time} frame{'s' if time > 1 else ''} of {height}x{width}"
