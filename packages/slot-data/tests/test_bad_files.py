"""What is wrong with a copy is said in one sentence that names the file: every way of being wrong,
for every dataset of files. What only looks wrong does no harm."""

import json
import shutil
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_celeba
import test_clevrtex
import test_coco
import test_davis
import test_folder
import test_movi
import test_multi_object
import test_physion
import test_voc
import test_youtube_vis
import torch

from slot_data import DataError, load_dataset_by_name

NATIVE = {"fit": "file", "relabel": False}


@dataclass(frozen=True)
class Copy:
    """A small copy of a dataset.

    name, write: the dataset, and what makes the copy below a folder.
    picture, mask, table: files of sample 0, and a list or annotations, from the root; "" where
        there is none.
    needed: a picture that is listed, or between others, so that its absence can be noticed.
    """

    name: str
    write: Callable[[Path], Any]
    picture: str = ""
    mask: str = ""
    table: str = ""
    needed: str = ""
    options: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name

    def first(self, root: Path) -> Any:
        options = {"split": "all", **NATIVE, **self.options}
        return load_dataset_by_name(self.name, root=root, **options)[0]


def _folder(root: Path) -> None:
    for number in range(10):
        test_folder.write(root / f"images/{number}.png", 16, 16)
        test_folder.write(root / f"masks/{number}.png", 16, 16, mask=True)


def _movi_records(root: Path) -> None:
    test_movi.kubric(root, per_file=(1, 1))


def _tetrominoes(root: Path) -> None:
    image, masks, _ = test_multi_object.scene((35, 35, 3), 4)
    single = test_multi_object.single_bytes
    record = test_multi_object.record_of(image=single(image), mask=single(masks))
    test_multi_object.write(root / "tetrominoes/tetrominoes_train.tfrecords", [record] * 3)


VOC = "VOCdevkit/VOC2012"
MOVI = {"split": "train", "num_frames": 5}
COPIES = [
    Copy("folder", _folder, "images/0.png", "masks/0.png", needed="images/4.png"),
    Copy(
        "clevrtex",
        lambda root: test_clevrtex.write_scene(root, 0),
        "clevrtex_full/0/CLEVRTEX_full_000000.png",
        "clevrtex_full/0/CLEVRTEX_full_000000_flat.png",
    ),
    Copy(
        "celeba",
        test_celeba.write,
        "img_align_celeba/000001.jpg",
        table="list_eval_partition.txt",
        needed="img_align_celeba/162771.jpg",
    ),
    Copy(
        "voc",
        test_voc.write,
        f"{VOC}/JPEGImages/2011_000000.jpg",
        f"{VOC}/SegmentationObject/2011_000000.png",
        f"{VOC}/ImageSets/Segmentation/train.txt",
        f"{VOC}/JPEGImages/2011_000001.jpg",
        {"split": "train"},
    ),
    Copy(
        "coco",
        test_coco.write,
        "images/val2017/000000000007.jpg",
        table="annotations/instances_val2017.json",
        needed="images/val2017/000000000005.jpg",
        options={"split": "validation"},
    ),
    Copy(
        "youtube_vis",
        test_youtube_vis.write,
        "train/JPEGImages/b0/00000.jpg",
        table="train/instances.json",
        needed="train/JPEGImages/a1/00005.jpg",
    ),
    Copy(
        "davis",
        test_davis.write,
        "JPEGImages/480p/dog/00000.jpg",
        "Annotations/480p/dog/00000.png",
        "ImageSets/2017/train.txt",
        "JPEGImages/480p/bear/00001.jpg",
    ),
    Copy(
        "movi_d",
        test_movi.slotdiffusion,
        "MOVi-D/train/00000000/000000.jpg",
        "MOVi-D/train/00000000/000000_mask.png",
        needed="MOVi-D/train/00000001/000002.jpg",
        options=MOVI,
    ),
    Copy(
        "movi_solid",
        test_movi.solid,
        "MOVi-Solid/test/10/00000000_image.png",
        "MOVi-Solid/test/10/00000000_mask_00.png",
        needed="MOVi-Solid/test/9/00000002_image.png",
        options={**MOVI, "split": "test"},
    ),
    Copy(
        "movi_d",
        _movi_records,
        needed="movi_d/128x128/1.0.0/movi_d-train.tfrecord-00001-of-00002",
        table="movi_d/128x128/1.0.0/movi_d-train.tfrecord-00000-of-00002",
        options=MOVI,
    ),
    Copy(
        "tetrominoes",
        _tetrominoes,
        needed="tetrominoes/tetrominoes_train.tfrecords",
        table="tetrominoes/tetrominoes_train.tfrecords",
    ),
    Copy(
        "physion",
        lambda root: None,  # videos: see `whole`
        table="PhysionTrainMP4s/readout_labels.csv",
        needed="PhysionTrainMP4s/Drop_readout_MP4s/drop_a_0000_img.mp4",
        options={"subset": "readout", "max_frames": 12},
    ),
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory, write_video, moving_noise):
    """The folder of a copy that is whole, made once."""
    top = tmp_path_factory.mktemp("whole")

    def make(copy: Copy) -> Path:
        root = top / str(COPIES.index(copy))
        if not root.exists():
            root.mkdir()
            copy.write(root)
            if copy.name == "physion":
                for seed, path in enumerate(test_physion.PATHS[3:5]):
                    write_video(root / f"{path}.mp4", moving_noise(14, 32, 32, seed))
                rows = ",ground truth outcome\ndrop_a_0000,True\nroll_collision_0003,False\n"
                (root / copy.table).write_text(rows)
        return root

    return make


