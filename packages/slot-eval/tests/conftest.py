"""Label images to score, which agree in part, of any size, from a seed; and the command line."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from slot_eval.cli import main

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


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command line: (exit code, stdout, stderr)."""

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stopped:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return int(stopped.value.code or 0), captured.out, captured.err

    return run
