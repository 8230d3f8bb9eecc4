"""The position embedding: the order and the values of the grid, and that it is added."""

import torch

from slot_core import PositionEmbedding
from slot_core.position_embedding import border_distances


def test_the_grid_holds_y_x_and_their_complements_from_0_to_1():
    grid = border_distances(3, 5)
    assert grid.shape == (3, 5, 4)
    assert grid[0, 0].tolist() == [0, 0, 1, 1]
    assert grid[2, 0].tolist() == [1, 0, 0, 1]
    assert grid[0, 4].tolist() == [0, 1, 1, 0]
    assert grid[1, 1].tolist() == [0.5, 0.25, 0.5, 0.75]


def test_the_embedding_is_added_at_its_place():
    embedding = PositionEmbedding(4)
    embedding.linear.weight.data = torch.eye(4)
    embedding.linear.bias.data.zero_()
    features = torch.rand(2, 4, 3, 5)
    torch.testing.assert_close(
        embedding(features) - features,
        border_distances(3, 5).permute(2, 0, 1).expand(2, -1, -1, -1),
    )


def test_any_grid_will_do_even_of_one_position():
    embedding = PositionEmbedding(6)
    assert embedding(torch.zeros(1, 6, 1, 1)).isfinite().all()
    assert embedding(torch.zeros(1, 6, 7, 2)).shape == (1, 6, 7, 2)


def test_the_scale_is_of_the_first_weights():
    torch.manual_seed(0)
    plain = PositionEmbedding(5)
    torch.manual_seed(0)
    scaled = PositionEmbedding(5, scale=3.0)
    torch.testing.assert_close(scaled.linear.weight, 3 * plain.linear.weight)
    torch.testing.assert_close(scaled.linear.bias, plain.linear.bias)
