"""Label images to score: pictures that agree in part, of any size, from a seed."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

Draw = Callable[..., tuple[Tensor, Tensor]]


@pytest.fixture
def draw() -> Draw:
    """``draw(*shape, true=5, predicted=4, agree=0.7)`` -> (predicted, true) labels."""

    def draw_labels(
        *shape: int, true: int = 5, predicted: int = 4, agree: float = 0.7, seed: int = 0
    ) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        truth = torch.randint(0, true, shape, generator=generator)
        noise = torch.randint(0, predicted, shape, generator=generator)
        follows = torch.rand(shape, generator=generator) < agree
        return torch.where(follows, (truth + 1) % predicted, noise), truth

    return draw_labels
