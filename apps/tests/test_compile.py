"""A compiled model trains as one that is not, for every family of models: no graph breaks (the
parts are compiled with ``fullgraph``, where one is an error), no compiling after the first step,
also not for what anneals, for further frames, or for a validation and its last, smaller batch.

The graphs are run by PyTorch itself, not made into kernels: so losses and gradients are the same.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from families import FAMILIES

GROUPS = {  # a process each
    "savi": ("savi",),
    "tokens": ("slate", "steve", "dvae"),
    "diffusion": ("slot_diffusion", "slot_diffusion_videos", "slot_former_images", "vqvae"),
    "others": (
        "slot_attention",
        "dinosaur",
        "dinosaur_transformer",
        "slot_former",
        "relation_readout",
    ),
}


def test_every_family_is_in_a_group():
    assert sorted(sum(GROUPS.values(), ())) == sorted(FAMILIES)


@pytest.mark.slow
def test_compiled_steps_of_savi_are_the_same():
    check_all("savi")


@pytest.mark.slow
@pytest.mark.parametrize("group", sorted(set(GROUPS) - {"savi"}))
def test_compiled_steps_are_the_same(group):
    check_all(group)


def check_all(group: str) -> None:
    """What compiled_steps.py finds of every family of a group."""
    script = Path(__file__).with_name("compiled_steps.py")
    command = [sys.executable, str(script), "eager", *GROUPS[group]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["family"] for row in rows] == [*GROUPS[group]]
    for row in rows:
        check(row)


def check(row: dict[str, Any]) -> None:
    """Nothing is compiled after the first step, and once more for batches of other sizes."""
    first = row["graphs"][0]
    assert first > 0, row
    assert row["graphs"] == [first] * 4, row
    assert row["smaller"][0] <= 2 * first, row
    assert row["smaller"][1] == row["smaller"][0], row
    assert row["loss"] == row["gradient"] == 0, row
