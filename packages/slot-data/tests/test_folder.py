"""The user's own files: pictures and videos, divided or not, with masks or without."""

# pyright: reportTypedDictNotRequiredAccess=false
# (the samples asked for labels here have them)

import errno
import os
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from slot_data import DataError, collate, load_dataset_by_name

SIZE = 8


def write(path, height=SIZE, width=SIZE, mask=False, seed=None):
    """Noise, so that no two pictures are alike; a mask of two objects, 3 and 9."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if mask:
        pixels = np.zeros((height, width), np.uint8)
        pixels[:3, :3], pixels[-2:, -2:] = 3, 9
    else:
        seed = sum(path.as_posix().encode()) if seed is None else seed
        pixels = np.random.default_rng(seed).integers(256, size=(height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def load(root, split="all", **options):
    return load_dataset_by_name("folder", split=split, root=root, **{"image_size": SIZE, **options})


def ids(dataset):
    return [dataset[index]["id"] for index in range(len(dataset))]


def test_pictures_in_subfolders_in_natural_order(tmp_path):
    for name in ("b/10.png", "b/2.jpg", "a.PNG", "b/c/1.bmp", "b/3.webp"):
        write(tmp_path / "images" / name)
    for name in ("notes.txt", ".hidden.png", "b/._2.jpg"):
        (tmp_path / "images" / name).write_text("no picture")
    dataset = load(tmp_path)
    assert ids(dataset) == [
        f"images/{name}" for name in ("a.PNG", "b/2.jpg", "b/3.webp", "b/10.png", "b/c/1.bmp")
    ]
    pixels = np.asarray(Image.open(tmp_path / "images/a.PNG")).transpose(2, 0, 1)
    assert np.array_equal(dataset[0]["video"][0].numpy(), pixels)
    assert "labels" not in dataset[0]
    with pytest.raises(IndexError):
        dataset[5]


def test_hidden_folders_are_left_out(tmp_path):
    for name in ("video/a.png", ".thumbnails/a.png", "video/.ipynb_checkpoints/a-checkpoint.png"):
        write(tmp_path / "images" / name)
        write(tmp_path / "masks" / name, mask=True)
    (tmp_path / "images/.loop").symlink_to(tmp_path / "images")
    assert ids(load(tmp_path)) == ["images/video/a.png"]


def test_a_folder_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    for name in ("a/1.png", "locked/2.png"):
        write(tmp_path / "images" / name)
    scandir, locked = os.scandir, tmp_path / "images/locked"

    def scan(place):
        if Path(place) == locked:  # as its rights would say to anyone but root
            raise PermissionError(errno.EACCES, "Permission denied", place)
        return scandir(place)

    monkeypatch.setattr(os, "scandir", scan)
    with pytest.raises(DataError, match=f"^folder {locked} cannot be read: Permission denied$"):
        load(tmp_path)


@pytest.mark.parametrize("split", ["train", "all"])
def test_a_name_that_is_not_utf_8_is_told(tmp_path, split):
    odd, words = (
        os.fsdecode(b"caf\xe9.png"),
        r"^the name '.*/caf\\udce9.\w+' is not UTF-8; rename it$",
    )
    write(tmp_path / "pictures/images" / odd, seed=0)
    (tmp_path / "films/videos").mkdir(parents=True)
    (tmp_path / "films/videos" / odd).with_suffix(".mp4").write_bytes(b"")
    for root in (tmp_path / "pictures", tmp_path / "films"):
        with pytest.raises(DataError, match=words):
            load(root, split)
    write(tmp_path / odd / "images/a.png", seed=0)
    assert ids(load(tmp_path / odd)) == ["images/a.png"]


def test_masks_go_with_their_pictures(tmp_path):
    write(tmp_path / "images/x/one.jpg")
    write(tmp_path / "masks/x/one.png", mask=True)
    labels = load(tmp_path)[0]["labels"]
    assert labels.shape == (1, SIZE, SIZE)
    assert labels.unique().tolist() == [0, 1, 2]
    assert labels[0, 0, 0] == 1
    assert load(tmp_path, relabel=False)[0]["labels"].unique().tolist() == [0, 3, 9]


def test_crop_and_resize_whatever_the_size(tmp_path):
    write(tmp_path / "images/wide.png", 20, 40)
    write(tmp_path / "images/tall.png", 50, 30)
    dataset = load(tmp_path, image_size=16)
    assert collate([dataset[0], dataset[1]])["video"].shape == (2, 1, 3, 16, 16)
    exact = load(tmp_path, image_size=10, centre_crop=10)
    wide = np.asarray(Image.open(tmp_path / "images/wide.png"))
    assert np.array_equal(exact[1]["video"][0].permute(1, 2, 0).numpy(), wide[5:15, 15:25])


def test_a_hash_divides_what_is_not_divided(tmp_path):
    for number in range(60):
        write(tmp_path / f"images/{number}.png")
    parts = {split: ids(load(tmp_path, split)) for split in ("train", "validation", "test")}
    assert sorted(chain.from_iterable(parts.values())) == sorted(ids(load(tmp_path)))
    assert 40 <= len(parts["train"]) <= 55
    assert parts["test"][0] == "images/41.png", "the rule is fixed for ever"
    for number in range(60, 80):
        write(tmp_path / f"images/{number}.png")
    for split, before in parts.items():
        assert set(before) <= set(ids(load(tmp_path, split))), "new files move no others"


def test_folders_divide(tmp_path):
    for split, number in (("train", 3), ("test", 2)):
        for picture in range(number):
            write(tmp_path / f"{split}/images/{picture}.png")
            write(tmp_path / f"{split}/masks/{picture}.png", mask=True)
    assert ids(load(tmp_path, "test")) == ["test/images/0.png", "test/images/1.png"]
    assert len(load(tmp_path, "train")) == 3
    assert len(load(tmp_path, "all")) == 5
    assert all("labels" in load(tmp_path, "all")[index] for index in range(5))
    with pytest.raises(DataError, match="has no folder validation; it is divided and has train"):
        load(tmp_path, "validation")


def test_videos_are_folders_of_frames(tmp_path):
    for video, length in (("a", 3), ("b/c", 5)):
        for frame in range(length):
            write(tmp_path / f"images/{video}/{frame + 8}.png")
            write(tmp_path / f"masks/{video}/{frame + 8}.png", mask=True)
    dataset = load(tmp_path, num_frames=3)
    assert ids(dataset) == ["images/a/8.png", "images/b/c/8.png"]
    assert dataset[1]["video"].shape == (3, 3, SIZE, SIZE)
    last = np.asarray(Image.open(tmp_path / "images/b/c/10.png")).transpose(2, 0, 1)
    assert np.array_equal(dataset[1]["video"][2].numpy(), last)
    assert ids(load(tmp_path, num_frames=3, clips="every")) == [
        "images/a/8.png",
        "images/b/c/8.png",
        "images/b/c/9.png",
        "images/b/c/10.png",
    ]
    with pytest.raises(DataError, match=r"video .*a has 3 frames; .* 3 frames 2 apart needs 5"):
        load(tmp_path, num_frames=3, stride=2)
    assert len(load(tmp_path)) == 8, "with one frame every picture is a sample"


def test_an_object_keeps_its_number_through_a_video(tmp_path):
    for frame, objects in enumerate(([5, 7], [7], [5])):
        write(tmp_path / f"images/v/{frame}.png")
        mask = np.zeros((SIZE, SIZE), np.uint8)
        for place in objects:
            mask[place] = place
        (tmp_path / "masks/v").mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(tmp_path / f"masks/v/{frame}.png")
    labels = load(tmp_path, num_frames=3)[0]["labels"]
    assert [frame.unique().tolist() for frame in labels] == [[0, 1, 2], [0, 2], [0, 1]]


def test_a_video_is_never_torn_by_the_hash(tmp_path):
    for video in range(20):
        for frame in range(3):
            write(tmp_path / f"images/v{video}/{frame}.png")
    train, test = (
        {name.split("/")[1] for name in ids(load(tmp_path, split, num_frames=2, clips="every"))}
        for split in ("train", "test")
    )
    assert train
    assert test
    assert not train & test


def broken(tmp_path, case):
    """Writes a folder with one fault; returns the options that meet it."""
    write(tmp_path / "images/1.png")
    write(tmp_path / "images/2.png")
    if case == "no root":
        return {"root": tmp_path / "nowhere"}
    if case == "not the layout":
        (tmp_path / "images").rename(tmp_path / "pictures")
        return {"root": tmp_path / "pictures"}
    if case == "images as root":
        return {"root": tmp_path / "images"}
    if case == "both":
        write(tmp_path / "train/images/1.png")
    elif case == "no images":
        for path in (tmp_path / "images").iterdir():
            path.unlink()
    elif case == "mask missing":
        write(tmp_path / "masks/2.png", mask=True)
    elif case == "stray mask":
        for name in "123":
            write(tmp_path / f"masks/{name}.png", mask=True)
    elif case == "masks in one split":
        for path in (tmp_path / "images").iterdir():
            path.unlink()
        (tmp_path / "images").rmdir()
        write(tmp_path / "train/images/1.png")
        write(tmp_path / "test/images/1.png")
        write(tmp_path / "test/masks/1.png", mask=True)
    elif case == "video":
        return {"num_frames": 2}
    elif case == "empty split":
        return {"split": "test"}
    return {
        "split": {"split": "val"},
        "clips": {"clips": "random"},
        "stride": {"stride": 0},
        "image_size": {"image_size": 0},
    }.get(case, {})


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("no root", "nowhere is not a folder"),
        (
            "not the layout",
            "pictures holds none of images, videos, train, validation, test; expected pictures in ",
        ),
        ("images as root", "images is a folder images; expected as root the one that it is in"),
        ("both", "holds both images and train; expected one of them"),
        ("no images", "no images found in "),
        ("mask missing", "images/1.png has no mask: expected "),
        ("stray mask", "masks/3.png belongs to no picture in "),
        ("masks in one split", "train has no masks, but another split of "),
        ("video", "images/1.png lies in no video: with num_frames 2, "),
        ("empty split", "is empty: it has too few samples to divide by hash; use split 'all'"),
        ("split", "split 'val' of folder is not one of train, validation, test, all"),
        ("clips", "option clips of dataset 'folder' is 'random'; expected 'first' or 'every'"),
        ("stride", "num_frames 1 and stride 0 must be at least 1"),
        ("image_size", "image_size is 0, not at least 1"),
    ],
)
def test_faults_are_named(tmp_path, case, words):
    options = {"root": tmp_path, **broken(tmp_path, case)}
    with pytest.raises(DataError) as error:
        load(**options)
    assert words in str(error.value)


def test_a_picture_of_a_kind_that_is_not_read_is_not_left_out_silently(tmp_path):
    write(tmp_path / "images" / "a.png")
    write(tmp_path / "images" / ".thumbnails" / "a.gif")
    assert ids(load(tmp_path)) == ["images/a.png"]
    write(tmp_path / "images" / "b" / "scan.TIF")
    with pytest.raises(
        DataError, match=r"scan\.TIF is a picture of a kind that is not read; expec"
    ):
        load(tmp_path)


def test_a_mask_of_another_size_and_a_broken_picture_are_named(tmp_path):
    write(tmp_path / "images/1.png")
    write(tmp_path / "masks/1.png", 4, 9, mask=True)
    with pytest.raises(DataError, match=r"mask .*masks/1.png is 9x4 .* picture .*1.png is 8x8"):
        load(tmp_path)[0]
    (tmp_path / "images/1.png").write_bytes(b"\x89PNG")
    with pytest.raises(DataError, match=r"images/1.png cannot be read as a picture"):
        load(tmp_path)[0]


def test_a_crop_larger_than_the_picture_names_it(tmp_path):
    write(tmp_path / "images/1.png")
    with pytest.raises(DataError, match=r"'images/1.png' is 8x8: a centre crop of 9 does not fit"):
        load(tmp_path, centre_crop=9)[0]


def test_reading_twice_is_equal(tmp_path):
    write(tmp_path / "images/1.png", 33, 47)
    first, second = load(tmp_path)[0], load(tmp_path)[0]
    assert torch.equal(first["video"], second["video"])
