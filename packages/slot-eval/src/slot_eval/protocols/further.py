"""Metrics that a result holds where they are asked for, beside those of every result.

``empty`` is the protocol's value of a sample without objects. Boxes of a clip are those of its
frames, each by itself; everything else takes a clip as one point set.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from slot_eval.errors import EvalError
from slot_eval.functional.ari import Empty
from slot_eval.functional.boundary import video_boundary_f
from slot_eval.functional.boxes import box_precision, box_recall
from slot_eval.functional.contingency import clip_contingency
from slot_eval.functional.detection import corloc_of, detection_recall_of, object_count_error_of
from slot_eval.functional.identity import idf1_of
from slot_eval.functional.panoptic import panoptic_quality_of

FURTHER_METRICS = (
    "panoptic_quality",
    "corloc",
    "detection_recall",
    "object_count_error",
    "boundary_f",
    "box_precision",
    "box_recall",
    "idf1",
)
OF_CLIPS = ("idf1",)


def check_known(names: Sequence[str]) -> None:
    """Raise EvalError on a name that is none of these metrics."""
    if unknown := [name for name in names if name not in FURTHER_METRICS]:
        raise EvalError(
            f"there is no further metric {unknown[0]!r}; known: {', '.join(FURTHER_METRICS)}"
        )


def further_metrics(
    names: Sequence[str], predicted: Tensor, true: Tensor, ignore: Tensor | None, empty: Empty
) -> dict[str, Tensor]:
    """The metrics of these names of labels [B T H W]; those of clips only where T > 1."""
    check_known(names)
    tables = clip_contingency(predicted, true, ignore=ignore)
    whole = tables.whole
    metrics: dict[str, Callable[[], Tensor]] = {
        "panoptic_quality": lambda: panoptic_quality_of(whole, True, empty),
        "corloc": lambda: corloc_of(whole, 0.5, empty),
        "detection_recall": lambda: detection_recall_of(whole, 0.5, empty),
        "object_count_error": lambda: object_count_error_of(whole),
        "boundary_f": lambda: video_boundary_f(predicted, true, ignore=ignore, empty=empty),
        "box_precision": lambda: over_frames(box_precision, predicted, true, ignore, empty),
        "box_recall": lambda: over_frames(box_recall, predicted, true, ignore, empty),
        "idf1": lambda: idf1_of(tables, empty=empty),
    }
    chosen = [name for name in names if true.shape[1] > 1 or name not in OF_CLIPS]
    return {name: metrics[name]() for name in chosen}


def over_frames(
    metric: Callable[..., Tensor],
    predicted: Tensor,
    true: Tensor,
    ignore: Tensor | None,
    empty: Empty,
) -> Tensor:
    """The mean over a clip's frames of a metric of pictures."""
    flat = None if ignore is None else ignore.flatten(0, 1)
    values = metric(predicted.flatten(0, 1), true.flatten(0, 1), ignore=flat, empty=empty)
    return torch.nanmean(values.view(true.shape[:2]), dim=1)
