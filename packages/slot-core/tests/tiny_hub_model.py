"""A model of a few weights that travels: with a nested configuration and a buffer."""

from __future__ import annotations

import hashlib
from typing import Any, ClassVar

import torch
from pydantic import PositiveInt
from torch import nn

from slot_core import HubModel, StrictConfig


class TinyPart(StrictConfig):
    width: PositiveInt = 3
    gains: tuple[float, float] = (1.0, 2.0)


class TinyConfig(StrictConfig):
    dim: PositiveInt = 4
    part: TinyPart = TinyPart()


class TinyModel(HubModel):
    config_class: ClassVar[type[StrictConfig]] = TinyConfig

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        self.config = config
        self.linear = nn.Linear(config.dim, config.part.width)
        self.norm = nn.LayerNorm(config.part.width)
        self.steps: torch.Tensor
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.gains: torch.Tensor  # made from the configuration, so no part of a checkpoint
        self.register_buffer("gains", torch.tensor(config.part.gains), persistent=False)

    @classmethod
    def from_config(cls, config: Any) -> TinyModel:
        return cls(config)


def make_tiny_model(seed: int = 0, dim: int = 4) -> TinyModel:
    """Weights that depend on ``seed`` alone."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = TinyModel(TinyConfig(dim=dim, part=TinyPart(width=5)))
        for parameter in model.parameters():
            nn.init.normal_(parameter)
    model.steps.fill_(17 + seed)
    return model


def fingerprint(model: nn.Module) -> str:
    """Of every bit of the weights, their names, shapes and dtypes."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        digest.update(value.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
