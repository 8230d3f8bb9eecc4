"""JSON that describes data, whoever wrote it, read within bounds.

json takes what the format does not have (NaN, Infinity), keeps the last of a key that stands twice,
and goes as deep as the stack does. Descriptions are small and flat, so all that is refused here.
Annotations, which are long, are read by `annotation_json`.
"""

import json
from pathlib import Path
from typing import Any, NoReturn

from slot_data.sample import DataError

MOST_BYTES = 2**26  # a prepared folder tells of every picture that it leaves out
DEEPEST = 64  # lists and objects within one another


def read_json(path: Path) -> Any:
    """What a file holds. Raises DataError if it cannot be read within bounds."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    return parse_json(content, path)


def parse_json(content: bytes | str, name: object) -> Any:
    """What a text states. name: what to call it in errors.

    Raises DataError if it is longer than `MOST_BYTES`, is no JSON, has a key twice, a number that
    is none, letters that Unicode does not have, or is nested more than `DEEPEST` deep.
    """
    if len(content) > MOST_BYTES:
        raise DataError(f"{name} has more than {MOST_BYTES:,} bytes")
    try:
        text = content.decode() if isinstance(content, bytes) else content
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_refused)
        _check(value, DEEPEST)
    except RecursionError:
        raise DataError(f"{name} is nested more than {DEEPEST} deep") from None
    except ValueError as error:
        raise DataError(f"{name} is damaged: {error}") from error
    return value


def shown(name: object, most: int = 60) -> str:
    """Others' words as they may stand in a sentence: quoted, on one line, and not too long."""
    text = repr(name)
    return text if len(text) <= most else f"{text[:most]}…"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"key {shown(next(k for k in found if keys.count(k) > 1))} stands twice")
    return found


def _refused(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON's")


def _check(value: Any, deepest: int) -> None:
    if isinstance(value, str):
        value.encode()
    elif isinstance(value, dict | list):
        if not deepest:
            raise RecursionError
        for inner in [*value, *value.values()] if isinstance(value, dict) else value:
            _check(inner, deepest - 1)
