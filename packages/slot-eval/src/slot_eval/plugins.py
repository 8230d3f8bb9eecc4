"""Models and data sets, found by entry points so that no package has to be imported by name.

A package offers models in the entry-point group ``slot_eval.models`` (a callable
``load_model(path_or_repo) -> model`` with ``model.segment(video, source=None) -> masks``) and data
sets in ``slot_eval.datasets`` (a callable ``load_dataset_by_name(name, *, split, **options)``
whose result has ``len`` and items ``{"video": uint8 [T 3 H W], "labels": [T H W], "id": str}``).

Where several packages offer a group, the argument chooses: ``slot-data:shapes``.

What these callables raise as ValueError or OSError while they load or read is about the user's
input, and becomes an EvalError here; every other exception is a bug and stays as it is.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from slot_eval.errors import EvalError

MODELS = "slot_eval.models"
DATASETS = "slot_eval.datasets"
# What to install when nothing offers a group.
PROVIDERS = {MODELS: ("models", "slot-decoders"), DATASETS: ("data sets", "slot-data")}


def load_model(path: str) -> Any:
    """The model saved under a folder or repo id; raises EvalError when it cannot be loaded."""
    entry, path = choose(MODELS, path)
    load: Callable[[str], Any] = entry.load()
    with user_errors(f"cannot load the model {path}"):
        return load(path)


def load_dataset(name: str, split: str, options: Mapping[str, Any]) -> Any:
    """The data set of this name; raises EvalError when it cannot be loaded."""
    entry, name = choose(DATASETS, name)
    load: Callable[..., Any] = entry.load()
    with user_errors(f"cannot load the data set {name}"):
        return load(name, split=split, **options)


def choose(
    group: str, argument: str, offers: Mapping[str, EntryPoint] | None = None
) -> tuple[EntryPoint, str]:
    """The entry point that serves ``argument``, and what to hand it.

    ``offers`` by name are those of all installed packages unless given.
    """
    if offers is None:
        offers = {entry.name: entry for entry in entry_points(group=group)}
    prefix, colon, rest = argument.partition(":")
    if colon and prefix in offers:
        return offers[prefix], rest
    if len(offers) == 1:
        return next(iter(offers.values())), argument
    what, package = PROVIDERS[group]
    if not offers:
        raise EvalError(f"no installed package offers {what}: pip install {package}")
    examples = " or ".join(f"{name}:{argument}" for name in sorted(offers))
    raise EvalError(f"several packages offer {what}: write {examples}")


@contextmanager
def user_errors(doing: str) -> Iterator[None]:
    """Turn a ValueError or OSError of a plugin into an EvalError that says what was being done."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise EvalError(f"{doing}: {' '.join(str(error).split())}") from error
