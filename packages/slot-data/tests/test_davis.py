"""DAVIS in its layouts: lists, both tasks, void, and the one object of 2016."""

# pyright: reportTypedDictNotRequiredAccess=false

import numpy as np
import pytest
import torch
from movi_files import save
from PIL import Image

from slot_data import DataError, load_dataset_by_name

NATIVE = {"fit": "file", "relabel": False}
LENGTHS = {"bear": 3, "bike-packing": 4, "dog": 2}
SIZES = {"bear": (24, 32), "bike-packing": (24, 36), "dog": (24, 32)}


def ids_of(name, time):
    """Two objects, the second void at its edge."""
    ids = np.zeros(SIZES[name], np.uint8)
    ids[2:8, 2 + time : 9 + time] = 1
    ids[10:20, 10:20] = 255
    ids[11:19, 11:19] = 2
    return ids


def write(root, annotations="Annotations", lists="2017", mask=ids_of, mode="P"):
    for name, length in LENGTHS.items():
        for time in range(length):
            bits = np.random.default_rng(100 * len(name) + time)
            pixels = bits.integers(256, size=(*SIZES[name], 3), dtype=np.uint8)
            save(pixels, root / f"JPEGImages/480p/{name}/{time:05d}.jpg")
            image = Image.fromarray(mask(name, time))
            if mode == "P":
                image.putpalette(bits.integers(256, size=768, dtype=np.uint8).tolist())
            path = root / f"{annotations}/480p/{name}/{time:05d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path)
    place = root / "ImageSets" / lists
    place.mkdir(parents=True, exist_ok=True)
    (place / "train.txt").write_text("dog\nbear\n")
    (place / "val.txt").write_bytes(b"bike-packing\r\n")
    return root


def load(root, split="train", **options):
    return load_dataset_by_name("davis", split=split, root=root, **{**NATIVE, **options})


def names_of(dataset):
    return [sample["id"] for sample in dataset]


@pytest.mark.parametrize("below", ["", "DAVIS"])
def test_the_order_of_the_lists(tmp_path, below):
    write(tmp_path / below)
    assert names_of(load(tmp_path)) == ["dog/0", "bear/0"]
    assert names_of(load(tmp_path, "validation")) == ["bike-packing/0"]
    assert names_of(load(tmp_path, "all")) == ["dog/0", "bear/0", "bike-packing/0"]


@pytest.mark.parametrize("mode", ["P", "L"])
def test_pixels_and_ids_are_those_of_the_files(tmp_path, mode):
    write(tmp_path, mode=mode)
    sample = load(tmp_path, "validation")[0]
    assert set(sample) == {"video", "id", "labels", "void"}
    assert len(sample["video"]) == 4
    for time in range(4):
        file = tmp_path / f"JPEGImages/480p/bike-packing/{time:05d}.jpg"
        pixels = np.asarray(Image.open(file))
        assert np.array_equal(sample["video"][time].permute(1, 2, 0).numpy(), pixels)
        ids = ids_of("bike-packing", time)
        assert np.array_equal(sample["labels"][time].numpy(), np.where(ids == 255, 0, ids))
        assert np.array_equal(sample["void"][time].numpy(), ids == 255)
    told = load(tmp_path, "validation", void="background")[0]
    assert "void" not in told
    assert torch.equal(told["labels"], sample["labels"])


