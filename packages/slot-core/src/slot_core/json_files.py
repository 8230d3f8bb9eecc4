"""JSON files of other people's: ``config.json`` and its like, read within bounds.

json takes what the format does not have (NaN, Infinity), keeps the last of a key that stands twice,
and goes as deep as the stack does. Here all that is a ValueError in words, for which every caller
has a sentence that names the file.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NoReturn

from slot_core.errors import printable

MOST_BYTES = 2**20
DEEPEST = 64  # lists and objects within one another


def read_json(path: Path) -> Any:
    """What a file holds.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is no JSON, or has more than ``MOST_BYTES``, a key twice, numbers that are
            not finite, letters that Unicode does not have, or lists and objects that lie more than
            ``DEEPEST`` within one another.
    """
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"it has more than {MOST_BYTES:,} bytes")
    try:
        value = json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_object,
            parse_float=_finite,
            parse_constant=_refuse_constant,
        )
    except RecursionError:
        raise ValueError(f"it is nested more than {DEEPEST} deep") from None
    _check(value, DEEPEST)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in found if keys.count(key) > 1)
        raise ValueError(f"key '{printable(twice)}' stands there twice")
    return found


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{printable(text)} is too large a number")
    return value


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON's")


def _check(value: Any, deepest: int) -> None:
    if isinstance(value, str):
        value.encode()
    elif isinstance(value, dict | list):
        if not deepest:
            raise ValueError(f"it is nested more than {DEEPEST} deep")
        for inner in [*value, *value.values()] if isinstance(value, dict) else value:
            _check(inner, deepest - 1)
