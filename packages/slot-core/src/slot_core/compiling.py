"""Compiling a module in parts, between which noise is drawn.

``torch.compile`` cannot take a generator into a graph, and here every sample draws from one of its
own (``noise.py``): a whole training step would be cut at each of these draws, and be made anew for
each number of samples. So ``compile`` of a module that draws, or that repeats something, compiles
the methods that do the work, and what lies between them stays as it is. A frame's corrector or a
layer of a transformer is then compiled once and called often, which is also quicker to make ready
than one graph of all frames and layers.

Methods are compiled and not ``__call__``, since all modules share the code of ``__call__``, and
with it PyTorch's record of which sizes have changed and how often a thing was compiled.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def compile_methods(module: nn.Module, *names: str, **options: Any) -> None:
    """Compile methods of one module, in place.

    A copy made afterwards would call the methods of the original: copy first.

    Args:
        module: whose methods they are.
        names: of the methods.
        options: of ``torch.compile``.
    """
    for name in names:
        setattr(module, name, torch.compile(getattr(module, name), **options))
