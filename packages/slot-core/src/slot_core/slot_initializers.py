"""The first slots of a video: learned queries, or draws from a learned Gaussian.

Both give gradients to their parameters: the Gaussian is reparametrised (mean + spread * noise),
which several ports of Slot Attention lost.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


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
        self, batch_size: int, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch slots dim"]:
        """First slots for ``batch_size`` samples; nothing is drawn."""
        return self.slots.expand(batch_size, -1, -1)


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
        self, batch_size: int, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch slots dim"]:
        """First slots for ``batch_size`` samples, drawn with ``generator``.

        The noise is drawn on the generator's own device (the parameters' where there is none).
        """
        noise = torch.randn(
            (batch_size, self.num_slots, self.mean.numel()),
            generator=generator,
            device=generator.device if generator else self.mean.device,
            dtype=self.mean.dtype,
        )
        return self.mean + self.log_std.exp() * noise.to(self.mean.device)
