"""The scores of several seeds: whether they are such, mean, standard error, extremes and how many
succeed.

Scores of different models, data or protocols have no common mean, and a model that is scored twice
counts twice. What a result says of these must therefore agree. Settings such as the data's options
may differ for a good reason (a folder on another machine), so they are told and no more.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from slot_eval.differences import cards, kinds, settings
from slot_eval.errors import EvalError
from slot_eval.report import RESULT

# Settings that are not of the data, and the number of samples, which is shown.
OF_MODELS = ("command", "source", "limit")


def check_seeds(paths: Sequence[Path], results: Sequence[Mapping[str, Any]]) -> list[str]:
    """See whether results may be those of one recipe with different seeds.

    Returns:
        A sentence for each setting in which one differs from the first, and for each result that
        does not say what its model is, as those of files of labels.

    Raises:
        EvalError: where two are of one model, or of different models, data or protocols; it names
            the two files and the values.
    """
    warnings: list[str] = []
    given = list(zip(paths, results, strict=True))
    first_path, first = given[0]
    for number, (path, result) in enumerate(given):
        for before, earlier in given[:number]:
            if _file(before) == _file(path):
                raise EvalError(f"{before} and {path} are one result; give each once")
            own = result.get("model_hash")
            if own is not None and own == earlier.get("model_hash"):
                raise EvalError(f"{before} and {path} are of one model, model_hash {own}")
        for what, one, other in kinds(first, result):
            raise EvalError(
                f"{first_path} and {path} are not of two seeds of one recipe: {what} is {one!r} in "
                f"the first and {other!r} in the second; slot-eval compare shows them in rows"
            )
        warnings += [
            f"warning: {first_path} and {path}: {what} is {one!r} in the first and {other!r} in "
            "the second"
            for what, one, other in settings(first, result)
        ]
    if len(given) > 1:
        warnings += [
            f"warning: {path} does not say what its model is, so whether it is of the same recipe "
            "as the others is taken on trust"
            for path, result in given
            if result.get("model_structure") is None
        ]
    return warnings


def check_data(paths: Sequence[Path], results: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence for each of several results whose data has the name of an earlier one's and is
    other data, or was read otherwise: side by side they look as if they were comparable."""
    warnings: list[str] = []
    firsts: dict[str, tuple[Path, Mapping[str, Any]]] = {}
    for path, result in zip(paths, results, strict=True):
        first_path, first = firsts.setdefault(result["data"], (path, result))
        differing = list(settings(first, result, free=OF_MODELS)) or list(cards(first, result))
        warnings += [
            f"warning: {first_path} and {path} are of {result['data']}, but {what} is {one!r} in "
            f"the first and {other!r} in the second"
            for what, one, other in differing
        ]
    return warnings


def _file(path: Path) -> Path:
    """The file of a result that is given as itself or as its folder."""
    return (path / RESULT if path.is_dir() else path).resolve()


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
