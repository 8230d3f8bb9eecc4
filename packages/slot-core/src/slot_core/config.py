"""Frozen configurations in which an unknown key is an error, and errors that name the key.

The same objects validate a recipe's YAML, the command line's ``--set a.b=c`` and the Hub's
``config.json``, so all three give the same sentence for the same mistake.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, TypeGuard, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from slot_core.errors import ConfigError, printable

Config = TypeVar("Config", bound="StrictConfig")


# Pydantic speaks of tuples and of our classes, which are in no file of a user.
YAML_WORDS = {
    "tuple_type": "expected a list, in brackets",
    "model_type": "expected a mapping, with keys of its own",
}


class StrictConfig(BaseModel):
    """Base of every configuration: frozen, unknown keys forbidden, defaults validated."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False
    )

    @classmethod
    def parse(cls: type[Config], data: Mapping[str, Any], *, source: str) -> Config:
        """Validate ``data``; ``source`` is the file or option that it came from.

        Raises:
            ConfigError: naming the source, the dotted key, its value and what was expected.
        """
        try:
            return cls.model_validate(dict(data))
        except ValidationError as error:
            raise ConfigError(f"{source}: {_describe(cls, error)}") from None


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with ``changes`` laid over it, key by key at every depth.

    Where a change names another ``type``, it replaces the whole part: the options of one kind
    of backbone mean nothing to another.
    """
    merged = dict(base)
    for key, change in changes.items():
        current = merged.get(key)
        merged[key] = merge(current, change) if _goes_together(current, change) else change
    return merged


def _goes_together(current: Any, change: Any) -> TypeGuard[Mapping[str, Any]]:
    if not isinstance(current, Mapping) or not isinstance(change, Mapping):
        return False
    return change.get("type", current.get("type")) == current.get("type")


def _describe(config_class: type[BaseModel], error: ValidationError) -> str:
    """The first problem of a failed validation, in one sentence."""
    problem = error.errors(include_url=False)[0]
    holder, key = _locate(config_class, problem["loc"])
    context = problem.get("ctx", {})
    tag = f"{key}.{context.get('discriminator', '').strip(chr(39))}"  # pydantic quotes it
    match problem["type"]:
        case "extra_forbidden":
            allowed = sorted(holder.model_fields) if holder else []
            close = difflib.get_close_matches(str(problem["loc"][-1]), allowed, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"allowed: {', '.join(allowed)}"
            return f"unknown key '{key}'; {hint}"
        case "missing":
            return f"key '{key}' is missing"
        case "union_tag_not_found":
            return f"key '{tag}' is missing"
        case "union_tag_invalid":
            expected, found = context["expected_tags"], printable(str(context["tag"]))
            return f"key '{tag}' has the value '{found}': expected one of {expected}"
    reason = problem["msg"].removeprefix("Value error, ")
    reason = YAML_WORDS.get(problem["type"], reason)
    if not key:
        return reason
    found = printable(repr(problem["input"]))
    return f"key '{key}' has the value {found}: {reason[0].lower()}{reason[1:]}"


def _locate(
    config_class: type[BaseModel], location: tuple[int | str, ...]
) -> tuple[type[BaseModel] | None, str]:
    """The configuration that holds the last key of ``location``, and the dotted key.

    A discriminated union puts the chosen ``type`` into the location; a user never wrote that,
    so it selects the member and stays out of the key.
    """
    holder: type[BaseModel] | None = config_class
    options: tuple[type[BaseModel], ...] = (config_class,)  # what may stand at this place
    words: list[str] = []
    for part in location:
        chosen = tuple(option for option in options if _tag(option) == part)
        if len(options) > 1 and chosen:
            options = chosen
            continue
        words.append(printable(str(part)))
        if isinstance(part, int):  # an item of a sequence, whose annotation names its options
            continue
        holder = options[0] if len(options) == 1 else None
        field = holder.model_fields.get(part) if holder else None
        options = _configs_in(field.annotation) if field else ()
    return holder, ".".join(words)


def _configs_in(annotation: Any) -> tuple[type[BaseModel], ...]:
    """The configuration classes that an annotation such as ``A | B`` or ``Annotated`` allows."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return (annotation,)
    return tuple(found for inner in get_args(annotation) for found in _configs_in(inner))


def _tag(config_class: type[BaseModel]) -> Any:
    """The value of ``type`` that selects a member of a discriminated union."""
    field = config_class.model_fields.get("type")
    return field.default if field else None
