"""A metric over a stream of batches: per-sample values are kept, the mean is taken at the end.

A mean of batch means depends on how the data set was cut into batches. Here every sample counts
once: values are summed with ``math.fsum``, which rounds once, so the result is bitwise the same
for every batch size, order and number of processes.
"""

import math
from collections.abc import Callable, Iterable

from jaxtyping import Float64
from torch import Tensor


def mean_of_defined(values: Iterable[float]) -> tuple[float, int]:
    """The mean over the values that are not NaN (NaN if there is none) and how many are."""
    defined = [value for value in values if not math.isnan(value)]
    return (math.fsum(defined) / len(defined) if defined else math.nan), len(defined)


class StreamingMetric:
    """One metric over a stream of batches.

    ``values`` holds the value of every sample so far: gather it from other processes, or
    ``merge`` their metrics. ``score`` is a function of (predicted, true) with one value per
    sample.
    """

    def __init__(self, score: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.score = score
        self.values: list[float] = []

    def update(self, predicted: Tensor, true: Tensor) -> Float64[Tensor, " batch"]:
        """Score a batch, keep its values and return them."""
        values = self.score(predicted, true)
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
