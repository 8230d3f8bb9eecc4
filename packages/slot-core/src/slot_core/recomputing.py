"""Recomputing in the backward pass what a method would else keep from the forward pass for it
(gradient checkpointing; Chen et al. 2016, arXiv 1604.06174).

Of a method that is recomputed only what it is given is kept. When gradients come back, it runs once
more, and what it then keeps is needed no longer when the gradients have passed. So the peak of
memory is what all methods are given, and what one of them keeps: it falls where the work is done in
many equal parts, a frame or a layer after the other, and not where one method does all of it. So a
module says by ``enable_gradient_checkpointing`` which of its methods these are, and one whose rows
do not depend on one another is done in pieces of them, so that there are parts where its code has
none.

It costs about one more forward pass. What is computed is the same: in one go bit by bit, and in
pieces but for the order of sums. Dropout draws from PyTorch's own generators, which are set back
for the second run; other generators are not, so a method that is given one is not for this, nor is
one that drops out for pieces.

With ``compile`` (compiling.py), compile first: what is compiled then is a method, and not its
pieces one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from slot_core.errors import ConfigError

# Of a batch. With more of them what a piece keeps soon is little beside all else, and they become
# too small to be done at full speed.
PIECES = 8


def recompute_methods(module: nn.Module, *names: str, batch_axes: int = 0) -> None:
    """Let methods of one module recompute what they keep, in place, wherever there are gradients.

    A copy made afterwards would call the methods of the original: copy first.

    Args:
        module: whose methods they are.
        names: of the methods.
        batch_axes: how many of the first axes, of every tensor that goes in or comes out, are of
            rows that do not depend on one another, [batch ...] or [batch time ...]; the methods
            then run on pieces of an eighth of the rows, at most one frame of each video. 0 for
            methods that run as they are.
    """
    for name in names:
        setattr(module, name, _recomputing(getattr(module, name), batch_axes))


def enable_gradient_checkpointing(part: nn.Module) -> None:
    """Ask a part, which may be anybody's, to recompute what it keeps.

    Raises:
        ConfigError: if it does not say how.
    """
    enable = getattr(part, "enable_gradient_checkpointing", None)
    if enable is None:
        raise ConfigError(
            f"{type(part).__name__} cannot recompute what it keeps for its gradients: it has no "
            "method enable_gradient_checkpointing"
        )
    enable()


def kept_bytes(module: nn.Module, step: Callable[[], object]) -> int:
    """How much the forward pass of ``step`` keeps for gradients, beside the module's own weights.

    Args:
        module: that ``step`` calls.
        step: a training step, as far as its loss, which it returns.
    """
    kept: WeakSet[_Kept] = WeakSet()

    def keep(value: Tensor) -> _Kept:
        one = _Kept(value)
        kept.add(one)
        return one

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda one: one.value):
        loss = step()
    own = {one.untyped_storage().data_ptr() for one in (*module.parameters(), *module.buffers())}
    storages = [one.value.untyped_storage() for one in kept]
    sizes = {one.data_ptr(): one.nbytes() for one in storages if one.data_ptr() not in own}
    del loss  # until here, as it holds what is kept
    return sum(sizes.values())


@dataclass(frozen=True, eq=False)
class _Kept:
    """A tensor, for as long as something may need it for gradients."""

    value: Tensor


def _recomputing(method: Callable[..., Any], batch_axes: int) -> Callable[..., Any]:
    @wraps(method)
    def run(*args: Any, **options: Any) -> Any:
        if not torch.is_grad_enabled():
            return method(*args, **options)
        if not batch_axes:
            return checkpoint(method, *args, use_reentrant=False, **options)
        pieces = _pieces(args, batch_axes)
        made = [checkpoint(method, *piece, use_reentrant=False, **options) for piece in pieces]
        leading = next(one.shape[:batch_axes] for one in args if isinstance(one, Tensor))
        return _together(made, leading)

    return run


def _pieces(args: Sequence[Any], axes: int) -> list[tuple[Any, ...]]:
    """The arguments of each piece, whose further batch axes are of length 1."""
    leading = next(one.shape[:axes] for one in args if isinstance(one, Tensor))
    rows, frames = leading.numel(), leading[1] if axes > 1 else 1
    count = max(min(rows, PIECES), frames)
    ones = (1,) * (axes - 1)
    # Not by tensor_split, of which each part fills a whole tensor with zeros for its gradients.
    sizes = [rows // count + (piece < rows % count) for piece in range(count)]
    parts = [
        [piece.unflatten(0, (-1, *ones)) for piece in one.flatten(0, axes - 1).split(sizes)]
        if isinstance(one, Tensor)
        else [one] * count
        for one in args
    ]
    return list(zip(*parts, strict=True))


def _together(made: Sequence[Any], leading: torch.Size) -> Any:
    """What a method gives for all rows; what is no tensor is the same for all pieces."""
    first = made[0]
    if isinstance(first, Tensor):
        rows = [piece.flatten(0, len(leading) - 1) for piece in made]
        return torch.cat(rows).unflatten(0, leading)
    if isinstance(first, tuple):
        return tuple(_together(parts, leading) for parts in zip(*made, strict=True))
    return first