@pytest.fixture
def made(whole, tmp_path):
    """A copy to break, at a path with blanks and letters beyond ASCII."""
    return lambda copy: shutil.copytree(whole(copy), tmp_path / "Meine Bilder ä 図")


def those(*kinds: str) -> Any:
    """(copy, file) of these kinds."""
    found = [(copy, getattr(copy, kind)) for kind in kinds for copy in COPIES]
    return pytest.mark.parametrize(("copy", "file"), [pair for pair in found if pair[1]], ids=str)


def names_the_file(copy: Copy, root: Path, file: str) -> str:
    """That reading fails with one sentence that names the file; the sentence."""
    with pytest.raises(DataError) as error:
        copy.first(root)
    sentence = str(error.value)
    assert Path(file).name in sentence
    assert str(root) in sentence
    assert "\n" not in sentence
    return sentence


@pytest.mark.parametrize("copy", COPIES, ids=str)
def test_a_whole_copy_at_an_odd_place(made, copy):
    assert copy.first(made(copy))["video"].dtype == torch.uint8


@those("picture", "mask")
@pytest.mark.parametrize("damage", ["cut_off", "empty", "page", "huge"])
def test_a_picture_that_is_damaged(made, copy, file, damage):
    root = made(copy)
    content = (root / file).read_bytes()
    (root / file).write_bytes(
        {
            "cut_off": content[: len(content) // 2],
            "empty": b"",
            "page": b"<html><title>Quota exceeded</title></html>",
            "huge": huge_png(),
        }[damage]
    )
    assert "cannot be read as a picture" in names_the_file(copy, root, file)


def huge_png() -> bytes:
    """A few bytes that claim to be 60,000 x 60,000 pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    end = chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + end


@those("mask")
def test_a_missing_mask(made, copy, file):
    root = made(copy)
    (root / file).unlink()
    names_the_file(copy, root, file)


@those("needed")
def test_nine_of_ten_files(made, copy, file):
    root = made(copy)
    (root / file).unlink()
    if copy.name == "physion":  # known by the labels alone
        assert "1 of the 2 stimuli" in names_the_file(copy, root, copy.table)
    else:
        names_the_file(copy, root, file)


@those("table")
@pytest.mark.parametrize("damage", ["cut_off", "empty", "page", "bytes"])
def test_a_list_that_is_damaged(made, copy, file, damage):
    root = made(copy)
    content = (root / file).read_bytes()
    (root / file).write_bytes(
        {
            "cut_off": content[: -max(4, len(content) // 50)],
            "empty": b"",
            "page": b"<html>\n<title>Quota exceeded</title>\n</html>\n",
            "bytes": b"\xff\xfe\x00\x81" * 9,
        }[damage]
    )
    names_the_file(copy, root, file)


@pytest.mark.parametrize("copy", [c for c in COPIES if c.table.endswith((".txt", ".csv"))], ids=str)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_ends_and_the_mark_of_editors_do_no_harm(made, copy, end, mark):
    root = made(copy)
    before = copy.first(root)
    path = root / copy.table
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_bytes((mark + end.join(lines) + end).encode())
    assert copy.first(root)["id"] == before["id"]


@those("picture")
def test_links_out_of_the_folder_are_followed(made, copy, file, tmp_path):
    """People keep their data on other disks. A link to nowhere is named."""
    root = made(copy)
    before = copy.first(root)["video"]
    elsewhere = tmp_path / "elsewhere"
    (root / file).rename(elsewhere)
    (root / file).symlink_to(elsewhere)
    assert torch.equal(copy.first(root)["video"], before)
    elsewhere.unlink()
    sentence = names_the_file(copy, root, file)
    assert sentence.endswith(f"is a link to {elsewhere}, which is not there")


@those("picture")
def test_a_folder_that_is_a_link_is_followed(made, copy, file, tmp_path):
    root = made(copy)
    before = copy.first(root)["video"]
    top = root / Path(file).parts[0]
    top.rename(tmp_path / "disk")
    top.symlink_to(tmp_path / "disk")
    assert torch.equal(copy.first(root)["video"], before)


def test_a_link_to_a_folder_around_it_is_named(made):
    copy = COPIES[0]
    root = made(copy)
    (root / "images/more").symlink_to(root)
    sentence = names_the_file(copy, root, "more")
    assert sentence.endswith(f"more is a link to {root}, which holds it itself")


@those("picture", "mask", "needed")
def test_what_archives_leave_behind_does_no_harm(made, copy, file):
    root = made(copy)
    before = copy.first(root)["video"]
    path = root / file
    path.with_name(f"._{path.name}").write_bytes(b"Mac OS X")
    for name in (".DS_Store", "Thumbs.db"):
        (path.parent / name).write_bytes(b"\0")
    assert torch.equal(copy.first(root)["video"], before)


def test_annotations_of_another_kind_are_named(made):
    """JSON that is whole, but not what is expected."""
    for copy in COPIES:
        if not copy.table.endswith(".json"):
            continue
        root = made(copy)  # at the same place
        for content in ([], {}, {"images": 1, "videos": 1}, "text", None, [[[]]]):
            (root / copy.table).write_text(json.dumps(content))
            names_the_file(copy, root, copy.table)
        (root / copy.table).write_text("[" * 100_000)
        names_the_file(copy, root, copy.table)
        shutil.rmtree(root)


def test_pixels_that_change_size_within_a_video(made):
    for copy in COPIES:
        if copy.name not in ("davis", "movi_d", "movi_solid", "youtube_vis") or not copy.picture:
            continue
        root = made(copy)
        test_movi.save(np.zeros((9, 9, 3), np.uint8), root / copy.picture)
        names_the_file(copy, root, copy.picture)
        shutil.rmtree(root)
