"""In what two results differ, apart from their scores.

A model's configuration is compared where both results have one, as the names and shapes of weights
do not show everything: a switch without weights of its own, or the number of slots.
"""

from collections.abc import Iterator, Mapping
from typing import Any

Difference = tuple[str, Any, Any]  # its name, and both values
Result = Mapping[str, Any]

# Whatever changes nothing, or only what a model draws.
FREE_SETTINGS = ("seed", "device", "batch_size", "also")
# Of a model that learns from another's slots: each seed has its own.
FREE_CONFIG = ("slots_of",)


def kinds(one: Result, other: Result) -> Iterator[Difference]:
    """What makes scores of another kind: protocol, data, or model."""
    for key in ("protocol", "data", "num_samples"):
        if one[key] != other[key]:
            yield key, one[key], other[key]
    yield from _of_both(one["protocol_settings"], other["protocol_settings"], "of the protocol")
    yield from cards(one, other)
    mine, theirs = (flat(result.get("model_config") or {}) for result in (one, other))
    if mine and theirs:
        yield from _of_both(mine, theirs, "of the model")
    first, second = one.get("model_structure"), other.get("model_structure")
    if None not in (first, second) and first != second:
        yield "model_structure", first, second


def cards(one: Result, other: Result) -> Iterator[Difference]:
    """Whether what the data's package says of it differs."""
    mine, theirs = ((result.get("data_card") or {}).get("hash") for result in (one, other))
    if None not in (mine, theirs) and mine != theirs:
        yield "the hash of the data's card", mine, theirs


def settings(one: Result, other: Result, free: tuple[str, ...] = ()) -> Iterator[Difference]:
    """Settings that both have, and that differ, but for those that change nothing."""
    mine, theirs = one.get("settings") or {}, other.get("settings") or {}
    for key in mine:
        if key in theirs and key not in (*FREE_SETTINGS, *free) and mine[key] != theirs[key]:
            yield f"the setting {key}", mine[key], theirs[key]


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested configuration by dotted keys."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        elif key not in FREE_CONFIG:
            found[f"{prefix}{key}"] = value
    return found


def _of_both(one: Result, other: Result, of_what: str) -> Iterator[Difference]:
    for key in dict.fromkeys([*one, *other]):
        if one.get(key) != other.get(key):
            yield f"{key} {of_what}", one.get(key), other.get(key)
