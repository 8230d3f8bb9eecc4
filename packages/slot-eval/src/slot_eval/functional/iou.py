"""Overlap of true segments with predicted ones, averaged over the true segments of each sample.

The overlap of two segments is their intersection over union (Jaccard, 1912), in pixels. Three
scores differ in who may match whom, and in whether the background (true label 0) is a segment:

    miou     one-to-one, by the Hungarian method     background counts
    fg_miou  one-to-one, by the Hungarian method     background left out
    mbo      best overlap of each true segment       background left out (unless ``background``)

Leaving the background out drops the *true* segment only: every predicted segment stays a
candidate, with its full area. A true segment that no prediction is left for counts 0; surplus
predictions cost nothing.

Where codebases differ is an argument. ``absent_ids``: "skip" averages over the labels that occur
in the sample, "zero" over 0 .. largest label of the sample, so that a label which does not occur
counts 0 (SlotDiffusion, through the width of its one-hot encoding). ``empty``: the value of a
sample with nothing to average; NaN says undefined. ``epsilon`` is added to the union.
"""

from typing import Literal

import torch
from jaxtyping import Float64, Integer
from torch import Tensor

from slot_eval.errors import EvalError
from slot_eval.functional.ari import Empty, empty_value
from slot_eval.functional.contingency import Contingency, contingency, whole_clip_contingency
from slot_eval.functional.matching import best_overlap, optimal_assignment

AbsentIds = Literal["skip", "zero"]


def miou(
    predicted: Integer[Tensor, "batch height width"],
    true: Integer[Tensor, "batch height width"],
    *,
    absent_ids: AbsentIds = "skip",
    epsilon: float = 0.0,
) -> Float64[Tensor, " batch"]:
    """Mean IoU of pictures under the best one-to-one matching, background included: 0 to 1.

    Raises EvalError on labels that differ in shape, are negative or not integers.
    """
    return miou_of(contingency(predicted, true), absent_ids=absent_ids, epsilon=epsilon)


def fg_miou(
    predicted: Integer[Tensor, "batch height width"],
    true: Integer[Tensor, "batch height width"],
    *,
    empty: Empty = "nan",
    absent_ids: AbsentIds = "skip",
    epsilon: float = 0.0,
) -> Float64[Tensor, " batch"]:
    """``miou`` without the true background; ``empty`` for a picture without foreground."""
    table = contingency(predicted, true)
    return fg_miou_of(table, empty=empty, absent_ids=absent_ids, epsilon=epsilon)


def mbo(
    predicted: Integer[Tensor, "batch height width"],
    true: Integer[Tensor, "batch height width"],
    *,
    background: bool = False,
    empty: Empty = "nan",
    absent_ids: AbsentIds = "skip",
    epsilon: float = 0.0,
) -> Float64[Tensor, " batch"]:
    """Mean best overlap of pictures: predictions may serve several objects; 0 to 1.

    ``background`` counts true label 0 as one more object. ``empty`` for a picture without object.
    """
    table = contingency(predicted, true)
    return mbo_of(table, background=background, empty=empty, absent_ids=absent_ids, epsilon=epsilon)


def video_miou(
    predicted: Integer[Tensor, "batch time height width"],
    true: Integer[Tensor, "batch time height width"],
    *,
    absent_ids: AbsentIds = "skip",
    epsilon: float = 0.0,
) -> Float64[Tensor, " batch"]:
    """``miou`` of clips: a segment is a tube through all frames."""
    return miou_of(whole_clip_contingency(predicted, true), absent_ids=absent_ids, epsilon=epsilon)


def video_fg_miou(
    predicted: Integer[Tensor, "batch time height width"],
    true: Integer[Tensor, "batch time height width"],
    *,
    empty: Empty = "nan",
    absent_ids: AbsentIds = "skip",
    epsilon: float = 0.0,
) -> Float64[Tensor, " batch"]:
    """``fg_miou`` of clips: a segment is a tube through all frames."""
    table = whole_clip_contingency(predicted, true)
    return fg_miou_of(table, empty=empty, absent_ids=absent_ids, epsilon=epsilon)


