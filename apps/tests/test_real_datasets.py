"""Training, scoring and drawing on the real layout of every dataset: the reference folder's
samples, a few steps of a tiny model each."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import predict
import train
from slot_data import load_dataset_by_name
from support.command_line import run

pytestmark = pytest.mark.slow

PICTURES = {"image_size": 16}
CLIPS = {"num_frames": 2, "image_size": 16}
ALL = ("all", "all", "all")

# Dataset, folder of the samples, its splits for training, validation and testing, options.
SAMPLES = [
    ("clevrtex", "clevrtex", ALL, PICTURES),
    ("coco", "coco", ("train", "validation", "validation"), PICTURES),
    ("voc", "voc", ("trainaug", "validation", "validation"), {**PICTURES, "masks": True}),
    ("clevr", "multi_object_datasets", ALL, PICTURES),
    ("tetrominoes", "multi_object_datasets", ALL, {}),
    ("objects_room", "multi_object_datasets", ALL, {}),
    ("multi_dsprites", "multi_object_datasets", ALL, {"variant": "colored_on_colored"}),
    ("movi_c", "movi_folder_slotdiffusion", ("train", "validation", "test"), CLIPS),
    ("movi_d", "movi_folder_slotdiffusion", ("train", "validation", "test"), CLIPS),
    ("movi_e", "movi_folder_slotdiffusion", ("train", "validation", "validation"), CLIPS),
    ("movi_e", "movi_folder_steve", ("train", "validation", "validation"), CLIPS),
    ("movi_solid", "movi_solid_tex", ("train", "validation", "test"), CLIPS),
    ("movi_tex", "movi_solid_tex", ("train", "validation", "test"), CLIPS),
    ("movi_c", "movi_tfds", ("validation", "validation", "validation"), CLIPS),
    ("movi_d", "movi_tfds", ("validation", "validation", "validation"), CLIPS),
    ("movi_e", "movi_tfds", ("train", "validation", "test"), CLIPS),
    ("physion", "physion/Physion", ("all", "all", "test"), CLIPS),
]


@pytest.fixture
def samples() -> Path:
    """Small samples of each dataset in its real layout."""
    if "SLOT_REFERENCE_DATA" not in os.environ:
        pytest.skip("needs SLOT_REFERENCE_DATA")
    return Path(os.environ["SLOT_REFERENCE_DATA"], "samples")


def call(command: Any, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(command, arguments)
    assert not stopped.value.code


def save_frames(video: Any, folder: Path) -> None:
    folder.mkdir(parents=True)
    for time, frame in enumerate(video):
        pixels = frame.permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(folder / f"{time:02d}.png")


@pytest.mark.parametrize(
    ("name", "folder", "splits", "options"), SAMPLES, ids=[f"{s[0]}-{s[1]}" for s in SAMPLES]
)
def test_trains_is_scored_and_drawn(tmp_path, tiny, samples, name, folder, splits, options):
    out, root = tmp_path / "run", str(samples / folder)
    arguments = tiny(
        out,
        recipe="savi/shapes" if "num_frames" in options else "slot_attention/shapes",
        without=["data.num_samples", *([] if options.get("image_size") else ["data.image_size"])],
        **{
            "model.preprocessing.image_size": [16, 16],
            "data.name": name,
            "data.root": root,
            "data.splits": dict(zip(("train", "validation", "test"), splits, strict=True)),
            **{f"data.{key}": value for key, value in options.items()},
            "train.num_steps": 2,
            "train.batch_size": 2,
            "validation.num_samples": 2,
            "validation.num_pictures": 1,
        },
    )
    call(train.main, arguments)
    assert (out / "pictures" / "validation-00000002.png").exists()
    held_out = load_dataset_by_name(name, split=splits[2], root=root, **options)
    if "labels" in held_out[0]:
        result = json.loads((out / "test" / "result.json").read_text())
        assert result["num_samples"] == len(held_out)
        assert 0 <= result["metrics"]["ari"]["n"] <= len(held_out)
        assert result["settings"]["name"] == name
    native = {key: value for key, value in options.items() if key != "image_size"}
    sample = load_dataset_by_name(name, split=splits[2], root=root, fit="file", **native)[0]
    save_frames(sample["video"], tmp_path / "FRAMES")
    found = tmp_path / "found"
    frames = ["--frames"] if len(sample["video"]) > 1 else []
    call(predict.main, [str(out), str(tmp_path / "FRAMES"), "--out", str(found), *frames])
    drawn = sorted((found / "labels").rglob("*.png"))
    assert len(drawn) == len(sample["video"])
    height, width = sample["video"].shape[-2:]
    for path in drawn:
        with Image.open(path) as labels:
            assert labels.size == (width, height)
            assert np.asarray(labels).max() < 4
    assert (found / "overview.png").exists()


@pytest.mark.parametrize(
    ("name", "folder", "splits", "options"), SAMPLES, ids=[f"{s[0]}-{s[1]}" for s in SAMPLES]
)
def test_a_worker_that_is_not_forked_reads_the_same(samples, name, folder, splits, options):
    """It is sent the dataset, before and after something was read."""
    dataset = load_dataset_by_name(name, split=splits[0], root=str(samples / folder), **options)
    fresh = pickle.dumps(dataset)
    first: dict[str, Any] = {**dataset[0]}
    for sent in (fresh, pickle.dumps(dataset)):
        again: dict[str, Any] = pickle.loads(sent)[0]
        assert again.keys() == first.keys()
        for key, value in first.items():
            assert np.array_equal(again[key], value), key
