"""What the user tells of a first frame: read, checked in pixels, and handed on as fractions."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from slot_core import InputError
from slot_data import DataError
from support.hints import Hint, read_hint


def written(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def read(path: Path, kind: str = "boxes") -> Hint:
    given = {"boxes": None, "points": None, "masks": None, kind: path}
    hint = read_hint(**given)
    assert hint is not None
    return hint


def test_boxes_and_points_become_fractions_of_the_frame(tmp_path: Path):
    boxes = read(written(tmp_path / "boxes.json", [[0, 0, 48, 64], [12, 16.0, 24, 48]]))
    assert boxes.num_objects == 2
    expected = torch.tensor([[[0, 0, 1, 1], [0.25, 0.25, 0.5, 0.75]]])
    assert torch.equal(boxes.of(48, 64), expected)
    points = read(written(tmp_path / "points.json", [[24, 16]]), "points")
    assert torch.equal(points.of(48, 64), torch.tensor([[[0.5, 0.25]]]))


def test_every_number_in_a_mask_is_an_object(tmp_path: Path):
    mask = np.zeros((4, 6), np.uint8)
    mask[0], mask[2, 1:3] = 200, 7
    Image.fromarray(mask).save(tmp_path / "mask.png")
    hint = read(tmp_path / "mask.png", "masks")
    assert hint.num_objects == 2
    told = hint.of(4, 6)
    assert told.dtype == torch.bool
    assert np.array_equal(told[0].numpy(), [mask == 7, mask == 200])
    with pytest.raises(InputError, match=r"mask\.png: is 6x4 .*, but the first frame is 4x6 "):
        hint.of(6, 4)


def test_a_mask_without_background(tmp_path: Path):
    Image.fromarray(np.full((2, 2), 3, np.uint8)).save(tmp_path / "mask.png")
    assert read(tmp_path / "mask.png", "masks").of(2, 2).all()


def test_nothing_or_one_thing_is_told(tmp_path: Path):
    assert read_hint(None, None, None) is None
    path = written(tmp_path / "a.json", [[1, 2]])
    with pytest.raises(InputError, match="give one of --boxes and --points, not both"):
        read_hint(path, path, None)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("[[1, 2", "is not readable JSON"),
        ({"boxes": []}, "expected a list of [top, left, bottom, right] in pixels"),
        ([[1, 2, 3, 4], [1, 2, 3]], "entry 1 is [1, 2, 3]; expected a list of [top, left,"),
        ([[1, 2, 3, "4"]], 'entry 0 is [1, 2, 3, "4"]; expected'),
        ([[1, 2, 3, True]], "entry 0 is [1, 2, 3, true]; expected"),
        ([5], "entry 0 is 5; expected"),
        ("[[1, 2, 3, NaN]]", "is not readable JSON (NaN is no number"),
        ([], "tells of no object"),
    ],
)
def test_files_of_something_else(tmp_path: Path, content: object, sentence: str):
    path = written(tmp_path / "boxes.json", content)
    with pytest.raises(InputError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_not_there(tmp_path: Path):
    with pytest.raises(InputError, match=r"--boxes .*none\.json: there is no such file"):
        read(tmp_path / "none.json")
    with pytest.raises(DataError, match=r"text\.png cannot be read as a picture"):
        read(written(tmp_path / "text.png", "no picture"), "masks")


@pytest.mark.parametrize(
    ("kind", "row", "sentence"),
    [
        ("boxes", [2, 3, 49, 5], "box 1 (top 2, left 3, bottom 49, right 5) lies outside the"),
        ("boxes", [2, -0.5, 4, 5], "box 1 (top 2, left -0.5, bottom 4, right 5) lies outside"),
        ("boxes", [2, 5, 4, 5], "box 1 (top 2, left 5, bottom 4, right 5) is empty; expected top"),
        ("boxes", [5, 2, 4, 5], "box 1 (top 5, left 2, bottom 4, right 5) is empty; expected top"),
        ("boxes", [0.1, 0, 0.9, 1], "right 1) is less than a pixel; expected pixels of the first"),
        ("points", [3, 64.5], "point 1 (y 3, x 64.5) lies outside the first frame, which is 64x48"),
    ],
)
def test_what_cannot_be_in_the_first_frame(tmp_path: Path, kind: str, row: list, sentence: str):
    good = [0, 0, 1, 1][: len(row)]
    hint = read(written(tmp_path / "told.json", [good, row]), kind)
    with pytest.raises(InputError) as caught:
        hint.of(48, 64)
    assert sentence in str(caught.value)
