"""Whether a model is the one that its configuration describes, told before it is saved.

A checkpoint is loaded by building what ``config.json`` describes. A part that was put into a
model by hand is not in there: the weights would not fit, or, where they have the names and shapes
of the part that it replaced, another model would be loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from slot_core.errors import CheckpointError


def check_described(model: nn.Module, build: Callable[[], nn.Module]) -> None:
    """Raise CheckpointError unless ``build`` makes modules and weights as those of ``model``.

    Values are not compared, and neither are the plain arguments of equal modules.
    """
    described = _built(build)
    theirs = dict(described.named_modules())
    for name, module in model.named_modules():
        other = type(theirs.get(name))
        if type(module) is not other:
            instead = "no such part" if name not in theirs else f"a {other.__name__} there"
            part = f"the model's {name}" if name else "the model"
            raise CheckpointError(
                f"{part} is a {type(module).__name__}, but its configuration describes "
                f"{instead}, which is what would be loaded; a subclass of "
                f"{type(model).__name__} can build it in from_config"
            )
    ours, own = _shapes(model), _shapes(described)
    for name in sorted(ours.keys() | own.keys()):
        if ours.get(name) != own.get(name):
            raise CheckpointError(
                f"the model's {name} has the shape {ours.get(name)}, but its configuration "
                f"describes {own.get(name)}"
            )


def check_unshared(weights: dict[str, Tensor]) -> None:
    """Raise CheckpointError if two of the weights are the same memory."""
    names: dict[Any, str] = {}
    for name, value in weights.items():
        if value.numel():
            other = names.setdefault(value.data_ptr(), name)
            if other != name:
                raise CheckpointError(
                    f"the weights {other} and {name} are the same memory, and a checkpoint holds "
                    "each once; give one of the two parts a copy"
                )


def _built(build: Callable[[], nn.Module]) -> nn.Module:
    """What is built, without its memory where that is possible, and without drawing anything."""
    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):
                return build()
        except (NotImplementedError, RuntimeError):  # it reads values while it is built
            return build()


def _shapes(model: nn.Module) -> dict[str, list[int]]:
    return {name: list(value.shape) for name, value in model.state_dict().items()}
