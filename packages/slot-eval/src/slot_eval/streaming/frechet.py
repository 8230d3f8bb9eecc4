"""The Fréchet distance over a stream, which keeps sums of features and of their products alone."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from slot_eval.errors import EvalError
from slot_eval.functional.frechet import gaussian_distance


class Moments:
    """Count, sum and sum of products of features, in float64."""

    def __init__(self) -> None:
        self.count = 0
        self.sum: Tensor = torch.zeros(0, dtype=torch.float64)
        self.products: Tensor = torch.zeros(0, 0, dtype=torch.float64)

    def update(self, features: Float[Tensor, "samples dim"]) -> None:
        """Add features."""
        features = features.detach().cpu().double()
        self._add(len(features), features.sum(0), features.T @ features)

    def merge(self, other: "Moments") -> None:
        """Add those of another stream."""
        if other.count:
            self._add(other.count, other.sum, other.products)

    def compute(self) -> tuple[Float64[Tensor, " dim"], Float64[Tensor, "dim dim"]]:
        """Mean and covariance; raises EvalError on fewer than two samples."""
        if self.count < 2:
            raise EvalError(f"a Fréchet distance needs at least 2 samples, not {self.count}")
        mean = self.sum / self.count
        spread = self.products - self.count * torch.outer(mean, mean)
        return mean, spread / (self.count - 1)

    def _add(self, count: int, total: Tensor, products: Tensor) -> None:
        if self.count and self.sum.shape != total.shape:
            raise EvalError(f"features of {len(self.sum)} and {len(total)} values do not compare")
        self.count += count
        self.sum = self.sum + total if len(self.sum) else total
        self.products = self.products + products if len(self.products) else products


class FrechetDistance:
    """Streaming ``functional.frechet_distance`` of what ``extractor`` makes of pictures or videos.

    FID with an extractor of pictures, FVD with one of videos; see ``slot_eval.features``. The two
    sides need not have equally many samples.
    """

    def __init__(self, extractor: Callable[[Tensor], Tensor] | None = None) -> None:
        self.extractor = extractor or (lambda features: features)
        self.predicted, self.true = Moments(), Moments()

    def update(self, predicted: Tensor | None = None, true: Tensor | None = None) -> None:
        """Add samples to either side."""
        for samples, side in ((predicted, self.predicted), (true, self.true)):
            if samples is not None:
                side.update(self.extractor(samples))

    def merge(self, other: "FrechetDistance") -> None:
        """Add the samples of another stream."""
        self.predicted.merge(other.predicted)
        self.true.merge(other.true)

    def compute(self) -> float:
        """The distance; raises EvalError on fewer than two samples of a side."""
        return gaussian_distance(*self.predicted.compute(), *self.true.compute())

    @property
    def num_samples(self) -> dict[str, int]:
        """How many samples each side has, which the number cannot be read without."""
        return {"predicted": self.predicted.count, "true": self.true.count}
