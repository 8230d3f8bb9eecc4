"""Options of a dataset by name: the parameters of its class are the only list of them."""

import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from slot_data.framing import Framing
from slot_data.sample import DataError

LONGEST_NAME = 100  # longer ones resemble nothing, and to compare them takes long


def allowed_options(loader: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The loader's parameters except `split`, with their defaults and resolved types. Where it
    takes those of a `Framing` as keywords, their defaults are in its `default_framing`."""
    hints = typing.get_type_hints(loader.__init__ if inspect.isclass(loader) else loader)
    allowed: dict[str, inspect.Parameter] = {}
    for name, parameter in inspect.signature(loader).parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            allowed |= _framing_options(loader)
        elif name != "split":
            allowed[name] = parameter.replace(annotation=hints[name])
    return allowed


def check_options(dataset: str, loader: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Raises DataError for an unknown or missing option and for a value of the wrong kind."""
    allowed = allowed_options(loader)
    for name, value in options.items():
        if name not in allowed:
            raise DataError(
                f"dataset {dataset!r} has no option {name!r}; it has {', '.join(allowed)}"
                f"{meant(name, allowed)}"
            )
        kind = allowed[name].annotation
        if not _is_a(value, kind):
            raise DataError(
                f"option {name} of dataset {dataset!r} is {value!r}; expected {describe(kind)}"
            )
    for name, parameter in allowed.items():
        if parameter.default is parameter.empty and name not in options:
            raise DataError(f"dataset {dataset!r} needs the option {name}")


def all_options(loader: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Every option of the dataset with its value, those that are not given with their defaults;
    what JSON can hold. No size where pictures stay as they are."""
    values = {
        n: options.get(n, parameter.default) for n, parameter in allowed_options(loader).items()
    }
    if values.get("fit") == "file":
        values["image_size"] = None
    return {n: str(value) if isinstance(value, Path) else value for n, value in values.items()}


def parse_option(dataset: str, loader: Callable[..., Any], text: str) -> tuple[str, Any]:
    """ "key=value" of a command line, the value read as the option's type demands. Raises DataError
    where it is none."""
    name, sign, value = text.partition("=")
    if not sign:
        raise DataError(f"option {text!r} is not of the form key=value")
    allowed = allowed_options(loader)
    if name not in allowed:
        check_options(dataset, loader, {name: value})
    for reading in (_integer(value), _WORDS.get(value.lower()), value):
        if reading is not None and _is_a(reading, allowed[name].annotation):
            return name, reading
    if value.lower() == "none" and _is_a(None, allowed[name].annotation):
        return name, None
    kind = describe(allowed[name].annotation)
    raise DataError(f"option {name} of dataset {dataset!r} is {value!r}; expected {kind}")


def meant(word: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown word; empty where it resembles none."""
    close = get_close_matches(word[:LONGEST_NAME], list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def describe(kind: Any) -> str:
    """A type in words."""
    if typing.get_origin(kind) is typing.Literal:
        return " or ".join(repr(value) for value in typing.get_args(kind))
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return " or ".join(describe(part) for part in typing.get_args(kind))
    words = {int: "an integer", str: "a text", bool: "true or false", Path: "a path"}
    return words.get(kind, "none")


def _framing_options(loader: Any) -> dict[str, inspect.Parameter]:
    return {
        name: inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=getattr(loader.default_framing, name),
            annotation=kind,
        )
        for name, kind in typing.get_type_hints(Framing).items()
    }


_WORDS = {"true": True, "false": False}


def _integer(text: str) -> int | None:
    digits = text.removeprefix("-")
    return int(text) if digits.isascii() and digits.isdecimal() else None


def _is_a(value: Any, kind: Any) -> bool:
    origin = typing.get_origin(kind)
    if origin is typing.Literal:
        return value in typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return any(_is_a(value, part) for part in typing.get_args(kind))
    return isinstance(value, kind) and not (kind is int and isinstance(value, bool))
