"""The scores of several seeds: mean, standard error, extremes and how many succeed."""

import math
from collections.abc import Sequence
from statistics import mean, stdev


def summarise(scores: Sequence[float], success: float) -> dict[str, float]:
    """Mean, standard error of the mean (NaN for one seed), minimum, maximum and successes."""
    error = stdev(scores) / math.sqrt(len(scores)) if len(scores) > 1 else math.nan
    return {
        "mean": mean(scores),
        "standard_error": error,
        "minimum": min(scores),
        "maximum": max(scores),
        "successes": sum(score >= success for score in scores),
    }


def sentence(metric: str, scores: Sequence[float], success: float) -> str:
    """The same to read."""
    found = summarise(scores, success)
    return (
        f"{metric}, {len(scores)} seeds: mean {found['mean']:.4f}, standard error "
        f"{found['standard_error']:.4f}, minimum {found['minimum']:.4f}, maximum "
        f"{found['maximum']:.4f}; {found['successes']} of {len(scores)} reach {success}"
    )
