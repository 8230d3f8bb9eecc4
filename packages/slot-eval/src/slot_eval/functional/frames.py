"""The segmentation scores frame by frame: each frame is a picture that is judged by itself.

A clip's score is the mean over its frames, and a data set's the mean over its clips, so that a
long clip weighs no more than a short one. A frame where the score is undefined (by ``empty``,
one without an object) is left out of its clip's mean, and a clip without any other is undefined
itself.

Nothing here asks whether a segment keeps its id from one frame to the next: perfect frames whose
ids change score 1. That is what ``video_*`` (one point set per clip) and ``identity_switches``
see. Published numbers on videos are of both kinds.
"""

from jaxtyping import Float64, Integer
from torch import Tensor

from slot_eval.functional.ari import Empty, ari_of, fg_ari_of
from slot_eval.functional.contingency import ClipContingency, clip_contingency
from slot_eval.functional.iou import AbsentIds, fg_miou_of, mbo_of, miou_of

Labels = Integer[Tensor, "batch time height width"]


def frame_ari(predicted: Labels, true: Labels) -> Float64[Tensor, " batch"]:
    """Mean over the frames of a clip of their ``ari``. Raises EvalError as it."""
    tables = clip_contingency(predicted, true)
    return mean_over_frames(ari_of(tables.frames), tables)


def frame_fg_ari(
    predicted: Labels, true: Labels, *, empty: Empty = "one"
) -> Float64[Tensor, " batch"]:
    """Mean over the frames of a clip of their ``fg_ari``.

    ``empty`` is the value of a frame without foreground; "nan" leaves it out.
    """
    tables = clip_contingency(predicted, true)
    return mean_over_frames(fg_ari_of(tables.frames, empty), tables)


def frame_miou(
    predicted: Labels, true: Labels, *, absent_ids: AbsentIds = "skip", epsilon: float = 0.0
) -> Float64[Tensor, " batch"]:
    """Mean over the frames of a clip of their ``miou``.

    An object that is out of sight in a frame is absent from it.
    """
    tables = clip_contingency(predicted, true)
    values = miou_of(tables.frames, absent_ids=absent_ids, epsilon=epsilon)
    return mean_over_frames(values, tables)


def frame_fg_miou(
    predicted: Labels,
    true: Labels,
    *,
    empty: Empty = "nan",
    absent_ids: AbsentIds = "skip",
    epsilon: float = 0.0,
) -> Float64[Tensor, " batch"]:
    """Mean over the frames of a clip of their ``fg_miou``; ``empty`` as in ``frame_fg_ari``."""
    tables = clip_contingency(predicted, true)
    values = fg_miou_of(tables.frames, empty=empty, absent_ids=absent_ids, epsilon=epsilon)
    return mean_over_frames(values, tables)


def frame_mbo(
    predicted: Labels,
    true: Labels,
    *,
    background: bool = False,
    empty: Empty = "nan",
    absent_ids: AbsentIds = "skip",
    epsilon: float = 0.0,
) -> Float64[Tensor, " batch"]:
    """Mean over the frames of a clip of their ``mbo``; ``empty`` as in ``frame_fg_ari``."""
    tables = clip_contingency(predicted, true)
    values = mbo_of(
        tables.frames, background=background, empty=empty, absent_ids=absent_ids, epsilon=epsilon
    )
    return mean_over_frames(values, tables)


def mean_over_frames(
    values: Float64[Tensor, " frames"], tables: ClipContingency
) -> Float64[Tensor, " batch"]:
    """Of a value for each of ``tables.frames``, each clip's mean where it is defined, else NaN."""
    return values.view(tables.counts.shape[:2]).nanmean(1)
