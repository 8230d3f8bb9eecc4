"""Small integers from the raw bits of a counter-based generator.

Philox (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") is keyed, so a sample
is addressed by (seed, index) without drawing the samples before it. Only `random_raw` is used:
NumPy promises its bits for ever, but not the values of its distributions.
"""

import numpy as np

BLOCK = 64
KEY_LIMIT = 2**64


class RawBits:
    """A stream of integers that depends on nothing but `key`, two integers in [0, 2**64)."""

    def __init__(self, *key: int) -> None:
        self._generator = np.random.Philox(key=np.array(key, dtype=np.uint64))
        self._block: list[int] = []

    def below(self, bound: int) -> int:
        """An integer in [0, bound). The bias of the remainder is below bound / 2**64."""
        if not self._block:
            self._block = self._generator.random_raw(BLOCK).tolist()
        return self._block.pop() % bound

    def between(self, low: int, high: int) -> int:
        """An integer in [low, high], both ends included."""
        return low + self.below(high - low + 1)

    def choose(self, number: int, count: int) -> list[int]:
        """`count` different integers in [0, number), in random order (Fisher and Yates)."""
        pool = list(range(number))
        for place in range(count):
            other = self.between(place, number - 1)
            pool[place], pool[other] = pool[other], pool[place]
        return pool[:count]
