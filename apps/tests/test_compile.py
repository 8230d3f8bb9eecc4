"""A compiled model trains as one that is not, for every family of models: no graph breaks (the
parts are compiled with ``fullgraph``, where one is an error), no compiling after the first step,
also not for what anneals, for further frames, or for a validation and its last, smaller batch.

The graphs are run by PyTorch itself, not made into kernels: so losses and gradients are the same.
"""

from __future__ import annotations

import functools
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
    "others": ("slot_attention", "slot_former", "relation_readout"),
}


def test_every_family_is_in_a_group():
    assert sorted(sum(GROUPS.values(), ())) == sorted(FAMILIES)


def test_compiled_steps_of_savi_are_the_same():
    check(compared("savi")["savi"])


@pytest.mark.slow
@pytest.mark.parametrize("family", sorted(set(FAMILIES) - {"savi"}))
def test_compiled_steps_are_the_same(family):
    group = next(name for name, families in GROUPS.items() if family in families)
    check(compared(group)[family])


@functools.cache
def compared(group: str) -> dict[str, dict[str, Any]]:
    """What compiled_steps.py finds, by family."""
    script = Path(__file__).with_name("compiled_steps.py")
    command = [sys.executable, str(script), "eager", *GROUPS[group]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {row["family"]: row for row in map(json.loads, done.stdout.splitlines())}


def check(row: dict[str, Any]) -> None:
    """Nothing is compiled after the first step, and once more for batches of other sizes."""
    first = row["graphs"][0]
    assert first > 0
    assert row["graphs"] == [first] * 4
    assert row["smaller"][0] <= 2 * first
    assert row["smaller"][1] == row["smaller"][0]
    assert row["loss"] == row["gradient"] == 0
