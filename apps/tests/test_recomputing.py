"""``train.gradient_checkpointing`` changes the memory of a training step, and nothing that it
learns: for every family of models, with dropout, in bfloat16, in whole runs, over a resume.

What runs as it is computes the same bits. In pieces, sums have another order: of gradients of
weights over the pieces. So do those of a batch in two processes.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from families import BATCH, FAMILIES, gradients, loss_of, prepared
from torch import Tensor, nn

from slot_core.recomputing import kept_bytes

# How many times as much a step keeps without it, at the families' sizes: a little less than was
# measured. It would be less by more, if any method kept what it is to recompute.
RATIOS = {
    "slot_attention": 3.0,
    "savi": 2.7,
    "slate": 5.5,
    "steve": 5.0,
    "slot_diffusion": 4.2,
    "slot_diffusion_videos": 4.2,
    "dinosaur": 6.5,
    "dvae": 9.0,
    "vqvae": 21.0,
    "slot_former": 4.3,
    "slot_former_images": 3.6,
    "relation_readout": 2.4,
}
IN_ONE_GO = ("slot_former", "slot_former_images")


def dropping_out(model: Any, rate: float = 0.2) -> Any:
    """The model, with dropout in all but tokenizers, which have no such option."""
    for name, part in model.named_modules():
        if "tokenizer" in name:
            continue
        if isinstance(part, nn.Dropout):
            part.p = rate
        elif "dropout" in vars(part):  # and calls a function with it
            part.dropout = rate
    return model


def both(family: str) -> tuple[Any, Any]:
    """One model twice, the second recomputing."""
    models = dropping_out(prepared(family)), dropping_out(prepared(family))
    models[1].enable_gradient_checkpointing()
    return models


def stepped(model: nn.Module, family: str, **autocast: Any) -> tuple[Tensor, dict[str, Tensor]]:
    torch.manual_seed(0)
    with torch.autocast("cpu", **{"enabled": False, **autocast}):
        loss = loss_of(model, family, range(BATCH), step=2)
    loss.backward()
    return loss.detach(), gradients(model)


def assert_alike(one: Any, other: Any, tolerance: float) -> None:
    """Losses, and gradients in shares of the largest."""
    torch.testing.assert_close(other[0], one[0], rtol=tolerance, atol=0)
    assert one[1].keys() == other[1].keys()
    largest = max(float(value.abs().max()) for value in one[1].values())
    for name, value in one[1].items():
        apart = float((other[1][name] - value).abs().max())
        assert apart <= tolerance * largest, name


@pytest.mark.parametrize("family", FAMILIES)
def test_losses_and_gradients_are_the_same(family):
    plain, again = (stepped(model, family) for model in both(family))
    assert_alike(plain, again, 0 if family in IN_ONE_GO else 1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_bfloat16_is_as_near(family):
    """Autocast rounds gradients of a weight once for each piece: to a share of 1/256."""
    low = {"enabled": True, "dtype": torch.bfloat16}
    plain, again = (stepped(model, family, **low) for model in both(family))
    assert_alike(plain, again, 0 if family in IN_ONE_GO else 2e-2)


@pytest.mark.parametrize("family", FAMILIES)
def test_less_is_kept(family):
    plain, again = (
        kept_bytes(model, lambda model=model: loss_of(model, family, range(BATCH), step=2))
        for model in both(family)
    )
    assert plain > RATIOS[family] * again, plain / again
