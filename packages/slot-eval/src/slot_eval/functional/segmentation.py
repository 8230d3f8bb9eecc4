"""All scores of a picture or of a clip from its contingency tables: the pixels are read once."""

from functools import partial

from jaxtyping import Bool, Float64, Integer
from torch import Tensor

from slot_eval.functional.ari import Empty, ari_of, fg_ari_of
from slot_eval.functional.contingency import Contingency, clip_contingency, contingency
from slot_eval.functional.frames import mean_over_frames
from slot_eval.functional.iou import AbsentIds, overlap_scores_of
from slot_eval.functional.tracking import identity_switch_rate_of, identity_switches_of

METRICS = ("ari", "fg_ari", "miou", "fg_miou", "mbo")
CLIP_METRICS = (
    *METRICS,
    *(f"frame_{name}" for name in METRICS),
    "identity_switches",
    "identity_switch_rate",
)


def segmentation_metrics(
    predicted: Integer[Tensor, "batch *space"],
    true: Integer[Tensor, "batch *space"],
    *,
    ignore: Bool[Tensor, "batch *space"] | None = None,
    empty_ari: Empty = "one",
    empty_iou: Empty = "nan",
    absent_ids: AbsentIds = "skip",
    epsilon: float = 0.0,
    mbo_background: bool = False,
) -> dict[str, Float64[Tensor, " batch"]]:
    """ARI, FG-ARI, mIoU, FG-mIoU and mBO of pictures [B H W] or clips [B T H W].

    The arguments are those of the single functions (``empty`` of FG-ARI and of the overlap scores
    are apart because most of the field treats them differently), and so are the values. Pixels in
    ``ignore`` are left out. The labels may lie on any device, the scores are on the CPU. Raises
    EvalError on labels that differ in shape, are negative or not integers.
    """
    return scores_of(
        contingency(predicted, true, ignore=ignore),
        empty_ari=empty_ari,
        empty_iou=empty_iou,
        absent_ids=absent_ids,
        epsilon=epsilon,
        mbo_background=mbo_background,
    )


def clip_metrics(
    predicted: Integer[Tensor, "batch time height width"],
    true: Integer[Tensor, "batch time height width"],
    *,
    ignore: Bool[Tensor, "batch time height width"] | None = None,
    empty_ari: Empty = "one",
    empty_iou: Empty = "nan",
    absent_ids: AbsentIds = "skip",
    frame_absent_ids: AbsentIds = "skip",
    epsilon: float = 0.0,
    mbo_background: bool = False,
) -> dict[str, Float64[Tensor, " batch"]]:
    """Everything that is said of clips, by the names in ``CLIP_METRICS``.

    The five scores of whole clips (those of ``segmentation_metrics``), ``frame_*``, which are the
    means over single frames, and ``identity_switches`` with their rate. ``frame_absent_ids`` is
    ``absent_ids`` of the single frames: "zero" would punish that an object is out of sight.
    Raises EvalError as ``segmentation_metrics``.
    """
    tables = clip_contingency(predicted, true, ignore=ignore)
    scores = partial(
        scores_of,
        empty_ari=empty_ari,
        empty_iou=empty_iou,
        epsilon=epsilon,
        mbo_background=mbo_background,
    )
    single = scores(tables.frames, absent_ids=frame_absent_ids)
    return {
        **scores(tables.whole, absent_ids=absent_ids),
        **{f"frame_{name}": mean_over_frames(one, tables) for name, one in single.items()},
        "identity_switches": identity_switches_of(tables),
        "identity_switch_rate": identity_switch_rate_of(tables),
    }


def scores_of(
    table: Contingency,
    *,
    empty_ari: Empty,
    empty_iou: Empty,
    absent_ids: AbsentIds,
    epsilon: float,
    mbo_background: bool,
) -> dict[str, Float64[Tensor, " batch"]]:
    """The five scores of each sample of a contingency table."""
    return {
        "ari": ari_of(table),
        "fg_ari": fg_ari_of(table, empty_ari),
        **overlap_scores_of(
            table,
            empty=empty_iou,
            absent_ids=absent_ids,
            epsilon=epsilon,
            mbo_background=mbo_background,
        ),
    }
