"""Metrics over a stream of batches: per-sample values are kept, means are taken at the end.

A mean of batch means depends on how the data set was cut into batches. Here every sample counts
once: values are summed with ``math.fsum``, which rounds once, so the result is bitwise the same
for every batch size, order and number of processes.

``ARI``, ``FGARI``, ``MIoU``, ``FGMIoU``, ``MBO``, ``IdentitySwitches`` and ``IdentitySwitchRate``
stream one function each of ``slot_eval.functional``; ``PerFrame`` makes one that scores single
frames of another. ``Results`` streams a whole protocol with one row per sample id.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from jaxtyping import Bool, Float64, Integer
from torch import Tensor

from slot_eval.errors import EvalError
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
from slot_eval.protocols import Protocol


def mean_of_defined(values: Iterable[float]) -> tuple[float, int]:
    """The mean over the values that are not NaN (NaN if there is none) and how many are."""
    defined = [value for value in values if not math.isnan(value)]
    return (math.fsum(defined) / len(defined) if defined else math.nan), len(defined)


class StreamingMetric:
    """One metric over a stream of batches of pictures [B H W] or clips [B T H W].

    ``values`` holds the value of every sample so far: gather it from other processes, or
    ``merge`` their metrics.
    """

    def __init__(
        self,
        score: Callable[..., Tensor],
        tables: Callable[..., Contingency | ClipContingency] = contingency,
    ) -> None:
        self.score, self.tables = score, tables
        self.values: list[float] = []

    def update(
        self, predicted: Integer[Tensor, "batch *space"], true: Integer[Tensor, "batch *space"]
    ) -> Float64[Tensor, " batch"]:
        """Score a batch, keep its values and return them."""
        values = self.score(self.tables(predicted, true))
        self.values.extend(values.tolist())
        return values

    def merge(self, other: "StreamingMetric") -> None:
        """Take over the values of another metric of the same kind."""
        self.values.extend(other.values)

    def compute(self) -> float:
        """The mean over the samples where the metric is defined; NaN where there is none."""
        return mean_of_defined(self.values)[0]

    @property
    def num_undefined(self) -> int:
        """The number of samples whose value is NaN."""
        return len(self.values) - mean_of_defined(self.values)[1]


class ARI(StreamingMetric):
    """Streaming ``functional.ari``."""

    def __init__(self) -> None:
        super().__init__(ari_of)


class FGARI(StreamingMetric):
    """Streaming ``functional.fg_ari``."""

    def __init__(self, *, empty: Empty = "one") -> None:
        super().__init__(partial(fg_ari_of, empty=empty))


class MIoU(StreamingMetric):
    """Streaming ``functional.miou``."""

    def __init__(self, *, absent_ids: AbsentIds = "skip", epsilon: float = 0.0) -> None:
        super().__init__(partial(miou_of, absent_ids=absent_ids, epsilon=epsilon))


class FGMIoU(StreamingMetric):
    """Streaming ``functional.fg_miou``."""

    def __init__(
        self, *, empty: Empty = "nan", absent_ids: AbsentIds = "skip", epsilon: float = 0.0
    ) -> None:
        super().__init__(partial(fg_miou_of, empty=empty, absent_ids=absent_ids, epsilon=epsilon))


class MBO(StreamingMetric):
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


class PerFrame(StreamingMetric):
    """Streaming ``functional.frame_*`` of clips: ``PerFrame(FGARI(empty="nan"))``."""

    def __init__(self, metric: ARI | FGARI | MIoU | FGMIoU | MBO) -> None:
        super().__init__(partial(mean_score_of_frames, metric.score), clip_contingency)


class IdentitySwitches(StreamingMetric):
    """Streaming ``functional.identity_switches`` of clips."""

    def __init__(self) -> None:
        super().__init__(identity_switches_of, clip_contingency)


class IdentitySwitchRate(StreamingMetric):
    """Streaming ``functional.identity_switch_rate`` of clips."""

    def __init__(self) -> None:
        super().__init__(identity_switch_rate_of, clip_contingency)


def mean_score_of_frames(
    score: Callable[[Contingency], Tensor], tables: ClipContingency
) -> Float64[Tensor, " batch"]:
    """Each clip's mean over its frames of what ``score`` says of them."""
    return mean_over_frames(score(tables.frames), tables)


class Results:
    """The scores of a data set under one protocol, one row per sample id.

    Processes score their share, gather ``rows`` and ``extend`` with what the others have. A
    sample that was scored twice (samplers pad the last round with repeats) counts once; if the
    two rows differ, as they may by rounding in another batch, the smaller one stays, so that the
    order of arrival never matters.

    Rows of clips of more than one frame have more metrics than those of pictures, see
    ``Protocol``; each metric is averaged over the samples that have it.
    """

    def __init__(self, protocol: Protocol) -> None:
        self.protocol = protocol
        self._rows: dict[str, dict[str, Any]] = {}

    def update(
        self,
        ids: Sequence[str],
        predicted: Integer[Tensor, "batch time height width"],
        true: Integer[Tensor, "batch time height width"],
        overlap: Bool[Tensor, "batch time height width"] | None = None,
    ) -> None:
        """Score a batch; ``ids`` names its samples in order."""
        if len(ids) != predicted.shape[0]:
            raise EvalError(f"{len(ids)} ids were given for {predicted.shape[0]} samples")
        scores = self.protocol.score(predicted, true, overlap)
        columns = [values.tolist() for values in scores.values()]
        self.extend(
            {"id": name, **dict(zip(scores, row, strict=True))}
            for name, *row in zip(ids, *columns, strict=True)
        )

    def extend(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add rows that another process, or an earlier run, computed under the same protocol."""
        of_picture = {"id", *self.protocol.metrics}
        for row in rows:
            if set(row) not in (of_picture, {"id", *self.protocol.clip_metrics}):
                raise EvalError(
                    f"a row has the keys {', '.join(sorted(row))}; {self.protocol.id} expects "
                    f"{', '.join(sorted(of_picture))}, and of a clip all of "
                    f"{', '.join(self.protocol.clip_metrics)}"
                )
            kept = self._rows.get(row["id"])
            if kept is None or self._order(row) < self._order(kept):
                self._rows[row["id"]] = dict(row)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One dict per sample, ``id`` and the metrics by name, sorted by id; NaN is undefined."""
        return [dict(self._rows[name]) for name in sorted(self._rows)]

    def summary(self) -> dict[str, dict[str, float | int]]:
        """Per metric: ``mean`` over the ``n`` samples where it is defined; ``undefined`` others.

        The metrics of pictures, and those of clips where there is one.
        """
        summary: dict[str, dict[str, float | int]] = {}
        for name in self.protocol.clip_metrics:
            values = [row[name] for row in self._rows.values() if name in row]
            if values or name in self.protocol.metrics:
                mean, n = mean_of_defined(values)
                summary[name] = {"mean": mean, "n": n, "undefined": len(values) - n}
        return summary

    def __len__(self) -> int:
        return len(self._rows)

    def _order(self, row: Mapping[str, Any]) -> tuple[float, ...]:
        # NaN compares false with everything, which would let the order of arrival decide
        values = (row[name] for name in self.protocol.clip_metrics if name in row)
        return tuple(-math.inf if math.isnan(value) else value for value in values)
