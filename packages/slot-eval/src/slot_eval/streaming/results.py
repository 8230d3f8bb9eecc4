"""The scores of a data set, one row per sample id, whatever batches and processes they come from.

Means are over samples, each once, summed with ``math.fsum``: bitwise the same for every batch size,
order and number of processes.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from torch import Tensor

from slot_eval.errors import EvalError
from slot_eval.streaming.metric import mean_of_defined


@runtime_checkable
class Scoring(Protocol):
    """What ``Results`` needs of a protocol."""

    @property
    def id(self) -> str:
        """The name that results carry."""
        ...

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names that every row of a picture has."""
        ...

    @property
    def clip_metrics(self) -> tuple[str, ...]:
        """The names that every row of a clip has; they begin with ``metrics``."""
        ...

    @property
    def optional_metrics(self) -> tuple[str, ...]:
        """The names that a row may have besides, where its sample knows more."""
        ...

    def row_ids(self, ids: Sequence[str], num_frames: int) -> list[str]:
        """The id of each value that ``score`` gives for samples of these ids and frames."""
        ...

    def score(self, predicted: Tensor, true: Tensor, *marks: Any, **more: Any) -> dict[str, Tensor]:
        """Metric name -> one value per row."""
        ...

    def settings(self) -> dict[str, Any]:
        """Every switch by name, for result files."""
        ...


P = TypeVar("P", bound=Scoring)


class Results(Generic[P]):
    """The scores of a data set under one protocol, one row per sample id.

    Processes score their share, gather ``rows`` and ``extend`` with what the others have. A
    sample that was scored twice (samplers pad the last round with repeats) counts once; if the
    two rows differ, as they may by rounding in another batch, the smaller one stays, so that the
    order of arrival never matters. Two samples whose rows would have one id, a picture ``a/0`` and
    a clip ``a`` of frames, are refused by ``update``, which alone sees whose rows they are.

    Rows of clips of more than one frame may have more metrics than those of pictures, see
    ``Protocol``; each metric is averaged over the samples that have it.
    """

    def __init__(self, protocol: P) -> None:
        self.protocol = protocol
        self._rows: dict[str, dict[str, Any]] = {}
        self._samples: dict[str, str] = {}  # whose row it is

    def update(
        self, ids: Sequence[str], predicted: Tensor, true: Tensor, *marks: Any, **more: Any
    ) -> None:
        """Score a batch; ``ids`` names its samples in order. The rest is for ``protocol.score``."""
        if len(ids) != predicted.shape[0]:
            raise EvalError(f"{len(ids)} ids were given for {predicted.shape[0]} samples")
        scores = self.protocol.score(predicted, true, *marks, **more)
        names = [row for name in ids for row in self._row_ids(name, predicted.shape[1])]
        columns = [values.tolist() for values in scores.values()]
        self.extend(
            {"id": name, **dict(zip(scores, row, strict=True))}
            for name, *row in zip(names, *columns, strict=True)
        )

    def extend(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add rows that another process, or an earlier run, computed under the same protocol."""
        of_picture, of_clip = set(self.protocol.metrics), set(self.protocol.clip_metrics)
        for row in rows:
            if set(row) - {"id", *self.protocol.optional_metrics} not in (of_picture, of_clip):
                raise EvalError(
                    f"a row has the keys {', '.join(sorted(row))}; {self.protocol.id} expects "
                    f"{', '.join(sorted({'id', *of_picture}))}, and of a clip all of "
                    f"{', '.join(self.protocol.clip_metrics)}"
                )
            kept = self._rows.get(row["id"])
            if kept is None or self._order(row) < self._order(kept):
                self._rows[row["id"]] = dict(row)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One dict per sample, ``id`` and the metrics by name, sorted by id; NaN is undefined."""
        return [dict(self._rows[name]) for name in sorted(self._rows)]

    @property
    def names(self) -> tuple[str, ...]:
        """The metrics that a row can have, in the order in which they are shown."""
        return (*self.protocol.clip_metrics, *self.protocol.optional_metrics)

    def summary(self) -> dict[str, dict[str, float | int]]:
        """Per metric: ``mean`` over the ``n`` samples where it is defined; ``undefined`` others.

        The metrics of pictures, and the others where there is a sample that has them.
        """
        summary: dict[str, dict[str, float | int]] = {}
        for name in self.names:
            values = [row[name] for row in self._rows.values() if name in row]
            if values or name in self.protocol.metrics:
                mean, n = mean_of_defined(values)
                summary[name] = {"mean": mean, "n": n, "undefined": len(values) - n}
        return summary

    def __len__(self) -> int:
        return len(self._rows)

    def _row_ids(self, name: str, num_frames: int) -> list[str]:
        """The rows of one sample; raises EvalError where another sample has one of them."""
        rows = self.protocol.row_ids([name], num_frames)
        for row in rows:
            if (other := self._samples.setdefault(row, name)) != name:
                raise EvalError(
                    f"the row {row!r} would be of sample {other!r} and of sample {name!r}; "
                    f"{self.protocol.id} needs other ids"
                )
        return rows

    def _order(self, row: Mapping[str, Any]) -> tuple[float, ...]:
        # NaN compares false with everything, which would let the order of arrival decide
        values = (row[name] for name in self.names if name in row)
        return tuple(-math.inf if math.isnan(value) else value for value in values)
