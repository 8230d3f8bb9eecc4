"""All five segmentation scores from one contingency table: the pixels are read once."""

from jaxtyping import Float64, Integer
from torch import Tensor

from slot_eval.functional.ari import Empty, ari_of, fg_ari_of
from slot_eval.functional.contingency import contingency
from slot_eval.functional.iou import AbsentIds, fg_miou_of, mbo_of, miou_of

METRICS = ("ari", "fg_ari", "miou", "fg_miou", "mbo")


def segmentation_metrics(
    predicted: Integer[Tensor, "batch *space"],
    true: Integer[Tensor, "batch *space"],
    *,
    empty_ari: Empty = "one",
    empty_iou: Empty = "nan",
    absent_ids: AbsentIds = "skip",
    epsilon: float = 0.0,
    mbo_background: bool = False,
) -> dict[str, Float64[Tensor, " batch"]]:
    """ARI, FG-ARI, mIoU, FG-mIoU and mBO of pictures [B H W] or clips [B T H W].

    The arguments are those of the single functions (``empty`` of FG-ARI and of the overlap scores
    are apart because most of the field treats them differently), and so are the values. The
    labels may lie on any device, the scores are on the CPU. Raises EvalError on labels that
    differ in shape, are negative or not integers.
    """
    table = contingency(predicted, true)
    return {
        "ari": ari_of(table),
        "fg_ari": fg_ari_of(table, empty_ari),
        "miou": miou_of(table, absent_ids=absent_ids, epsilon=epsilon),
        "fg_miou": fg_miou_of(table, empty=empty_iou, absent_ids=absent_ids, epsilon=epsilon),
        "mbo": mbo_of(
            table,
            background=mbo_background,
            empty=empty_iou,
            absent_ids=absent_ids,
            epsilon=epsilon,
        ),
    }
