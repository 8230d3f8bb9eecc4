"""The first slots of a video that nobody tells what to look for: learned queries, draws from a
learned Gaussian, or seeds taken from the first frame's features.

Gradients reach the parameters of the first two: the Gaussian is reparametrised (mean + spread *
noise), which several ports of Slot Attention lost.

Every initializer is called alike, those of ``conditioned_slots.py`` too; these here refuse what
they would have to ignore.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from slot_core.errors import InputError

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
        generator: torch.Generator | None = None,
        conditioning: Conditioning | None = None,
    ) -> Float[Tensor, "batch slots dim"]:
        """The same slots for every sample of the batch; nothing is drawn.

        Raises:
            InputError: if there is any conditioning.
        """
        _refuse(conditioning)
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
        generator: torch.Generator | None = None,
        conditioning: Conditioning | None = None,
    ) -> Float[Tensor, "batch slots dim"]:
        """First slots for every sample of the batch, drawn with ``generator``.

        Raises:
            InputError: if there is any conditioning.
        """
        _refuse(conditioning)
        mean = self.mean.expand(features.shape[0], self.num_slots, -1)
        return mean + self.log_std.exp() * standard_normal_like(mean, generator)


class ClusteredSlots(nn.Module):
    """Seeds spread over the features of the first frame, as in clustering.

    Slot Attention is a soft k-means, and like k-means it stays where its seeds let it: two seeds
    in one object split it, none in an object merges it with another. So the seeds are features
    far from one another: the one nearest to the mean, then again and again the one farthest from
    those taken (Gonzalez 1985). Clustering the features for the first slots is due to Gao et al.
    2023 (arXiv 2308.11369), who run it to convergence; here the iterations do that. Made for
    SlotAttention(kmeans_start=True), whose slots live in the space of the features.

    Args:
        num_slots: how many; it can change after training.
    """

    def __init__(self, num_slots: int) -> None:
        super().__init__()
        self.num_slots = num_slots

    def forward(
        self,
        features: Float[Tensor, "batch positions dim"],
        generator: torch.Generator | None = None,
        conditioning: Conditioning | None = None,
    ) -> Float[Tensor, "batch slots dim"]:
        """Normalised features at well-spread positions; nothing is drawn.

        Raises:
            InputError: if there are fewer positions than slots, or there is any conditioning.
        """
        _refuse(conditioning)
        if features.shape[1] < self.num_slots:
            raise InputError(
                f"{self.num_slots} slots need as many positions, the frame has {features.shape[1]}"
            )
        normalised = F.layer_norm(features, features.shape[-1:])
        chosen = farthest_points(normalised.detach(), self.num_slots)
        return normalised.gather(1, chosen[:, :, None].expand(-1, -1, features.shape[-1]))


def standard_normal_like(
    slots: Float[Tensor, "batch slots dim"], generator: torch.Generator | None
) -> Float[Tensor, "batch slots dim"]:
    """Noise drawn on the generator's own device (that of the slots where there is none)."""
    noise = torch.randn(
        slots.shape,
        generator=generator,
        device=generator.device if generator else slots.device,
        dtype=slots.dtype,
    )
    return noise.to(slots.device)


def farthest_points(
    points: Float[Tensor, "batch positions dim"], count: int
) -> Int[Tensor, "batch count"]:
    """Indices of ``count`` points: nearest to the mean, then each farthest from all before."""
    points = points.float()
    lengths = points.square().sum(dim=-1)
    rows = torch.arange(len(points), device=points.device)

    def squared_distances(point: Tensor) -> Tensor:
        # By the product, not the difference: a quarter of the time, and only the order counts.
        products = torch.bmm(points, point[:, :, None]).squeeze(-1)
        return lengths - 2 * products + point.square().sum(dim=-1, keepdim=True)

    chosen = squared_distances(points.mean(dim=1)).argmin(dim=1)
    indices = [chosen]
    nearest = torch.full_like(lengths, torch.inf)
    for _ in range(count - 1):
        nearest = torch.minimum(nearest, squared_distances(points[rows, chosen]))
        chosen = nearest.argmax(dim=1)
        indices.append(chosen)
    return torch.stack(indices, dim=1)


def _refuse(conditioning: Tensor | None) -> None:
    if conditioning is not None:
        raise InputError("conditioning was given, but this model's first slots are not conditioned")
