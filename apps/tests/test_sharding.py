"""A run whose processes divide its weights (FSDP2) is the run whose processes hold them whole.

Two real processes, gloo, on the CPU; ``sharded.py`` says how. Its gradients are those of whole
models for every family (test_one_model.py); here are the loop, its checkpoints and what it scores.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from runs import (
    assert_alike_runs,
    assert_equal_runs,
    finish,
    last_step,
    process_of_rank,
    set_back,
    start,
)
from tiny_diffusion import tiny_arguments, train_tiny

LAUNCHER = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
CPU = {"ACCELERATE_USE_CPU": "true"}
FSDP = {**CPU, "ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
SHARDED = (str(Path(__file__).with_name("sharded.py")),)
CLIPPED = {"optimizer.clip_norm": 0.05}
THIRTY_STEPS = {**CLIPPED, "train.num_steps": 30, "validation.every": 10}
THIRTY_STEPS |= {"checkpoint.every": 10, "checkpoint.keep": 4}


def finish_sharded(arguments: list[str]) -> str:
    return finish(start(arguments, LAUNCHER, FSDP, SHARDED))


@pytest.mark.slow
def test_shards_learn_what_whole_models_learn(tmp_path, tiny):
    changes = {"train.ema_decay": 0.9, "train.accumulation": 2, "train.mixed_precision": "bf16"}
    changes |= {"train.num_steps": 4}
    said = finish_sharded(tiny(tmp_path / "shards", **changes, **CLIPPED))
    assert "2 process(es) on cpu" in said
    assert said.count("keeps 5042 of 10084 moments") == 2
    finish(start(tiny(tmp_path / "whole", **changes, **CLIPPED), LAUNCHER, CPU))
    assert_alike_runs(tmp_path / "shards", tmp_path / "whole")


@pytest.fixture(scope="module")
def whole(tmp_path_factory, tiny) -> Path:
    """A run of thirty steps that nothing interrupts."""
    out = tmp_path_factory.mktemp("sharded") / "whole"
    finish_sharded(tiny(out, **THIRTY_STEPS))
    return out


@pytest.mark.slow
def test_a_run_goes_on_under_any_launcher(tmp_path, tiny, whole):
    again = set_back(whole, tmp_path / "shards", 20)
    assert "resumed" in finish_sharded([*tiny(again, **THIRTY_STEPS), "--resume"])
    assert_equal_runs(whole, again)
    alone = set_back(whole, tmp_path / "alone", 20)
    assert "resumed" in finish(start([*tiny(alone, **THIRTY_STEPS), "--resume"]))
    assert_alike_runs(whole, alone)


@pytest.mark.slow
def test_a_signal_to_one_process_changes_nothing(tmp_path, tiny, whole):
    """Both save and leave with 75, which the launcher tells; started again, they go on."""
    out = tmp_path / "run"
    process = start(tiny(out, **THIRTY_STEPS), LAUNCHER, FSDP, SHARDED)
    while last_step(out) < 2:
        assert process.poll() is None, process.communicate()[0]
    os.kill(process_of_rank(process.pid, 1), signal.SIGTERM)
    said, _ = process.communicate(timeout=120)
    assert said.count("exitcode  : 75") == 2, said
    assert 2 <= last_step(out) < 30
    assert "resumed" in finish_sharded([*tiny(out, **THIRTY_STEPS), "--resume"])
    assert_equal_runs(whole, out)


@pytest.mark.slow
def test_compiled_shards_learn_the_same(tmp_path, tiny, whole):
    """Compiled without making kernels, which would take longer and are the same without shards."""
    out = tmp_path / "run"
    said = finish_sharded(tiny(out, **THIRTY_STEPS, **{"train.compile": True}))
    assert said.count("compiled 5 graphs with 0 breaks") == 2, said
    assert_alike_runs(whole, out)


@pytest.mark.slow
def test_frozen_parts_stay_whole(tmp_path):
    """The tokenizer of SlotDiffusion is asked beside ``forward`` for what goes into a cache."""
    tokenizer = train_tiny("vqvae/shapes", tmp_path / "vqvae")
    cache = tmp_path / "cache"
    given: dict[str, Any] = {"start.tokenizer": str(tokenizer), "train.cache": str(cache)}
    runs = [tmp_path / "shards", tmp_path / "whole"]
    arguments = [tiny_arguments("slot_diffusion/shapes", out, **given) for out in runs]
    finish_sharded(arguments[0])
    assert any(cache.rglob("*.npy"))
    finish(start(arguments[1], LAUNCHER, CPU))
    assert_alike_runs(*runs)


@pytest.mark.slow
def test_ranks_are_not_compared_where_each_holds_a_part(tmp_path, tiny):
    process = start(
        tiny(tmp_path / "run", **{"train.compare_ranks_every": 1}), LAUNCHER, FSDP, SHARDED
    )
    said, _ = process.communicate(timeout=300)
    assert process.returncode != 0
    assert "error: train.compare_ranks_every compares whole models" in said
    assert not (tmp_path / "run").exists()
