"""A compiled model trains as one that is not, for every family of models: no graph breaks (the
parts are compiled with ``fullgraph``, where one is an error), no compiling after the first step,
also not for what anneals, for further frames, or for a validation and its last, smaller batch.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from families import FAMILIES

QUICK = ("savi",)


def compared(backend: str, *families: str) -> dict[str, dict[str, Any]]:
    """What compiled_steps.py finds, by family."""
    script = Path(__file__).with_name("compiled_steps.py")
    command = [sys.executable, str(script), backend, *families]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {row["family"]: row for row in map(json.loads, done.stdout.splitlines())}


def check(row: dict[str, Any], tolerance: float) -> None:
    """No compiling after the first step; losses and gradients are those of the plain model."""
    assert row["graphs"] == [row["graphs"][0]] * 4
    assert row["graphs"][0] > 0
    assert row["loss"] <= tolerance
    assert row["gradient"] <= tolerance


@pytest.mark.parametrize("family", QUICK)
def test_compiled_steps_are_the_same(quick, family):
    check(quick[family], 0)


@pytest.fixture(scope="module")
def quick() -> dict[str, dict[str, Any]]:
    return compared("eager", *QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("family", sorted(set(FAMILIES) - set(QUICK)))
def test_compiled_steps_of_the_others_are_the_same(others, family):
    check(others[family], 0)


@pytest.mark.slow
@pytest.mark.parametrize("family", sorted(set(FAMILIES) - set(QUICK)))
def test_other_batches_compile_once_more(others, family):
    first, second = others[family]["smaller"]
    assert first <= 2 * others[family]["graphs"][0]
    assert first == second


@pytest.fixture(scope="module")
def others() -> dict[str, dict[str, Any]]:
    return compared("eager", *sorted(set(FAMILIES) - set(QUICK)))
