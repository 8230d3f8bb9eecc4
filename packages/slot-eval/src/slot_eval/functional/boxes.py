"""Precision and recall of boxes, as the SlotDiffusion code counts them on SAVi's tasks.

Each true box looks for the predicted box that overlaps it most (the first of equals). It is found
if their IoU is ``threshold`` or more and no earlier true box has taken that one. Precision is found
boxes per predicted, recall per true box. Of labels, the boxes are those of every predicted segment,
whichever is the background, and of every true object.

Boxes here reach from the outer edge of their first pixel to that of their last, so that a segment
of one pixel has an area. That code ends at the last pixel's inner edge and cannot judge those.
"""

import torch
from jaxtyping import Bool, Float, Float64, Integer
from torch import Tensor

from slot_eval.functional.ari import Empty, empty_value
from slot_eval.functional.contingency import check_labels

Labels = Integer[Tensor, "batch height width"]
Mark = Bool[Tensor, "batch height width"]
Boxes = Float[Tensor, "boxes 4"]


def box_precision(
    predicted: Labels,
    true: Labels,
    *,
    ignore: Mark | None = None,
    threshold: float = 0.5,
    empty: Empty = "nan",
) -> Float64[Tensor, " batch"]:
    """Found boxes per predicted segment of pictures: 0 to 1.

    ``empty`` for a picture without a predicted pixel. Raises EvalError on labels that differ in
    shape or are not integers.
    """
    counts = counted(predicted, true, ignore, threshold)
    return torch.where(counts[:, 1] > 0, counts[:, 0] / counts[:, 1], empty_value(empty))


def box_recall(
    predicted: Labels,
    true: Labels,
    *,
    ignore: Mark | None = None,
    threshold: float = 0.5,
    empty: Empty = "nan",
) -> Float64[Tensor, " batch"]:
    """Found boxes per object of pictures: 0 to 1; ``empty`` for a picture without objects."""
    counts = counted(predicted, true, ignore, threshold)
    return torch.where(counts[:, 2] > 0, counts[:, 0] / counts[:, 2], empty_value(empty))


def counted(
    predicted: Labels, true: Labels, ignore: Mark | None, threshold: float
) -> Float64[Tensor, "batch 3"]:
    """Found, predicted and true boxes of each picture."""
    check_labels(predicted, true)
    ignored = torch.zeros_like(true, dtype=torch.bool) if ignore is None else ignore
    counts = []
    for p, t, out in zip(predicted.long(), true.long(), ignored, strict=True):
        predicted_boxes = boxes_of(p.masked_fill(out, -1), smallest=0)
        true_boxes = boxes_of(t.masked_fill(out, -1), smallest=1)
        found = found_boxes(predicted_boxes, true_boxes, threshold)
        counts.append([found, len(predicted_boxes), len(true_boxes)])
    return torch.tensor(counts, dtype=torch.float64).view(len(true), 3)


def boxes_of(labels: Integer[Tensor, "height width"], smallest: int) -> Boxes:
    """Left, top, right and bottom of every label from ``smallest`` on, in rising order."""
    boxes = []
    for label in torch.unique(labels).tolist():
        if label >= smallest:
            rows, columns = torch.nonzero(labels == label, as_tuple=True)
            first = columns.min(), rows.min()
            boxes.append([*first, columns.max() + 1, rows.max() + 1])
    return torch.tensor(boxes, dtype=torch.float64).view(len(boxes), 4)


def found_boxes(predicted: Boxes, true: Float[Tensor, "objects 4"], threshold: float = 0.5) -> int:
    """How many true boxes (left, top, right, bottom) are found among the predicted ones."""
    if not len(predicted) or not len(true):
        return 0
    iou = box_iou(true, predicted)
    taken: set[int] = set()
    for overlaps, best in zip(iou, iou.argmax(1).tolist(), strict=True):
        if overlaps[best] >= threshold:
            taken.add(best)
    return len(taken)


def box_iou(one: Boxes, other: Float[Tensor, "others 4"]) -> Float64[Tensor, "boxes others"]:
    """Intersection over union of boxes (left, top, right, bottom); 0 where both have no area."""
    one, other = one.double(), other.double()
    low = torch.maximum(one[:, None, :2], other[None, :, :2])
    high = torch.minimum(one[:, None, 2:], other[None, :, 2:])
    shared = (high - low).clamp(min=0).prod(2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (one, other)]
    union = areas[0][:, None] + areas[1][None] - shared
    return torch.where(union > 0, shared / union, 0.0)
