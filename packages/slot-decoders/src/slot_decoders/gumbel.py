"""Gumbel noise, and the softmax that it makes a differentiable draw of one class.

``argmax(logits + noise)`` is a draw from ``softmax(logits)`` (Gumbel 1954); with a softmax of
temperature t in place of the argmax, gradients pass (Jang et al. 2017, arXiv 1611.01144).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from slot_core.noise import Generators, exponential


def gumbel_noise(
    logits: Float[Tensor, "batch ..."], generator: Generators | None = None
) -> Float[Tensor, "batch ..."]:
    """Noise in the shape of ``logits``, drawn on the generator's own device."""
    return gumbel_of(exponential(logits, generator), inplace=True)


def gumbel_of(draws: Float[Tensor, ...], *, inplace: bool = False) -> Float[Tensor, ...]:
    """Exponentially distributed noise as Gumbel noise; a draw of 0 stays finite."""
    draws = draws if inplace else draws.clone()
    return draws.add_(torch.finfo(draws.dtype).tiny).log_().neg_()


def gumbel_softmax(
    logits: Float[Tensor, "batch classes *places"],
    noise: Float[Tensor, "batch classes *places"],
    temperature: float | Float[Tensor, ""],
    *,
    hard: bool = False,
) -> Float[Tensor, "batch classes *places"]:
    """A class drawn for every place, relaxed: weights that sum to 1 over ``classes``.

    Args:
        logits: up to a constant in each place, which the softmax removes.
        noise: of ``gumbel_noise``.
        temperature: towards 0 the weights are one-hot, towards infinity all equal.
        hard: give the one-hot draw itself, with the gradients of the soft one.
    """
    soft = ((logits + noise) / temperature).softmax(dim=1)
    if not hard:
        return soft
    drawn = torch.zeros_like(soft).scatter(1, soft.argmax(dim=1, keepdim=True), 1.0)
    return drawn - soft.detach() + soft
