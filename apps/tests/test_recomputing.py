"""``train.gradient_checkpointing`` changes the memory of a training step, and nothing that it
learns: for every family of models, with dropout, in bfloat16, in whole runs, over a resume.

What runs as it is computes the same bits. In pieces, sums have another order: of gradients of
weights over the pieces. So do those of a batch in two processes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from families import BATCH, FAMILIES, gradients, loss_of, prepared
from runs import assert_alike_runs, events, finish, set_back, start
from test_sharding import CPU, FSDP, LAUNCHER, SHARDED
from tiny_diffusion import go, train_tiny
from torch import Tensor, nn

import train
from slot_core.recomputing import kept_bytes

# How many times as much a step keeps without it, at the families' sizes: a little less than was
# measured. It would be less by more, if any method kept what it is to recompute.
RATIOS = {
    "slot_attention": 3.0,
    "savi": 2.7,
    "slate": 6.5,
    "steve": 6.2,
    "slot_diffusion": 4.75,
    "slot_diffusion_videos": 4.75,
    "dinosaur": 6.5,
    "dinosaur_transformer": 7.0,
    "dvae": 9.0,
    "vqvae": 21.0,
    "slot_former": 5.0,
    "slot_former_images": 3.9,
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


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 2e-2), (torch.float16, 3e-3)])
@pytest.mark.parametrize("family", FAMILIES)
def test_half_precision_is_as_near(family, dtype, tolerance):
    """Autocast rounds a weight's gradients once for each piece, to a share of 1/256 or 1/2048."""
    plain, again = (stepped(model, family, enabled=True, dtype=dtype) for model in both(family))
    assert_alike(plain, again, 0 if family in IN_ONE_GO else tolerance)


@pytest.mark.parametrize("family", FAMILIES)
def test_less_is_kept(family):
    plain, again = (
        kept_bytes(model, lambda model=model: loss_of(model, family, range(BATCH), step=2))
        for model in both(family)
    )
    assert plain > RATIOS[family] * again, plain / again


ON: dict[str, Any] = {"train.gradient_checkpointing": True}
VIDEOS = {
    "data.num_frames": 3,
    "model.encoder.slot_noise": 0.1,
    "model.encoder.predictor": {"type": "transformer", "hidden_dim": 8, "recurrent_dim": 8},
}


def assert_same_log(one: Path, other: Path) -> None:
    """All that the two runs tell of their steps and validations, and the weights they end with."""
    for kind in ("train", "validation", "test"):
        for left, right in zip(events(one, kind), events(other, kind), strict=True):
            assert left.keys() == right.keys()
            for key, value in left.items():
                same = (
                    value
                    if isinstance(value, str)
                    else pytest.approx(value, rel=1e-3, abs=1e-3, nan_ok=True)
                )
                assert right[key] == same, (kind, key)
    assert_alike_runs(one, other, atol=1e-4)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"train.ema_decay": 0.9, "train.accumulation": 2}, id="average, accumulated"),
        pytest.param(VIDEOS, id="videos", marks=pytest.mark.slow),
    ],
)
def test_a_run_with_it_is_the_same(tmp_path, tiny, changes):
    runs = [tmp_path / "plain", tmp_path / "again"]
    for run, option in zip(runs, ({}, ON), strict=True):
        go(train.main, tiny(run, **changes, **option, **{"train.num_steps": 4}))
    assert_same_log(*runs)


@pytest.mark.slow
def test_a_run_goes_on_with_it_and_without(tmp_path, tiny):
    whole = tmp_path / "whole"
    go(train.main, tiny(whole, **{"checkpoint.keep": 4}))
    begun = set_back(whole, tmp_path / "begun", 2)
    go(train.main, [*tiny(begun, **{"checkpoint.keep": 4}, **ON), "--resume"])
    assert_same_log(whole, begun)
    ended = set_back(begun, tmp_path / "ended", 6)
    go(train.main, [*tiny(ended, **{"checkpoint.keep": 4}), "--resume"])
    assert_same_log(whole, ended)


@pytest.fixture(scope="module")
def first_stage(tmp_path_factory) -> Path:
    return train_tiny("vqvae/shapes", tmp_path_factory.mktemp("vqvae") / "run", **ON)


@pytest.mark.slow
def test_frozen_parts_and_their_cache_go_with_it(tmp_path, first_stage):
    """A tokenizer, and an encoder, that never train; what the first makes is kept."""
    given: dict[str, Any] = {
        "start.tokenizer": str(first_stage),
        "train.cache": str(tmp_path / "c"),
    }
    plain, again = tmp_path / "plain", tmp_path / "again"
    train_tiny("slot_diffusion/shapes", plain, **given)
    train_tiny("slot_diffusion/shapes", again, **given, **ON)
    assert_same_log(plain, again)
    given = {"start.weights": str(plain), "train.frozen": ["encoder"]}
    plain, again = tmp_path / "plain frozen", tmp_path / "frozen again"
    train_tiny("slot_diffusion/shapes", plain, **given)
    train_tiny("slot_diffusion/shapes", again, **given, **ON)
    assert_same_log(plain, again)


@pytest.mark.slow
def test_two_processes_learn_the_same_with_it(tmp_path, tiny):
    """Whole models, and divided and compiled ones."""
    changes = {**VIDEOS, "train.accumulation": 2, "train.num_steps": 3, "train.batch_size": 4}
    runs = [tmp_path / name for name in ("plain", "whole", "shards")]
    finish(start(tiny(runs[0], **changes), LAUNCHER, CPU))
    finish(start(tiny(runs[1], **changes, **ON), LAUNCHER, CPU))
    finish(
        start(tiny(runs[2], **changes, **ON, **{"train.compile": True}), LAUNCHER, FSDP, SHARDED)
    )
    assert_same_log(runs[0], runs[1])
    assert_same_log(runs[0], runs[2])
