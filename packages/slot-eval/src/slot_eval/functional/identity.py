"""IDF1: how much of an object's way one and the same segment follows it (Ristani et al., 2016,
"Performance Measures and a Data Set for Multi-Target, Multi-Camera Tracking", section 2.3).

A true object and a predicted segment meet in a frame where their masks' IoU is at least
``threshold``. One segment is assigned to each object for the whole clip so that most meetings are
kept (the paper's truth-to-result matching). With IDTP the kept meetings,

    IDF1 = 2 IDTP / (frames in which objects are seen + frames in which segments are).

Boxes of a detector mean objects; a segmentation also has to put the background somewhere. So a
segment that lies in the true background by more than half in some frame is not seen there.
"""

import torch
from jaxtyping import Bool, Float64, Integer
from torch import Tensor

from slot_eval.functional.ari import Empty, empty_value
from slot_eval.functional.contingency import ClipContingency, clip_contingency
from slot_eval.functional.iou import pairwise_iou
from slot_eval.functional.matching import optimal_assignment


def idf1(
    predicted: Integer[Tensor, "batch time height width"],
    true: Integer[Tensor, "batch time height width"],
    *,
    ignore: Bool[Tensor, "batch time height width"] | None = None,
    threshold: float = 0.5,
    empty: Empty = "nan",
) -> Float64[Tensor, " batch"]:
    """IDF1 of clips: 0 to 1; ``empty`` for a clip where neither an object nor a segment is seen.

    Raises EvalError on labels that differ in shape, are negative or not integers.
    """
    return idf1_of(clip_contingency(predicted, true, ignore=ignore), threshold, empty)


def idf1_of(
    tables: ClipContingency, threshold: float = 0.5, empty: Empty = "nan"
) -> Float64[Tensor, " batch"]:
    """``idf1`` from the tables of a clip's frames."""
    shape = tables.counts.shape
    objects = (tables.true_ids > 0)[:, None, :]
    meets = (pairwise_iou(tables.frames, 0.0).view(shape) >= threshold) & objects[..., None]
    kept = optimal_assignment(meets.sum(1).double()).sum(1)
    seen_objects = ((tables.counts.sum(3) > 0) & objects).sum((1, 2))
    sizes = tables.counts.sum(2)
    in_background = (tables.counts * (tables.true_ids == 0)[:, None, :, None]).sum(2)
    seen_segments = ((sizes > 0) & (2 * in_background <= sizes)).sum((1, 2))
    seen = seen_objects + seen_segments
    return torch.where(seen > 0, 2 * kept / seen, empty_value(empty))
