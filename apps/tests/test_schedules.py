"""The learning rate against SlotDiffusion's own tables, and at its few fixed points."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from safetensors.torch import load_file

from support.schedules import learning_rate_factor

COSINE = {"schedule": "cosine", "warmup_fraction": 0.1, "final_fraction": 0.01}


def test_fixed_points():
    assert learning_rate_factor(0, 100, **COSINE) == pytest.approx(0.01)
    assert learning_rate_factor(10, 100, **COSINE) == pytest.approx(1.0)
    assert learning_rate_factor(55, 100, **COSINE) == pytest.approx(0.505)
    assert learning_rate_factor(100, 100, **COSINE) == pytest.approx(0.01)


def test_a_warmup_may_end_between_two_steps():
    """Two and a half of ten steps: 0, 0.4 and 0.8 of the way up, then 0.5 of 7.5 down again."""
    options = {"schedule": "linear", "warmup_fraction": 0.25, "final_fraction": 0.1}
    factors = [learning_rate_factor(step, 10, **options) for step in range(4)]
    assert factors == pytest.approx([0.1, 0.46, 0.82, 0.1 + 0.9 * 14 / 15])


def test_constant_and_linear():
    constant = {**COSINE, "schedule": "constant"}
    assert learning_rate_factor(99, 100, **constant) == 1.0
    linear = {**COSINE, "schedule": "linear", "final_fraction": 0.0}
    assert learning_rate_factor(55, 100, **linear) == pytest.approx(0.5)


def test_exponential_halves_in_equal_times():
    """As in DINOSAUR's code: 10,000 steps up, then half after each 100,000."""
    options = {"warmup_fraction": 10 / 310, "final_fraction": 0.125, "schedule": "exponential"}
    at = {
        step: learning_rate_factor(1000 * step, 310_000, **options) for step in (10, 60, 110, 310)
    }
    assert at == pytest.approx({10: 1.0, 60: 0.5**0.5, 110: 0.5, 310: 0.125})


def test_no_warmup_starts_at_the_peak():
    assert learning_rate_factor(0, 10, **{**COSINE, "warmup_fraction": 0.0}) == 1.0


@pytest.mark.parametrize("name", ["sa", "sa_ldm", "slate_steve", "vae", "slotformer"])
def test_every_step_of_the_reference(name):
    if "SLOT_REFERENCE_DATA" not in os.environ:
        pytest.skip("needs SLOT_REFERENCE_DATA")
    folder = Path(os.environ["SLOT_REFERENCE_DATA"], "golden", "schedules")
    stated = json.loads((folder / "config.json").read_text())["lr_schedules"][name]
    table = load_file(folder / "outputs.safetensors")[f"lr.{name}"]
    num_steps = stated["total_steps"]
    rates = table.reshape(len(table), -1)[:num_steps, -1].tolist()
    peak = max(rates)
    options = {
        "warmup_fraction": stated["warmup_steps"] / num_steps,
        "final_fraction": stated["min_lr"] / peak,
    }
    ours = [
        peak * learning_rate_factor(step, num_steps, schedule="cosine", **options)
        for step in range(num_steps)
    ]
    assert ours == pytest.approx(rates, rel=1e-9, abs=1e-15)
