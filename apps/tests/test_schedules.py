"""The learning rate against SlotDiffusion's tables, and its few fixed points."""

from __future__ import annotations

import pytest

from support.schedules import learning_rate_factor

COSINE = {"schedule": "cosine", "warmup_fraction": 0.1, "final_fraction": 0.01}


def test_fixed_points():
    assert learning_rate_factor(0, 100, **COSINE) == pytest.approx(0.01)
    assert learning_rate_factor(10, 100, **COSINE) == pytest.approx(1.0)
    assert learning_rate_factor(55, 100, **COSINE) == pytest.approx(0.505)
    assert learning_rate_factor(100, 100, **COSINE) == pytest.approx(0.01)


def test_constant_and_linear():
    constant = {**COSINE, "schedule": "constant"}
    assert learning_rate_factor(99, 100, **constant) == 1.0
    linear = {**COSINE, "schedule": "linear", "final_fraction": 0.0}
    assert learning_rate_factor(55, 100, **linear) == pytest.approx(0.5)


def test_no_warmup_starts_at_the_peak():
    assert learning_rate_factor(0, 10, **{**COSINE, "warmup_fraction": 0.0}) == 1.0
