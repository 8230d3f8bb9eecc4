"""Panoptic quality without classes (Kirillov et al., CVPR 2019, "Panoptic Segmentation", eq. 1).

A true and a predicted segment match where their IoU is above 1/2, so that no segment can match two:

    PQ = sum of matched IoU / (matches + unmatched true / 2 + unmatched predicted / 2).

The background is a segment like any other, since an unsupervised prediction does not say which of
its segments is the background. ``background=False`` asks for objects alone, and then treats the
background as the paper treats void (section 4.1): a predicted segment that lies in it by more than
half is no false one.
"""

import torch
from jaxtyping import Bool, Float64, Integer
from torch import Tensor

from slot_eval.functional.ari import Empty, empty_value
from slot_eval.functional.contingency import Contingency, contingency
from slot_eval.functional.iou import pairwise_iou

Labels = Integer[Tensor, "batch *space"]


def panoptic_quality(
    predicted: Labels,
    true: Labels,
    *,
    ignore: Bool[Tensor, "batch *space"] | None = None,
    background: bool = True,
    empty: Empty = "nan",
) -> Float64[Tensor, " batch"]:
    """Panoptic quality of pictures [B H W], or of clips with tubes as segments: 0 to 1.

    ``empty`` for a sample with neither a true nor a false segment. Raises EvalError on labels that
    differ in shape, are negative or not integers.
    """
    table = contingency(predicted, true, ignore=ignore)
    return panoptic_quality_of(table, background, empty)


def panoptic_quality_of(
    table: Contingency, background: bool, empty: Empty
) -> Float64[Tensor, " batch"]:
    """``panoptic_quality`` from a contingency table."""
    sizes_true, sizes_predicted = table.counts.sum(2), table.counts.sum(1)
    true = (sizes_true > 0) & ((table.true_ids >= 0) if background else (table.true_ids > 0))
    iou = pairwise_iou(table, 0.0)
    matched = (iou > 0.5) & true[:, :, None]
    false = (sizes_predicted > 0) & ~matched.any(1)
    if not background:
        in_background = (table.counts * (table.true_ids == 0)[:, :, None]).sum(1)
        false &= 2 * in_background <= sizes_predicted
    missed = true & ~matched.any(2)
    divisor = matched.sum((1, 2)) + (missed.sum(1) + false.sum(1)) / 2
    return torch.where(
        divisor > 0, (iou * matched).sum((1, 2)) / divisor, empty_value(empty)
    ).double()
