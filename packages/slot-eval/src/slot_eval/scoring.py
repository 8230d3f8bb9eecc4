"""Files of labels or of pictures to a result: samples in order, gathered into batches of one shape.

Neither the batches nor the order change a score.
"""

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from slot_eval.errors import EvalError
from slot_eval.picture_files import Pictures
from slot_eval.predictions import Labels, Predictions, listed
from slot_eval.protocols.reconstruction import Perceptual
from slot_eval.streaming import Results
from slot_eval.truth import S, TrueLabels, TruePictures, Truth

SCORED_TOGETHER = 64
VALUES_TOGETHER = 2**23  # labels or colours, so that long clips take no more memory


def score_predictions(
    predictions: Labels, truth: Truth[TrueLabels], results: Results, also: Sequence[str] = ()
) -> int:
    """Score predicted labels; raises EvalError unless ids and sizes are those of the truth.

    Returns how many labels count as IoU 0 in the worst sample because its truth does not use them.
    """
    absent = 0
    for batch, predicted, true in paired(predictions, truth):
        if results.protocol.absent_ids == "zero":
            absent = max([absent, *map(unused_labels, true)])
        marks = {
            name: stacked([getattr(sample, name) for sample in batch])
            for name in ("overlap", "void", "class_labels")
            if getattr(batch[0], name) is not None
        }
        results.update([sample.id for sample in batch], predicted, true, **marks, also=also)
    return absent


def unused_labels(labels: Tensor) -> int:
    """How many labels between 0 and the largest do not occur."""
    return int(labels.max()) + 1 - len(labels.unique()) if labels.numel() else 0


def score_pictures(
    predictions: Pictures,
    truth: Truth[TruePictures],
    results: Results,
    lpips: Perceptual | None = None,
) -> None:
    """Score painted pictures; raises EvalError unless ids and sizes are those of the truth."""
    for batch, *videos in paired(predictions, truth):
        painted, true = (video.float() / 255 for video in videos)
        results.update([sample.id for sample in batch], painted, true, lpips=lpips)


def paired(
    predictions: Predictions[Tensor], truth: Truth[S]
) -> Iterator[tuple[list[S], Tensor, Tensor]]:
    """True samples, batch by batch, what was predicted for them, and what is true.

    Raises EvalError, at the end, if something was predicted for another sample than the truth's.
    """
    known = set(predictions.ids)
    scored: set[str] = set()
    for batch in batches(truth.samples()):
        found = []
        for sample in batch:
            if sample.id not in known:
                raise EvalError(
                    f"{predictions.source}: lacks sample {sample.id!r} of {truth.source}"
                )
            one = predictions.load(sample.id)
            if one.shape != sample.content.shape:
                raise EvalError(
                    f"{predictions.source}: sample {sample.id!r} is {size(one)}, "
                    f"in {truth.source} it is {size(sample.content)}"
                )
            found.append(one)
        yield batch, stacked(found), stacked([sample.content for sample in batch])
        scored.update(sample.id for sample in batch)
    if truth.complete and (unknown := sorted(known - scored)):
        raise EvalError(f"{predictions.source}: has {listed(unknown)}, unknown to {truth.source}")


def stacked(labels: list[Tensor]) -> Tensor:
    """Stack labels whose integer types may differ from file to file."""
    if len({one.dtype for one in labels}) > 1:
        labels = [one.long() for one in labels]
    return torch.stack(labels)


def batches(samples: Iterable[S]) -> Iterator[list[S]]:
    """Gather neighbours of equal shape, as many as are scored together."""
    batch: list[S] = []
    for sample in samples:
        most = min(SCORED_TOGETHER, VALUES_TOGETHER // max(1, sample.content.numel()))
        if batch and (len(batch) >= most or sample.shapes != batch[0].shapes):
            yield batch
            batch = []
        batch.append(sample)
    if batch:
        yield batch


def size(one: Tensor) -> str:
    """``2 frames of 64x48`` (height by width)."""
    time, (height, width) = len(one), one.shape[-2:]
    return f"{time} frame{'s' if time > 1 else ''} of {height}x{width}"
