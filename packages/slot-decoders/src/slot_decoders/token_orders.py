"""The orders in which an autoregressive decoder may paint patches (SPOT, Kakogeorgiou et al.
2024, arXiv 2312.00648, section 3.3).

In one fixed order a decoder can guess the next patch from its neighbours and leave the slots
aside. SPOT trains it on nine: rows or columns first, from each of the four corners, and a spiral.
"""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

from slot_core import Generators
from slot_core.noise import integers

NUM_ORDERS = 9


def patch_orders(height: int, width: int) -> Int[Tensor, "orders positions"]:
    """Each order as the patches' places in it, counted along the rows; the first is that itself."""
    places = torch.arange(height * width).view(height, width)
    corners = [places, places.flip(1), places.flip(0), places.flip(0, 1)]
    orders = [order.flatten() for grid in corners for order in (grid, grid.T)]
    return torch.stack([*orders, _spiral(places)])


def draw_orders(
    table: Int[Tensor, "orders positions"],
    count: int,
    training: bool,
    generator: Generators | None,
) -> Int[Tensor, " count"]:
    """The number of an order for each frame: one of all while training, else the first."""
    first = torch.zeros(count, dtype=torch.long, device=table.device)
    return integers(len(table), first, generator) if training and len(table) > 1 else first


def _spiral(places: Int[Tensor, "height width"]) -> Int[Tensor, " positions"]:
    """From the middle outwards to the corner at the top left."""
    rounds = []
    while places.numel():
        rounds.append(places[0])
        places = places[1:].rot90()  # the next side on top
    return torch.cat(rounds).flip(0)
