"""The nine orders of painting, worked by hand."""

import pytest
import torch

from slot_decoders.token_orders import NUM_ORDERS, patch_orders


def test_the_orders_of_two_rows_of_three():
    """Places 0 1 2 above 3 4 5."""
    assert patch_orders(2, 3).tolist() == [
        [0, 1, 2, 3, 4, 5],
        [0, 3, 1, 4, 2, 5],
        [2, 1, 0, 5, 4, 3],
        [2, 5, 1, 4, 0, 3],
        [3, 4, 5, 0, 1, 2],
        [3, 0, 4, 1, 5, 2],
        [5, 4, 3, 2, 1, 0],
        [5, 2, 4, 1, 3, 0],
        [3, 4, 5, 2, 1, 0],
    ]


def test_the_spiral_begins_in_the_middle():
    assert patch_orders(3, 3)[-1].tolist() == [4, 3, 6, 7, 8, 5, 2, 1, 0]


@pytest.mark.parametrize("size", [(1, 1), (1, 4), (4, 1), (5, 3), (4, 4)])
def test_every_order_has_every_place_once(size: tuple[int, int]):
    orders = patch_orders(*size)
    assert len(orders) == NUM_ORDERS
    places = torch.arange(size[0] * size[1])
    assert torch.equal(orders.sort(dim=1).values, places.expand(NUM_ORDERS, -1))
