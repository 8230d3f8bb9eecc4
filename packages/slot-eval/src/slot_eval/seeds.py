"""The scores of several seeds: whether they are such, mean, standard error, extremes and how many
succeed.

Scores of different models, data or protocols have no common mean, and a model that is scored twice
counts twice. What a result says of these must therefore agree. Settings such as the data's options
may differ for a good reason (a folder on another machine), so they are told and no more.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from slot_eval.errors import EvalError
from slot_eval.report import RESULT

# Whatever changes nothing, or only what a model draws.
FREE_SETTINGS = ("seed", "device", "batch_size", "also")


def check_seeds(paths: Sequence[Path], results: Sequence[Mapping[str, Any]]) -> list[str]:
    """See whether results may be those of one recipe with different seeds.

    Returns:
        A sentence for each setting in which one differs from the first.

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
        for what, one, other in _differences(first, result):
            raise EvalError(
                f"{first_path} and {path} are not of two seeds of one recipe: {what} is {one!r} in "
                f"the first and {other!r} in the second"
            )
        warnings += [
            f"warning: {first_path} and {path}: the setting {what} is {one!r} in the first and "
            f"{other!r} in the second"
            for what, one, other in _other_settings(first, result)
        ]
    return warnings


def _file(path: Path) -> Path:
    """The file of a result that is given as itself or as its folder."""
    return (path / RESULT if path.is_dir() else path).resolve()


def _differences(
    one: Mapping[str, Any], other: Mapping[str, Any]
) -> Iterator[tuple[str, Any, Any]]:
    """What must agree and does not: its name, and both values."""
    for key in ("protocol", "data", "num_samples"):
        if one[key] != other[key]:
            yield key, one[key], other[key]
    mine, theirs = one["protocol_settings"], other["protocol_settings"]
    for key in mine.keys() | theirs.keys():
        if mine.get(key) != theirs.get(key):
            yield f"{key} of the protocol", mine.get(key), theirs.get(key)
    cards = [(result.get("data_card") or {}).get("hash") for result in (one, other)]
    structures = [result.get("model_structure") for result in (one, other)]
    for name, (first, second) in (
        ("the hash of the data's card", cards),
        ("model_structure", structures),
    ):
        if None not in (first, second) and first != second:
            yield name, first, second


def _other_settings(
    one: Mapping[str, Any], other: Mapping[str, Any]
) -> Iterator[tuple[str, Any, Any]]:
    """Settings of both that differ."""
    mine, theirs = one.get("settings") or {}, other.get("settings") or {}
    for key in mine:
        if key in theirs and key not in FREE_SETTINGS and mine[key] != theirs[key]:
            yield key, mine[key], theirs[key]


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
