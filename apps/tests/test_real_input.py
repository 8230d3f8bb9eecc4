"""Training and predicting on real pictures: the reference folder's CLEVRTex scenes and photos."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from runs import events

import predict
import train
from support.command_line import run

pytestmark = pytest.mark.slow

CLEVRTEX = {"data.name": "clevrtex", "train.num_steps": 3}
PHOTOS = {"data.name": "folder", "train.num_steps": 3}
WHOLE = {"train": "all", "validation": "all", "test": None}


@pytest.fixture
def samples() -> Path:
    """Small samples of each dataset in its real layout."""
    if "SLOT_REFERENCE_DATA" not in os.environ:
        pytest.skip("needs SLOT_REFERENCE_DATA")
    return Path(os.environ["SLOT_REFERENCE_DATA"], "samples")


def call(command, arguments) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(command, arguments)
    assert not stopped.value.code


def test_clevrtex_trains_is_scored_and_drawn(tmp_path, tiny, samples):
    out = tmp_path / "run"
    changes = {**CLEVRTEX, "data.root": str(samples / "clevrtex"), "data.splits": WHOLE}
    call(train.main, tiny(out, without=["data.num_samples"], **changes))
    assert "fg_ari" in events(out, "validation")[-1]
    pictures = samples / "clevrtex" / "clevrtex_full" / "0"
    call(
        predict.main,
        [str(out), str(pictures / "CLEVRTEX_full_000000.png"), "--out", str(tmp_path / "found")],
    )
    with Image.open(next((tmp_path / "found" / "labels").glob("*.png"))) as labels:
        assert labels.size == (320, 240)
        assert np.asarray(labels).max() < 4


def test_photos_train_through_folder_and_are_drawn(tmp_path, tiny, samples):
    out = tmp_path / "run"
    changes = {**PHOTOS, "data.root": str(samples / "coco"), "data.splits": WHOLE}
    call(train.main, tiny(out, without=["data.num_samples"], **changes))
    assert (out / "pictures" / "validation-00000003.png").exists()
    photos = sorted((samples / "coco").rglob("*.jpg"))[:3]
    for photo in photos:
        found = tmp_path / photo.stem
        call(predict.main, [str(out), str(photo), "--out", str(found)])
        with (
            Image.open(photo) as picture,
            Image.open(found / "labels" / f"{photo.stem}.png") as labels,
        ):
            assert labels.size == picture.size
        assert (found / "overview.png").exists()
