"""A list of many small objects in one block of memory.

Loader workers share the pages of the process that starts them, until one of them writes to a page:
and merely looking at a Python object writes, as it counts its references. A list of 100,000 paths
would so be copied by every worker, little by little, over an epoch. Here the objects lie pickled in
a NumPy array and are built when they are asked for.
"""

import pickle
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar, overload

import numpy as np

T = TypeVar("T")


class PackedList(Sequence[T]):
    def __init__(self, objects: Iterable[T]) -> None:
        pieces = [pickle.dumps(entry, pickle.HIGHEST_PROTOCOL) for entry in objects]
        self._ends = np.cumsum([len(piece) for piece in pieces], dtype=np.int64)
        self._content = np.frombuffer(b"".join(pieces), dtype=np.uint8)

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, place: int) -> T: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[T]: ...
    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self[number] for number in range(*place.indices(len(self)))]
        number = range(len(self))[place]
        start = self._ends[number - 1] if number else 0
        return pickle.loads(self._content[start : self._ends[number]].data)
