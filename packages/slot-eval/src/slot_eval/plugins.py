"""Models and data sets, found by entry points so that no package has to be imported by name.

A package offers, in the entry-point group

* ``slot_eval.models``: a callable ``load_model(path_or_repo) -> model``, which takes ``changes`` to
  the model's configuration, nested dictionaries, if ``--model-option`` shall work. What a command
  asks of the model are methods on videos in [0, 1], [B T 3 H W]: ``segment(video, source=None)`` ->
  soft masks [B T K H W]; ``reconstruct(video)`` -> video; ``encode(video).slots`` [B T K D];
  ``rollout(slots, num_steps)`` -> slots of later frames, with ``burn_in``, how many it needs;
  ``sample(slots)`` -> video; ``decode(slots)`` -> video and soft masks, or None. A model with
  ``conditioned_on`` (a kind) and ``num_slots`` also takes ``conditioning=`` in those on videos.
* ``slot_eval.datasets``: a callable ``load_dataset_by_name(name, *, split, **options)`` whose
  result has ``len`` and items ``{"video": uint8 [T 3 H W], "id": str}`` with, as far as they are
  known, ``labels``, ``class_labels`` (integers [T H W]), ``overlap`` and ``void`` (bool [T H W]).
* ``slot_eval.cards`` (may be missing): ``describe(name, *, split, **options)`` -> a dict that JSON
  can hold, with a ``hash``: what a result says of its data.
* ``slot_eval.conditioning`` (asked by conditioned models only):
  ``conditioning(kind, labels [B H W], num_slots)`` -> what the model is told.

Where several packages offer a group, the argument chooses: ``slot-data:shapes``.

What these callables raise as ValueError or OSError while they load or read is about the user's
input, and becomes an EvalError here; every other exception is a bug and stays as it is.
"""

import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points
from inspect import signature
from typing import Any

import torch
from torch import Tensor

from slot_eval.errors import EvalError

MODELS = "slot_eval.models"
DATASETS = "slot_eval.datasets"
CARDS = "slot_eval.cards"
CONDITIONING = "slot_eval.conditioning"
# What to install when nothing offers a group.
PROVIDERS = {
    MODELS: ("models", "slot-decoders"),
    DATASETS: ("data sets", "slot-data"),
    CONDITIONING: ("conditioning", "slot-data"),
}


def load_model(path: str, changes: Mapping[str, Any] | None = None) -> Any:
    """The model saved under a folder or repo id, with ``changes`` to its configuration.

    Raises:
        EvalError: when it cannot be loaded, or changed.
    """
    entry, path = choose(MODELS, path)
    load: Callable[..., Any] = entry.load()
    more = {"changes": changes} if changes else {}
    if more and "changes" not in signature(load).parameters:
        raise EvalError(f"the models of {entry.name} take no changes; leave out --model-option")
    with user_errors(f"cannot load the model {path}"):
        return load(path, **more)


def load_dataset(name: str, split: str, options: Mapping[str, Any]) -> Any:
    """The data set of this name; raises EvalError when it cannot be loaded.

    Where it refuses an option that reads as a number, the error says how to give a text.
    """
    prefix, colon, _ = name.partition(":")
    offers = {entry.name for entry in entry_points(group=DATASETS)}
    if colon and offers and prefix not in offers:
        raise EvalError(
            f"no installed package offers data sets as {prefix!r}, only as "
            f"{', '.join(sorted(offers))}"
        )
    entry, name = choose(DATASETS, name)
    load: Callable[..., Any] = entry.load()
    check_options(name, load, options)
    try:
        with user_errors(f"cannot load the data set {name}"):
            return load(name, split=split, **options)
    except EvalError as error:
        raise EvalError(f"{error}{quoting(str(error), options)}") from error


def quoting(refusal: str, options: Mapping[str, Any]) -> str:
    """The end of a refusal that names an option and expects a text, where what was given reads as
    a number, or true or false; empty of any other."""
    for key, value in options.items():
        text = json.dumps(value)
        texts = ("a text", repr(text))
        if isinstance(value, int) and key in refusal.split() and any(t in refusal for t in texts):
            return f"; the text is given as --option {key}='\"{text}\"'"
    return ""


def check_options(name: str, load: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Raise EvalError on an option that the data set does not take, or lacks."""
    signature = inspect.signature(load)
    try:
        signature.bind(name, split="", **options)
    except TypeError as error:
        named = ", ".join(
            key
            for key, parameter in list(signature.parameters.items())[1:]
            if key != "split" and parameter.kind is not parameter.VAR_KEYWORD
        )
        raise EvalError(
            f"cannot load the data set {name}: {error}; its options are {named or 'none'}"
        ) from None


def read_sample(dataset: Any, index: int, source: str) -> Mapping[str, Any]:
    """A sample of the data set that ``source`` names.

    Raises:
        EvalError: if it cannot be read or is none: anybody's data set may give something else.
    """
    where = f"sample {index} of {source}"
    with user_errors(f"cannot read {where}"):
        sample = dataset[index]
    check_sample(sample, where)
    return sample


def check_sample(sample: Any, where: str) -> None:
    """Raise EvalError unless this is a sample."""
    if not isinstance(sample, Mapping) or not isinstance(sample.get("id"), str):
        raise EvalError(f"{where} is no mapping with a text as its 'id'")
    video, labels = sample.get("video"), sample.get("labels")
    right = isinstance(video, Tensor) and video.dtype == torch.uint8 and video.ndim == 4
    if video is not None and not (right and video.shape[1] == 3):
        raise EvalError(
            f"{where}: the video is {described(video)}, expected a tensor of uint8 "
            "[time 3 height width]; a picture is a video of one frame"
        )
    if labels is None:
        return
    if not isinstance(labels, Tensor) or labels.is_floating_point():
        raise EvalError(f"{where}: labels are {described(labels)}, expected a tensor of integers")
    if video is not None and labels.shape != (len(video), *video.shape[2:]):
        raise EvalError(
            f"{where}: labels of {list(labels.shape)} do not fit the video of {list(video.shape)}, "
            "expected [time height width]"
        )


def described(value: Any) -> str:
    """What a value is, in the words of a sentence that refuses it."""
    shape, kind = getattr(value, "shape", None), type(value).__name__
    return kind if shape is None else f"a {kind} of {value.dtype} {list(shape)}"


def data_card(name: str, split: str, options: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the data set's package says of it; None where it says nothing."""
    offers = {entry.name: entry for entry in entry_points(group=CARDS)}
    providers = {entry.name for entry in entry_points(group=DATASETS)}
    prefix, colon, rest = name.partition(":")
    if colon and prefix in providers:
        provider, name = prefix, rest
    else:
        provider = next(iter(providers)) if len(providers) == 1 else None
    if provider not in offers:
        return None
    describe: Callable[..., dict[str, Any]] = offers[provider].load()
    with user_errors(f"cannot describe the data set {name}"):
        return describe(name, split=split, **options)


def conditioning(kind: str, labels: Tensor, num_slots: int) -> Tensor:
    """What a model conditioned on ``kind`` is told of frames with these labels [B H W]."""
    entry, kind = choose(CONDITIONING, kind)
    read: Callable[[str, Tensor, int], Tensor] = entry.load()
    with user_errors("cannot condition the model"):
        return read(kind, labels, num_slots)


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
