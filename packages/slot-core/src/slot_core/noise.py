"""Random numbers that a sample has to itself.

Whatever a model draws, it draws from a generator, or from one generator for each sample of the
batch. With one for each, a sample's noise does not depend on which others lie in its batch, so
several processes with parts of a batch compute what one computes with all of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from slot_core.errors import InputError

Generators = torch.Generator | Sequence[torch.Generator]
"""One for a whole batch, or one for each of its samples."""


def sample_generators(
    seed: int, step: int, ids: Iterable[str], device: torch.device | str = "cpu"
) -> list[torch.Generator]:
    """A generator for each sample, which depends on nothing but the arguments.

    Args:
        seed: of the run.
        step: of the training; a sample meets other noise when it comes again.
        ids: of the samples.
        device: on which the noise is drawn; another kind of device draws other numbers.
    """
    generators = []
    for name in ids:
        key = hashlib.blake2b(f"{seed} {step} {name}".encode(), digest_size=8).digest()
        generator = torch.Generator(device)
        generator.manual_seed(int.from_bytes(key) >> 1)
        generators.append(generator)
    return generators


def standard_normal(
    like: Float[Tensor, "batch ..."], generator: Generators | None = None
) -> Float[Tensor, "batch ..."]:
    """Noise of mean 0 and variance 1 in the shape, type and place of ``like``.

    Raises:
        InputError: if the batch cannot be shared evenly among the generators.
    """
    return _drawn(like, generator, lambda part, one: part.normal_(generator=one))


def exponential(
    like: Float[Tensor, "batch ..."], generator: Generators | None = None
) -> Float[Tensor, "batch ..."]:
    """Exponentially distributed numbers of mean 1, otherwise as ``standard_normal``."""
    return _drawn(like, generator, lambda part, one: part.exponential_(generator=one))


def integers(
    below: int, like: Int[Tensor, "batch ..."], generator: Generators | None = None
) -> Int[Tensor, "batch ..."]:
    """Integers 0 .. ``below`` - 1, equally likely, otherwise as ``standard_normal``."""

    def fill(part: Tensor, one: torch.Generator | None) -> Tensor:
        # Not in place: torch.compile takes randint and leaves the graph at random_.
        return torch.randint(below, part.shape, generator=one, device=part.device, dtype=part.dtype)

    return _drawn(like, generator, fill)


def _drawn(
    like: Tensor,
    generator: Generators | None,
    fill: Callable[[Tensor, torch.Generator | None], Tensor],
) -> Tensor:
    """A batch is drawn on the generator's own device; consecutive rows share a generator where
    there are more rows than generators, as the frames of a video do."""
    if generator is None or isinstance(generator, torch.Generator):
        device = like.device if generator is None else generator.device
        return fill(_empty(like, device), generator).to(like.device)
    if not generator or len(like) % len(generator):
        raise InputError(f"{len(generator)} generators cannot share a batch of {len(like)}")
    parts = like.split(len(like) // len(generator))
    drawn = [fill(_empty(p, g.device), g) for p, g in zip(parts, generator, strict=True)]
    return torch.cat(drawn).to(like.device)


def _empty(like: Tensor, device: torch.device) -> Tensor:
    return torch.empty_like(like, device=device, memory_format=torch.contiguous_format)
