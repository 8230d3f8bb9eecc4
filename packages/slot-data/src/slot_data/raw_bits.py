"""Small integers from the raw bits of a counter-based generator.

Philox (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") is keyed, so a sample
is addressed by (seed, index) without drawing the samples before it. Only `random_raw` is used:
NumPy promises its bits for ever, but not the values of its distributions.
"""

import hashlib

import numpy as np

BLOCK = 64
KEY_LIMIT = 2**64

# What a stream is for. It goes into the counter's highest word, so streams of one key that serve
# different purposes never overlap.
SCENES, ORDER, AUGMENTATION = range(3)


class RawBits:
    """A stream of integers that depends on nothing but its purpose and `key`, two integers in
    [0, 2**64)."""

    def __init__(self, purpose: int, *key: int) -> None:
        self._generator = philox(purpose, *key)
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


def philox(purpose: int, *key: int) -> np.random.Philox:
    return np.random.Philox(
        key=np.array(key, dtype=np.uint64),
        counter=np.array([0, 0, 0, purpose], dtype=np.uint64),
    )


def key_of(text: str) -> int:
    """An integer in [0, 2**64) that stands for `text` on every machine."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
