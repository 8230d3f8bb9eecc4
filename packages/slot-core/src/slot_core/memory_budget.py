"""Building what a configuration describes, as long as it takes no more memory than it may.

A few characters of a ``config.json`` can ask for a layer of any size. How much a model may take is
told by the file of its weights, which has to be there in full. (On the device "meta" a model takes
none, but drawing its first weights there makes torch import its compiler, for seconds.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

from slot_core.errors import CheckpointError

LEAST = 2**28  # bytes: what does not depend on weights, such as grids of positions
# Of the weights' bytes: they may be kept in halves or quarters, and orthogonal ones are drawn in
# matrices that are larger.
TIMES = 16
ELEMENT = 4  # bytes
MAKERS = {
    *("arange", "empty", "empty_strided", "eye", "full", "linspace", "normal", "ones", "zeros"),
    *("new_empty", "new_full", "new_ones", "new_zeros", "rand", "randint", "randn", "randperm"),
}


class MemoryBudget(TorchDispatchMode):
    """A context in which tensors are made until their sizes add up to too much.

    Args:
        weights: bytes of the weights that the model is made for.
        source: the file that asks for the model.

    Raises:
        CheckpointError: naming ``source``, before the memory is taken.
    """

    def __init__(self, weights: int, source: str) -> None:
        super().__init__()
        self._left, self._weights, self._source = LEAST + TIMES * weights, weights, source

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """To keep its compiler out of a context, torch would import it: for seconds, in each
        process that loads a model."""
        return False

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func.overloadpacket.__name__ in MAKERS:
            self._left -= ELEMENT * _elements(func.overloadpacket.__name__, args)
            if self._left < 0:
                raise CheckpointError(
                    f"{self._source}: asks for a model of many times the {self._weights:,} bytes "
                    "that its weights have"
                )
        return func(*args, **(kwargs or {}))


def _elements(maker: str, args: Sequence[Any]) -> int:
    """How many numbers the tensor will have: a list is its shape; else it is a range."""
    for argument in args:
        if isinstance(argument, list | tuple):
            return math.prod(argument)
    numbers = [abs(int(value)) for value in args if isinstance(value, int | float)]
    return max(numbers, default=0) ** (2 if maker == "eye" else 1)
