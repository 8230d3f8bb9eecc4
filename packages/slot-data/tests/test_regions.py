"""Regions as COCO's own tools draw them, and run lengths that are damaged."""

import json
from pathlib import Path

import numpy as np
import pytest

from slot_data import DataError
from slot_data.regions import fill, runs_of_polygon, runs_of_text

# Polygons of every kind (inside the picture and out of it, on whole and half pixels, with doubled
# and with collinear points), and the run lengths that pycocotools 2.0.11 gives for each.
CASES = json.loads((Path(__file__).parent / "data" / "coco_regions.json").read_text())


def by_loop(runs, height, width):
    flat, inside = [], False
    for run in runs:
        flat += [inside] * run
        inside = not inside
    return np.array(flat).reshape(width, height).T


def test_polygons_are_those_of_pycocotools():
    assert len(CASES) == 72
    for case in CASES:
        height, width = case["height"], case["width"]
        runs = runs_of_polygon(np.array(case["polygon"]).reshape(-1, 2), height, width)
        region = fill(runs, height, width)
        assert region.shape == (height, width)
        assert np.array_equal(region, by_loop(case["runs"], height, width)), case["polygon"]


def test_compressed_run_lengths():
    for case in CASES:
        assert runs_of_text(case["text"]).tolist() == case["runs"]


def test_a_square_by_hand():
    """A pixel belongs to a polygon if the middle of its left side is above the lower edge and at or
    below the upper one: here columns 1 and 2, rows 2 to 4."""
    square = np.array([[1.0, 2.0], [3.0, 2.0], [3.0, 5.0], [1.0, 5.0]])
    expected = np.zeros((6, 5), dtype=bool)
    expected[2:5, 1:3] = True
    assert np.array_equal(fill(runs_of_polygon(square, 6, 5), 6, 5), expected)


def test_what_runs_leave_open_is_outside():
    assert fill(np.array([1, 2]), 2, 3).T.flatten().tolist() == [False, True, True] + [False] * 3
    assert not fill(np.array([], dtype=np.int64), 2, 3).any()


@pytest.mark.parametrize("runs", [[3, 4], [3, -1], [7]])
def test_runs_that_do_not_fit_are_named(runs):
    with pytest.raises(DataError, match=r"run lengths sum up to \d, or are negative; .* 6 pixels"):
        fill(np.array(runs), 2, 3)


def test_damaged_text_is_named():
    with pytest.raises(DataError, match="compressed run lengths are cut off"):
        runs_of_text("0P")
    with pytest.raises(DataError, match="character '!' is none of compressed run lengths"):
        runs_of_text("0!")
