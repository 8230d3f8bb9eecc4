"""The adjusted Rand index of two segmentations (Hubert and Arabie, 1985).

Over all pairs of pixels, let a pair be joined or parted by each segmentation: TP pairs are joined
by both, FN only by the truth, FP only by the prediction, TN by neither. Then

    ARI = 2 (TP TN - FN FP) / ((TP + FN)(FN + TN) + (TP + FP)(FP + TN)).

This is the textbook "(index - expected) / (maximum - expected)" multiplied out. The four counts
are exact int64 (pictures up to 10^9 pixels); their products pass 2^63 from 256x256 on, so they
are multiplied in float64, where TP TN never exceeds the denominator and nothing is lost by
cancellation, unlike the textbook form on nearly constant segmentations.

FG-ARI leaves out the pixels whose *true* label is 0, whatever is predicted there; the predicted
label 0 is a segment like any other. Both segmentations a single segment, or both all single
pixels, is 0/0 and perfect: 1. A picture without foreground has no pair to judge: most of the field
counts it as 1 (``empty="one"``), some leave it out (``empty="nan"``) or count it 0 (``"zero"``).
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float64, Integer
from torch import Tensor

from slot_eval.errors import EvalError
from slot_eval.functional.contingency import Contingency, contingency, whole_clip_contingency

Empty = Literal["one", "nan", "zero"]
EMPTY_VALUES = {"one": 1.0, "nan": float("nan"), "zero": 0.0}


def ari(
    predicted: Integer[Tensor, "batch height width"], true: Integer[Tensor, "batch height width"]
) -> Float64[Tensor, " batch"]:
    """Adjusted Rand index of pictures over all pixels, background included: at most 1, chance 0.

    Raises EvalError on labels that differ in shape, are negative or not integers.
    """
    return ari_of(contingency(predicted, true))


def fg_ari(
    predicted: Integer[Tensor, "batch height width"],
    true: Integer[Tensor, "batch height width"],
    *,
    empty: Empty = "one",
) -> Float64[Tensor, " batch"]:
    """Adjusted Rand index over the pixels whose true label is not 0.

    ``empty`` is the value of a picture without such a pixel. Raises EvalError as ``ari``.
    """
    return fg_ari_of(contingency(predicted, true), empty)


def video_ari(
    predicted: Integer[Tensor, "batch time height width"],
    true: Integer[Tensor, "batch time height width"],
) -> Float64[Tensor, " batch"]:
    """``ari`` of clips: all frames are one point set, so ids must hold still through time."""
    return ari_of(whole_clip_contingency(predicted, true))


def video_fg_ari(
    predicted: Integer[Tensor, "batch time height width"],
    true: Integer[Tensor, "batch time height width"],
    *,
    empty: Empty = "one",
) -> Float64[Tensor, " batch"]:
    """``fg_ari`` of clips: all frames are one point set, so ids must hold still through time."""
    return fg_ari_of(whole_clip_contingency(predicted, true), empty)


def ari_of(table: Contingency) -> Float64[Tensor, " batch"]:
    """``ari`` from a contingency table."""
    return adjusted_rand(table, torch.ones_like(table.true_ids, dtype=torch.bool), "one")


def fg_ari_of(table: Contingency, empty: Empty) -> Float64[Tensor, " batch"]:
    """``fg_ari`` from a contingency table."""
    return adjusted_rand(table, table.true_ids > 0, empty)


def adjusted_rand(
    table: Contingency, rows: Bool[Tensor, "batch true"], empty: Empty
) -> Float64[Tensor, " batch"]:
    """The index over the pixels of the chosen true segments; ``empty`` where they hold none."""
    counts = table.counts * rows[:, :, None]
    joined_by_true, joined_by_predicted = counts.sum(2), counts.sum(1)
    pixels = joined_by_true.sum(1)
    both = ordered_pairs(counts.flatten(1)).sum(1)
    only_true = ordered_pairs(joined_by_true).sum(1) - both
    only_predicted = ordered_pairs(joined_by_predicted).sum(1) - both
    neither = ordered_pairs(pixels) - both - only_true - only_predicted

    tp, fn, fp, tn = (n.double() for n in (both, only_true, only_predicted, neither))
    numerator = 2 * (tp * tn - fn * fp)
    denominator = (tp + fn) * (fn + tn) + (tp + fp) * (fp + tn)
    score = torch.where(denominator > 0, numerator / denominator, 1.0)
    return torch.where(pixels > 0, score, empty_value(empty))


def ordered_pairs(counts: Tensor) -> Tensor:
    """Ordered pairs of different pixels among ``counts`` pixels."""
    return counts * (counts - 1)


def empty_value(empty: Empty) -> float:
    """The score that stands for "nothing to judge"."""
    if empty not in EMPTY_VALUES:
        raise EvalError(f"empty must be one of {', '.join(EMPTY_VALUES)}, not {empty!r}")
    return EMPTY_VALUES[empty]
