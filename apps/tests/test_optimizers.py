"""The optimizer's groups, and the moving average of weights worked by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from slot_core import ConfigError
from slot_decoders.models import SlotAutoencoder, presets
from support.optimizers import WeightAverage, build_optimizer, check_gradients, set_learning_rate
from support.options import OptimizerOptions


@pytest.fixture
def model() -> SlotAutoencoder:
    return presets.slot_attention(
        image_size=16,
        num_slots=2,
        slot_dim=8,
        encoder={"backbone": {"type": "cnn", "channels": (8,)}, "projection_dim": 8},
        decoder={"channels": (4,)},
    )


def test_the_decoder_has_a_rate_of_its_own(model: SlotAutoencoder):
    options = OptimizerOptions(learning_rate=0.1, decoder_learning_rate=0.3)
    optimizer = build_optimizer(model, options)
    encoder, decoder = optimizer.param_groups
    assert {id(one) for one in encoder["params"]} == {id(p) for p in model.encoder.parameters()}
    assert {id(one) for one in decoder["params"]} == {id(p) for p in model.decoder.parameters()}
    set_learning_rate(optimizer, 0.5)
    assert (encoder["lr"], decoder["lr"]) == pytest.approx((0.05, 0.15))
    same = build_optimizer(model, OptimizerOptions(learning_rate=0.1)).param_groups
    assert [group["lr"] for group in same] == [0.1, 0.1]


def test_a_rate_for_a_decoder_that_does_not_train_is_refused(model: SlotAutoencoder):
    options = OptimizerOptions(decoder_learning_rate=0.3)
    model.decoder.requires_grad_(False)
    with pytest.raises(ConfigError, match="this SlotAutoencoder has no decoder that trains"):
        build_optimizer(model, options)
    with pytest.raises(ConfigError, match="this TokenizerModel has no decoder that trains"):
        build_optimizer(presets.dvae(tokenizer={"hidden_dim": 8}), options)


def test_weights_that_nothing_reaches_are_named(model: SlotAutoencoder):
    video = torch.rand(1, 1, 3, 16, 16)
    model(video).total.backward()
    check_gradients(model)
    model.zero_grad()
    corrector: Any = model.encoder.corrector
    corrector.num_iterations, corrector.final_mlp = 1, False
    model(video).total.backward()
    with pytest.raises(ConfigError, match=r"r\.mlp\.1\.bias and 2 more, which would stay as"):
        check_gradients(model)
    corrector.mlp.requires_grad_(False)
    check_gradients(model)


def test_an_average_follows_fast_while_it_is_young(model: SlotAutoencoder):
    """After n updates it keeps (1 + n) / (10 + n), as latent diffusion's does, at most 0.22."""
    average = WeightAverage(model, 0.22)
    own, followed = (list(one.parameters()) for one in (average.model, model))
    with torch.no_grad():
        for mine, theirs in zip(own, followed, strict=True):
            mine.zero_()
            theirs.fill_(1.0)
    expected = 0.0
    for keep in (2 / 11, 0.22, 0.22):
        average.update(model)
        expected = keep * expected + (1 - keep)
        for one in own:
            torch.testing.assert_close(one, torch.full_like(one, expected))
    assert average.num_updates == 3
