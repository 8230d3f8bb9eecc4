"""Real models at tiny widths, and how near two tensors must be."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from slot_decoders.models import SlotAutoencoder, SlotAutoencoderConfig, build_model

# Models this small gain nothing from threads, and lose much where another job wants the cores.
torch.set_num_threads(1)

TINY = {
    "num_slots": 3,
    "slot_dim": 8,
    "preprocessing": {"image_size": [16, 16]},
    "encoder": {
        "backbone": {"type": "cnn", "channels": [4, 8], "kernel_size": 3},
        "corrector": {"num_iterations": 2},
    },
    "decoder": {"channels": [4], "kernel_size": 3},
}


@pytest.fixture
def tiny_config() -> SlotAutoencoderConfig:
    """Three slots of width 8 on 16x16 pixels."""
    return SlotAutoencoderConfig.parse(TINY, source="tiny")


@pytest.fixture
def model(tiny_config: SlotAutoencoderConfig) -> SlotAutoencoder:
    torch.manual_seed(0)
    return build_model(tiny_config)


@pytest.fixture
def video() -> Tensor:
    """Two videos of two frames at the tiny model's own size."""
    return torch.rand(2, 2, 3, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def assert_near() -> Callable[[Tensor, Tensor, float], None]:
    """Fail unless two tensors differ by less than a fraction of the largest reference value."""

    def check(actual: Tensor, reference: Tensor, fraction: float) -> None:
        limit = fraction * reference.abs().max().item()
        torch.testing.assert_close(actual, reference, atol=limit, rtol=0)

    return check


@pytest.fixture
def reference_data() -> Path:
    """The folder of full reference data, which is not part of the repository."""
    folder = os.environ.get("SLOT_REFERENCE_DATA")
    if folder is None:
        pytest.skip("SLOT_REFERENCE_DATA is not set")
    return Path(folder)