def test_the_two_tasks(tmp_path):
    write(tmp_path)
    assert load(tmp_path)[0]["labels"].max() == 2
    write(tmp_path, "Annotations_unsupervised", mask=lambda name, time: ids_of(name, time) // 2)
    with pytest.raises(DataError, match=r"masks of two tasks; name one .*: semi_supervised, unsup"):
        load(tmp_path)
    assert load(tmp_path, annotations="semi_supervised")[0]["labels"].max() == 2
    assert load(tmp_path, annotations="unsupervised")[0]["labels"].max() == 127
    assert load(tmp_path, masks=False)[0].keys() == {"video", "id"}


def test_2016_knows_one_object(tmp_path):
    """Grey masks of 0 and 255, and lists of paths, as it came by itself."""
    grey = lambda name, time: np.where(ids_of(name, time) == 1, 255, 0).astype(np.uint8)  # noqa: E731 (as short as the table it stands for)
    write(tmp_path, lists="480p", mask=grey, mode="L")
    lines = [f"/JPEGImages/480p/dog/{t:05d}.jpg /Annotations/480p/dog/{t:05d}.png" for t in (0, 1)]
    (tmp_path / "ImageSets/480p/train.txt").write_text("\n".join(lines))
    dataset = load(tmp_path, year="2016")
    assert names_of(dataset) == ["dog/0"]
    assert np.array_equal(dataset[0]["labels"][1].numpy(), ids_of("dog", 1) == 1)
    assert not dataset[0]["void"].any()
    with pytest.raises(DataError, match=r"root .* of davis holds none of ImageSets/2017/train.txt"):
        load(tmp_path)


def test_2016_of_the_masks_of_2017(tmp_path):
    write(tmp_path, lists="2016")
    sample = load(tmp_path, year="2016")[0]
    ids = ids_of("dog", 0)
    assert np.array_equal(sample["labels"][0].numpy(), np.isin(ids, (1, 2)))
    assert np.array_equal(sample["void"][0].numpy(), ids == 255)


def test_clips(tmp_path):
    write(tmp_path)
    clips = load(tmp_path, "all", num_frames=2, clips="every")
    expected = ["dog/0", "bear/0", "bear/1", "bike-packing/0", "bike-packing/1", "bike-packing/2"]
    assert names_of(clips) == expected
    whole = load(tmp_path, "validation")[0]
    assert torch.equal(clips[4]["video"], whole["video"][1:3])
    assert torch.equal(clips[4]["labels"], whole["labels"][1:3])
    with pytest.raises(DataError, match=r"video .*dog has 2 frames; a clip of 3 frames 1 apart"):
        load(tmp_path, "all", num_frames=3)
    assert names_of(load(tmp_path, num_frames=3, short="drop")) == ["bear/0"]
    with pytest.raises(DataError, match="split 'train' of davis holds no video with a clip of 9"):
        load(tmp_path, num_frames=9, short="drop")


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("Annotations/480p/dog/00001.png", r"dog/00001.jpg has no mask: expected .*dog/00001.png"),
        ("JPEGImages/480p/dog/00000.jpg", r"dog has 1 frames, but 00000.jpg is not among them"),
        ("JPEGImages/480p/dog/00001.jpg", r"dog holds 2 masks, but video .*dog has 1 frames"),
        (
            "JPEGImages/480p/dog",
            r"1 of the 2 videos in list .*train.txt have no folder in .*; 'dog' is",
        ),
        ("ImageSets/2017/train.txt", r"root .* of davis holds none of ImageSets/2017/train.txt"),
    ],
)
def test_missing_files_are_named(tmp_path, file, words):
    path = write(tmp_path) / file
    path.rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=words):
        load(tmp_path)


def test_faults_are_named(tmp_path):
    with pytest.raises(DataError, match="davis holds none of JPEGImages, DAVIS/JPEGImages"):
        load(tmp_path)
    write(tmp_path)
    with pytest.raises(
        DataError, match="split 'val' of davis is not one of train, validation, all"
    ):
        load(tmp_path, "val")
    with pytest.raises(DataError, match="davis holds none of JPEGImages/Full-Resolution"):
        load(tmp_path, resolution="Full-Resolution")
    with pytest.raises(DataError, match="davis holds none of Annotations_unsupervised/480p"):
        load(tmp_path, annotations="unsupervised")
    with pytest.raises(IndexError):
        load(tmp_path)[2]
    save(np.zeros((9, 9), np.uint8), tmp_path / "Annotations/480p/dog/00001.png")
    with pytest.raises(
        DataError, match=r"mask .*dog/00001.png is 9x9 .* but its picture .* is 32x"
    ):
        load(tmp_path)[0]
    (tmp_path / "ImageSets/2017/train.txt").write_text("\n")
    with pytest.raises(DataError, match=r"list .*train.txt of davis is empty"):
        load(tmp_path)
