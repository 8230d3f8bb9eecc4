"""Soft position embedding (Locatello et al. 2020, appendix E.2).

A linear map of the four distances of a position to the borders, added to the features. The
distances run from 0 to 1 inclusive in the order y, x, 1 - y, 1 - x, for any size of the grid.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


class PositionEmbedding(nn.Module):
    """Adds where each feature stands to what it is.

    Args:
        feature_dim: number of channels of the map.
        scale: of the weights at first. The larger, the more features differ by where they are
            rather than by what they are, as clusters of them then do too.
    """

    def __init__(self, feature_dim: int, *, scale: float = 1.0) -> None:
        super().__init__()
        self.linear = nn.Linear(4, feature_dim)
        with torch.no_grad():
            self.linear.weight.mul_(scale)

    def forward(
        self, features: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels height width"]:
        """``features`` with the embedding of their position added."""
        grid = border_distances(*features.shape[-2:], device=features.device)
        return features + self.linear(grid.to(self.linear.weight.dtype)).permute(2, 0, 1)


def border_distances(
    height: int, width: int, device: torch.device | None = None
) -> Float[Tensor, "height width 4"]:
    """The distances of each position of a grid to its four borders, in [0, 1]."""
    y = torch.linspace(0, 1, height, device=device)[:, None].expand(height, width)
    x = torch.linspace(0, 1, width, device=device)[None, :].expand(height, width)
    return torch.stack([y, x, 1 - y, 1 - x], dim=-1)
