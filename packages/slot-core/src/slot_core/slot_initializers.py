"""The first slots of a video that nobody tells what to look for: learned queries, or draws from a
learned Gaussian.

Gradients reach the parameters of both: the Gaussian is reparametrised (mean + spread * noise),
which several ports of Slot Attention lost.

Every initializer is called alike, those of ``clustered_slots.py`` and ``conditioned_slots.py``
too; these here refuse what they would have to ignore, and need no ``feature_size``.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from slot_core.errors import InputError
from slot_core.noise import Generators, standard_normal

# What a conditioned encoder is told of a video's first frame; see conditioned_slots.py.
Conditioning = Shaped[Tensor, "..."]


class LearnedSlots(nn.Module):
    """One learned vector for each slot, the same for every sample (BO-QSA; SlotDiffusion).

    Args:
        num_slots: how many.
        slot_dim: their width.
        std: spread of the initial values; 1 as in SlotDiffusion.
    """

    def __init__(self, num_slots: int, slot_dim: int, *, std: float = 1.0) -> None:
        super().__init__()
        self.num_slots = num_slots
        self.slots = nn.Parameter(torch.randn(num_slots, slot_dim) * std)

    def forward(
        self,
        features: Float[Tensor, "batch positions feature_dim"],
        generator: Generators | None = None,
        conditioning: Conditioning | None = None,
        feature_size: tuple[int, int] | None = None,
    ) -> Float[Tensor, "batch slots dim"]:
        """The same slots for every sample of the batch; nothing is drawn.

        Raises:
            InputError: if there is any conditioning.
        """
        refuse_conditioning(conditioning)
        return self.slots.expand(features.shape[0], -1, -1)


class GaussianSlots(nn.Module):
    """Slots drawn from one Gaussian with learned mean and spread (Locatello et al. 2020, 2.1).

    All slots share the distribution, so their number can change after training.

    Args:
        num_slots: how many are drawn.
        slot_dim: their width.
    """

    def __init__(self, num_slots: int, slot_dim: int) -> None:
        super().__init__()
        self.num_slots = num_slots
        # Glorot-uniform for a [1, slot_dim] matrix, as in the authors' code.
        bound = (6 / (1 + slot_dim)) ** 0.5
        self.mean = nn.Parameter(torch.empty(slot_dim).uniform_(-bound, bound))
        self.log_std = nn.Parameter(torch.empty(slot_dim).uniform_(-bound, bound))

    def forward(
        self,
        features: Float[Tensor, "batch positions feature_dim"],
        generator: Generators | None = None,
        conditioning: Conditioning | None = None,
        feature_size: tuple[int, int] | None = None,
    ) -> Float[Tensor, "batch slots dim"]:
        """First slots for every sample of the batch, drawn with ``generator``.

        Raises:
            InputError: if there is any conditioning.
        """
        refuse_conditioning(conditioning)
        mean = self.mean.expand(features.shape[0], self.num_slots, -1)
        return mean + self.log_std.exp() * standard_normal(mean, generator)


def refuse_conditioning(conditioning: Conditioning | None) -> None:
    """Raise InputError where somebody tells of objects and nobody listens."""
    if conditioning is not None:
        raise InputError("conditioning was given, but this model's first slots are not conditioned")
