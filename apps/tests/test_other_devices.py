"""Models and apps on another device than the CPU, which need not be there (``pretended_device``):
nothing mixes tensors of two devices, and what comes out is the same. In processes of their own."""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from families import FAMILIES

HERE = Path(__file__).parent

# What each command does with tensors, and that a run goes on where it was, bit by bit.
TESTS_OF_APPS = (
    "test_diffusion.py::test_pictures_are_edited",
    "test_diffusion.py::test_pictures_are_generated",
    "test_extract_slots.py::test_the_slots_are_those_of_the_model",
    "test_predict_future.py::test_every_decoder_draws_what_comes[transformer]",
    "test_predict_videos.py::test_a_conditioned_model_follows_what_it_is_told[masks]",
    "test_resume.py::test_two_interruptions_change_nothing[video]",
    "test_slot_eval.py::test_compose",
    "test_slot_eval.py::test_predict_video",
    "test_slot_models.py::test_every_recipe_trains_and_is_scored[relation_readout/shapes]",
    "test_slot_models.py::test_slots_are_rolled_out",
    "test_tokens.py::test_the_second_stage_holds_the_first_and_is_used_like_any_model",
)


def process(*command: str) -> subprocess.CompletedProcess[str]:
    # Without what this run of pytest was told, by its options or about its workers.
    environment = {key: value for key, value in os.environ.items() if "PYTEST" not in key}
    return subprocess.run(
        [sys.executable, *command],
        cwd=HERE,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@functools.cache
def steps() -> dict[str, dict[str, Any]]:
    """What device_steps.py finds, by family."""
    done = process("device_steps.py")
    assert done.returncode == 0, done.stderr
    return {row["family"]: row for row in map(json.loads, done.stdout.splitlines())}


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_is_that_of_the_cpu(family):
    row = steps()[family]
    assert row["loss"] < 1e-5
    assert row["weights"] < 1e-5
    assert row["called"]


@pytest.mark.slow
def test_apps_leave_no_tensor_behind():
    tests = [str(HERE / test) for test in TESTS_OF_APPS]
    done = process("-m", "pytest", "-p", "pretended_device", "-p", "no:xdist", "-m", "", *tests)
    assert done.returncode == 0, done.stdout
    assert not re.search(r"\d (skipped|deselected)", done.stdout), done.stdout


MIXED = """
import torch
from torch import nn
from pretended_device import NAME

there = torch.ones(2, device=NAME)
assert (there + torch.tensor(1.0)).tolist() == [2, 2]  # a number needs not to move
assert there[torch.tensor([1])].device.type == NAME  # nor do indices
for mixed in (
    lambda: there + torch.ones(2),
    lambda: nn.Linear(2, 2).to(NAME)(torch.ones(2, 2)),
    lambda: there.normal_(generator=torch.Generator()),
    lambda: there.numpy(),
    lambda: there.double(),
):
    try:
        mixed()
        print("nothing was wrong with it")
    except (RuntimeError, TypeError) as error:
        print(str(error).splitlines()[0])
"""


@pytest.mark.slow
def test_the_pretended_device_mixes_with_no_other():
    """Its sentences are PyTorch's, as far as they go."""
    done = process("-c", MIXED)
    assert done.returncode == 0, done.stderr
    words = ("on pretended:0", "on pretended:0", "for generator", "numpy", "float64")
    lines = done.stdout.splitlines()
    assert all(word in line for word, line in zip(words, lines, strict=True)), lines
