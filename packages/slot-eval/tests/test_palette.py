"""Colours of labels: one for each number, whatever the numbers."""

import colorsys

import pytest
import torch

from slot_eval.palette import coloured


def test_a_number_always_has_the_same_colour():
    found = coloured(torch.tensor([[[0, 1, 2]], [[2, 5, 0]]]))
    black, one, two, five = [0, 0, 0], [89, 137, 255], [130, 178, 62], [255, 178, 89]
    assert found.tolist() == [[[black, one, two]], [[two, five, black]]]


def test_only_numbers_that_occur_cost_anything(monkeypatch: pytest.MonkeyPatch):
    asked = []

    def counted(*hsv):
        asked.append(hsv)
        assert len(asked) <= 2
        return right(*hsv)

    right = colorsys.hsv_to_rgb
    monkeypatch.setattr(colorsys, "hsv_to_rgb", counted)
    found = coloured(torch.tensor([[[0, 2**40, 7], [7, 2**40, 0]]]))
    assert found.shape == (1, 2, 3, 3)
    assert found[0, 0].tolist() == found[0, 1, ::-1].tolist()
