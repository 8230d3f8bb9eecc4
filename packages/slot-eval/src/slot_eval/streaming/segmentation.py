"""The streaming forms of the segmentation metrics, of pictures [B H W] or clips [B T H W].

``ARI``, ``FGARI``, ``MIoU``, ``FGMIoU``, ``MBO``, ``IdentitySwitches`` and ``IdentitySwitchRate``
stream one function each of ``slot_eval.functional``; ``PerFrame`` makes one that scores single
frames of another.
"""

from collections.abc import Callable
from functools import partial

from jaxtyping import Float64
from torch import Tensor

from slot_eval.functional.ari import Empty, ari_of, fg_ari_of
from slot_eval.functional.contingency import (
    ClipContingency,
    Contingency,
    clip_contingency,
    contingency,
)
from slot_eval.functional.frames import mean_over_frames
from slot_eval.functional.iou import AbsentIds, fg_miou_of, mbo_of, miou_of
from slot_eval.functional.tracking import identity_switch_rate_of, identity_switches_of
from slot_eval.streaming.metric import StreamingMetric


class TableMetric(StreamingMetric):
    """A metric of contingency tables alone: ``score_table`` of what ``tables`` counts."""

    def __init__(
        self,
        score_table: Callable[..., Tensor],
        tables: Callable[..., Contingency | ClipContingency] = contingency,
    ) -> None:
        super().__init__(partial(score_of_tables, score_table, tables))
        self.score_table = score_table


def score_of_tables(
    score_table: Callable[..., Tensor],
    tables: Callable[..., Contingency | ClipContingency],
    predicted: Tensor,
    true: Tensor,
) -> Tensor:
    """A function of labels out of one of tables; at the module's level, for pickle."""
    return score_table(tables(predicted, true))


class ARI(TableMetric):
    """Streaming ``functional.ari``."""

    def __init__(self) -> None:
        super().__init__(ari_of)


class FGARI(TableMetric):
    """Streaming ``functional.fg_ari``."""

    def __init__(self, *, empty: Empty = "one") -> None:
        super().__init__(partial(fg_ari_of, empty=empty))


class MIoU(TableMetric):
    """Streaming ``functional.miou``."""

    def __init__(self, *, absent_ids: AbsentIds = "skip", epsilon: float = 0.0) -> None:
        super().__init__(partial(miou_of, absent_ids=absent_ids, epsilon=epsilon))


class FGMIoU(TableMetric):
    """Streaming ``functional.fg_miou``."""

    def __init__(
        self, *, empty: Empty = "nan", absent_ids: AbsentIds = "skip", epsilon: float = 0.0
    ) -> None:
        super().__init__(partial(fg_miou_of, empty=empty, absent_ids=absent_ids, epsilon=epsilon))


class MBO(TableMetric):
    """Streaming ``functional.mbo``."""

    def __init__(
        self,
        *,
        background: bool = False,
        empty: Empty = "nan",
        absent_ids: AbsentIds = "skip",
        epsilon: float = 0.0,
    ) -> None:
        super().__init__(
            partial(
                mbo_of, background=background, empty=empty, absent_ids=absent_ids, epsilon=epsilon
            )
        )


class PerFrame(TableMetric):
    """Streaming ``functional.frame_*`` of clips: ``PerFrame(FGARI(empty="nan"))``."""

    def __init__(self, metric: ARI | FGARI | MIoU | FGMIoU | MBO) -> None:
        super().__init__(partial(mean_score_of_frames, metric.score_table), clip_contingency)


class IdentitySwitches(TableMetric):
    """Streaming ``functional.identity_switches`` of clips."""

    def __init__(self) -> None:
        super().__init__(identity_switches_of, clip_contingency)


class IdentitySwitchRate(TableMetric):
    """Streaming ``functional.identity_switch_rate`` of clips."""

    def __init__(self) -> None:
        super().__init__(identity_switch_rate_of, clip_contingency)


def mean_score_of_frames(
    score: Callable[[Contingency], Tensor], tables: ClipContingency
) -> Float64[Tensor, " batch"]:
    """Each clip's mean over its frames of what ``score`` says of them."""
    return mean_over_frames(score(tables.frames), tables)
