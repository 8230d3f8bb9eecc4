"""Whether objects are found at all: CorLoc, detection recall and the error of their number.

An object is found where some predicted segment overlaps it by more than ``threshold`` (strictly,
as in Seitzer et al., 2023, whose code calls the recall "object recovery"). CorLoc (Deselaers, Alexe
and Ferrari, 2010) asks for one found object per picture, the recall for all of them. Neither is
worse for surplus segments, which ``object_count_error`` counts: an unsupervised prediction does not
say which of its segments is the background, so the background counts as a segment on both sides.
"""

import torch
from jaxtyping import Bool, Float64, Integer
from torch import Tensor

from slot_eval.functional.ari import Empty, empty_value
from slot_eval.functional.contingency import Contingency, contingency
from slot_eval.functional.iou import pairwise_iou
from slot_eval.functional.matching import best_overlap

Labels = Integer[Tensor, "batch *space"]
Mark = Bool[Tensor, "batch *space"]


def corloc(
    predicted: Labels,
    true: Labels,
    *,
    ignore: Mark | None = None,
    threshold: float = 0.5,
    empty: Empty = "nan",
) -> Float64[Tensor, " batch"]:
    """1 where at least one object is found, else 0; ``empty`` for a sample without objects.

    Pictures [B H W], or clips, of which an object is a tube through all frames. Raises EvalError on
    labels that differ in shape, are negative or not integers.
    """
    return corloc_of(contingency(predicted, true, ignore=ignore), threshold, empty)


def detection_recall(
    predicted: Labels,
    true: Labels,
    *,
    ignore: Mark | None = None,
    threshold: float = 0.5,
    empty: Empty = "nan",
) -> Float64[Tensor, " batch"]:
    """The share of a sample's objects that are found. Arguments and errors as of ``corloc``."""
    return detection_recall_of(contingency(predicted, true, ignore=ignore), threshold, empty)


def object_count_error(
    predicted: Labels, true: Labels, *, ignore: Mark | None = None
) -> Float64[Tensor, " batch"]:
    """How many segments too many or too few: |predicted - true|, backgrounds included.

    Raises EvalError as ``corloc``.
    """
    return object_count_error_of(contingency(predicted, true, ignore=ignore))


def corloc_of(table: Contingency, threshold: float, empty: Empty) -> Float64[Tensor, " batch"]:
    """``corloc`` from a contingency table."""
    found, objects = found_objects(table, threshold)
    return torch.where(objects.any(1), found.any(1).double(), empty_value(empty))


def detection_recall_of(
    table: Contingency, threshold: float, empty: Empty
) -> Float64[Tensor, " batch"]:
    """``detection_recall`` from a contingency table."""
    found, objects = found_objects(table, threshold)
    return torch.where(objects.any(1), found.sum(1).double() / objects.sum(1), empty_value(empty))


def object_count_error_of(table: Contingency) -> Float64[Tensor, " batch"]:
    """``object_count_error`` from a contingency table."""
    true, predicted = (table.counts.sum(axis) > 0 for axis in (2, 1))
    return (predicted.sum(1) - true.sum(1)).abs().double()


def found_objects(
    table: Contingency, threshold: float
) -> tuple[Bool[Tensor, "batch true"], Bool[Tensor, "batch true"]]:
    """Which true segments are objects that are found, and which are objects."""
    objects = (table.true_ids > 0) & (table.counts.sum(2) > 0)
    return objects & (best_overlap(pairwise_iou(table, 0.0)) > threshold), objects
