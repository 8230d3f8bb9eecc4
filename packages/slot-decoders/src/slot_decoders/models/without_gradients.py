"""How a model runs when it does not train, whatever mode its parts are in."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

import torch
from torch import nn

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
Model = TypeVar("Model", bound=nn.Module)


def without_gradients(
    method: Callable[Concatenate[Model, Parameters], Result],
) -> Callable[Concatenate[Model, Parameters], Result]:
    """Run a method in eval mode and without gradients, and restore the modes after.

    Each module's own mode: a part that is kept in eval while the rest trains stays there.
    """

    @functools.wraps(method)
    def run(self: Model, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        modes = [(module, module.training) for module in self.modules()]
        self.eval()
        try:
            with torch.no_grad():
                return method(self, *args, **kwargs)
        finally:
            for module, training in modes:
                module.training = training

    return run