def video_mbo(
    predicted: Integer[Tensor, "batch time height width"],
    true: Integer[Tensor, "batch time height width"],
    *,
    background: bool = False,
    empty: Empty = "nan",
    absent_ids: AbsentIds = "skip",
    epsilon: float = 0.0,
) -> Float64[Tensor, " batch"]:
    """``mbo`` of clips: a segment is a tube through all frames."""
    table = whole_clip_contingency(predicted, true)
    return mbo_of(table, background=background, empty=empty, absent_ids=absent_ids, epsilon=epsilon)


def miou_of(
    table: Contingency, *, absent_ids: AbsentIds, epsilon: float
) -> Float64[Tensor, " batch"]:
    """``miou`` from a contingency table."""
    return mean_assigned(pairwise_iou(table, epsilon), table, True, "nan", absent_ids)


def fg_miou_of(
    table: Contingency, *, empty: Empty, absent_ids: AbsentIds, epsilon: float
) -> Float64[Tensor, " batch"]:
    """``fg_miou`` from a contingency table."""
    return mean_assigned(pairwise_iou(table, epsilon), table, False, empty, absent_ids)


def mbo_of(
    table: Contingency, *, background: bool, empty: Empty, absent_ids: AbsentIds, epsilon: float
) -> Float64[Tensor, " batch"]:
    """``mbo`` from a contingency table."""
    return mean_best(pairwise_iou(table, epsilon), table, background, empty, absent_ids)


def overlap_scores_of(
    table: Contingency,
    *,
    empty: Empty,
    absent_ids: AbsentIds,
    epsilon: float,
    mbo_background: bool,
) -> dict[str, Float64[Tensor, " batch"]]:
    """``miou``, ``fg_miou`` and ``mbo`` by name, from one table of overlaps."""
    iou = pairwise_iou(table, epsilon)
    return {
        "miou": mean_assigned(iou, table, True, "nan", absent_ids),
        "fg_miou": mean_assigned(iou, table, False, empty, absent_ids),
        "mbo": mean_best(iou, table, mbo_background, empty, absent_ids),
    }


def mean_assigned(
    iou: Float64[Tensor, "batch true predicted"],
    table: Contingency,
    background: bool,
    empty: Empty,
    absent_ids: AbsentIds,
) -> Float64[Tensor, " batch"]:
    """Mean over true segments of the overlap under the best one-to-one matching of them."""
    if not background:
        iou = iou * (table.true_ids > 0)[:, :, None]
    return mean_over_segments(optimal_assignment(iou), table, background, empty, absent_ids)


def mean_best(
    iou: Float64[Tensor, "batch true predicted"],
    table: Contingency,
    background: bool,
    empty: Empty,
    absent_ids: AbsentIds,
) -> Float64[Tensor, " batch"]:
    """Mean over true segments of the largest overlap with any prediction."""
    return mean_over_segments(best_overlap(iou), table, background, empty, absent_ids)


def pairwise_iou(table: Contingency, epsilon: float) -> Float64[Tensor, "batch true predicted"]:
    """Intersection over union of every true with every predicted segment; 0 where both are empty.

    A union of whole pixels is at least 1, so the clamp touches pairs of empty segments only.
    """
    counts = table.counts.double()  # integers over integers would be float32
    union = counts.sum(2, keepdim=True) + counts.sum(1, keepdim=True) - counts
    return counts / (union.clamp(min=1) + epsilon)


def mean_over_segments(
    values: Float64[Tensor, "batch true"],
    table: Contingency,
    background: bool,
    empty: Empty,
    absent_ids: AbsentIds,
) -> Float64[Tensor, " batch"]:
    """Average over a sample's true segments; ``empty`` where it has none.

    Segments that do not occur have the value 0, so they only widen the divisor.
    """
    occurs = table.counts.sum(2) > 0
    counted = occurs if background else occurs & (table.true_ids > 0)
    if absent_ids == "zero":
        largest = table.true_ids.where(occurs, -1).amax(1)
        divisor = largest + 1 if background else largest.clamp(min=0)
    elif absent_ids == "skip":
        divisor = counted.sum(1)
    else:
        raise EvalError(f"absent_ids must be skip or zero, not {absent_ids!r}")
    mean = (values * counted).sum(1) / divisor
    return torch.where(divisor > 0, mean, empty_value(empty))
