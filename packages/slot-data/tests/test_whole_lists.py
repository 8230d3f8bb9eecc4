"""How whole copies are divided: by lists of their true lengths, which are written here with made-up
names, since the true ones are not this package's to pass on (but for CelebA's, which is so regular
that `test_celeba` writes it to the byte). What a split holds comes from the list: a line more is a
sample more. The card says how many there should be, and `slot-data verify` compares."""

import json
import os
import sys
from contextlib import contextmanager

import pytest
from PIL import Image

from slot_data import catalog, cli, load_dataset_by_name
from slot_data.file_lists import missing_files_found_later


def lengths(name, root, splits, **options):
    """Without asking for the files of the lists, or else they would all have to be there."""
    with missing_files_found_later():
        return [len(load_dataset_by_name(name, split=s, root=root, **options)) for s in splits]


def on_card(name, splits):
    return [catalog.card(name).splits[split] for split in splits]


@contextmanager
def one_line_more(path, line):
    content = path.read_bytes()
    path.write_bytes(content + line)
    yield
    path.write_bytes(content)


@pytest.mark.slow
def test_celeba(tmp_path):
    (tmp_path / "img_align_celeba").mkdir()
    path = tmp_path / "list_eval_partition.txt"
    numbers = [0] * 162_770 + [1] * 19_867 + [2] * 19_962
    lines = (f"{place:06d}.jpg {number}\r\n" for place, number in enumerate(numbers, 1))
    path.write_text("".join(lines), newline="")
    splits = ("train", "validation", "test", "all")
    assert lengths("celeba", tmp_path, splits) == on_card("celeba", splits)
    with one_line_more(path, b"202600.jpg 1\r\n"):
        assert lengths("celeba", tmp_path, splits) == [162_770, 19_868, 19_962, 202_600]


@pytest.mark.slow
def test_voc(tmp_path):
    lists = tmp_path / "VOCdevkit/VOC2012/ImageSets/Segmentation"
    for folder in ("JPEGImages", "SegmentationClassAug"):
        (lists.parents[1] / folder).mkdir(parents=True)
    lists.mkdir(parents=True)
    sizes = {"2007": 1_464, "2009": 1_449, "2011": 9_118}
    train, val, more = ([f"{year}_{n:06d}" for n in range(size)] for year, size in sizes.items())
    for name, names in {"train": train, "val": val, "trainval": train + val}.items():
        (lists / f"{name}.txt").write_text("".join(f"{line}\r\n" for line in names), newline="")
    augmented = lists / "trainaug.txt"
    augmented.write_text("\n".join(train + more))  # the last line of the true one has no end
    splits = ("train", "validation", "trainval", "trainaug")
    assert lengths("voc", tmp_path, splits) == on_card("voc", splits)
    with one_line_more(augmented, b"\n2012_000001"):
        assert lengths("voc", tmp_path, ["trainaug"]) == [10_583]
    # Without a list, trainaug is every mask of SBD that is not of the validation split.
    augmented.unlink()
    for name in train + val + more:
        (lists.parents[1] / f"SegmentationClassAug/{name}.png").touch()
    assert lengths("voc", tmp_path, ["trainaug"]) == on_card("voc", ["trainaug"])


def coco_file(path, count, annotated):
    """Of so many pictures, the first `annotated` of which have one region each."""
    pictures = [{"id": n, "file_name": f"{n:012d}.jpg", "height": 4, "width": 4}
                for n in range(1, count + 1)]  # fmt: skip
    regions = [{"id": n, "image_id": n, "category_id": 1, "iscrowd": 0,
                "segmentation": [[0, 0, 4, 0, 4, 4]]} for n in range(1, annotated + 1)]  # fmt: skip
    kinds = [{"id": 1, "name": "person"}]
    content = {"images": pictures, "annotations": regions, "categories": kinds}
    path.write_text(json.dumps(content))


@pytest.mark.slow
def test_coco(tmp_path, monkeypatch):
    monkeypatch.setenv("SLOT_DATA_CACHE", str(tmp_path / "index"))
    for folder in ("annotations", "train2017", "val2017"):
        (tmp_path / folder).mkdir()
    # 48 pictures for validation have no annotation; how many of the others is not published
    coco_file(tmp_path / "annotations/instances_train2017.json", 118_287, annotated=1_000)
    coco_file(tmp_path / "annotations/instances_val2017.json", 5_000, annotated=4_952)
    splits = ("train", "validation")
    assert lengths("coco", tmp_path, splits) == on_card("coco", splits)
    dropped = lengths("coco", tmp_path, splits, empty="drop_unannotated")
    assert dropped == [1_000, 4_952]
    coco_file(tmp_path / "annotations/instances_val2017.json", 4_999, annotated=4_999)
    assert lengths("coco", tmp_path, ["validation"]) == [4_999]


@pytest.mark.slow
def test_clevrtex(tmp_path):
    """By number: every picture of a whole copy is in one split."""
    picture = tmp_path / "a.png"
    Image.new("RGB", (320, 240)).save(picture)
    for number in range(50_000):
        folder = tmp_path / f"clevrtex_full/{number // 1000}"
        if number % 1000 == 0:
            folder.mkdir(parents=True)
        os.link(picture, folder / f"CLEVRTEX_full_{number:06d}.png")
    splits = ("train", "validation", "test", "all")
    found = [len(load_dataset_by_name("clevrtex", split=split, root=tmp_path, masks=False))
             for split in splits]  # fmt: skip
    assert found == [40_000, 5_000, 5_000, 50_000] == on_card("clevrtex", splits)


def test_youtube_vis(tmp_path):
    """2019 has 2,238 videos with a truth; the last 300 are for validation, as the card says."""
    (tmp_path / "train/JPEGImages").mkdir(parents=True)
    path = tmp_path / "train.json"
    for count in (2_238, 2_239):
        videos = [{"id": n, "file_names": [f"{n:05d}/00000.jpg"], "length": 1, "height": 4,
                   "width": 4} for n in range(1, count + 1)]  # fmt: skip
        content = {"videos": videos, "annotations": [], "categories": [{"id": 1, "name": "a"}]}
        path.write_text(json.dumps(content))
        splits = ("train", "validation", "all")
        assert lengths("youtube_vis", tmp_path, splits) == [count - 300, 300, count]
    assert catalog.card("youtube_vis").splits["validation"] == 300


def test_davis(tmp_path):
    picture = tmp_path / "a.jpg"
    Image.new("RGB", (8, 8)).save(picture)
    lists = tmp_path / "ImageSets/2017"
    lists.mkdir(parents=True)
    for part, count in (("train", 60), ("val", 30)):
        names = [f"{part}-{number}" for number in range(count)]
        (lists / f"{part}.txt").write_text("\n".join(names))
        for name in names:
            place = tmp_path / "JPEGImages/480p" / name
            place.mkdir(parents=True)
            os.link(picture, place / "00000.jpg")
    splits = ("train", "validation", "all")
    assert lengths("davis", tmp_path, splits, masks=False) == on_card("davis", splits)


@pytest.mark.slow
def test_physion(tmp_path):
    """The lists that come with SlotFormer's and SlotDiffusion's code."""
    scenarios = ["Collide", "Contain", "Dominoes", "Drape", "Drop", "Link", "Roll", "Support"]
    counts = {"training_train": [1_900] * 8, "training_val": [100] * 6 + [99] * 2,
              "readout_train": [951] + [950] * 7, "readout_val": [51] * 4 + [50] * 4}  # fmt: skip
    for name, sizes in counts.items():
        subset, part = name.split("_")
        listed = {}
        for scenario, size in zip(scenarios, sizes, strict=True):
            folder = f"PhysionTrainMP4s/{scenario}_{subset}_MP4s"
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
            listed[scenario] = [f"{folder}/{part}_{n:04d}_img.mp4" for n in range(size)]
            for video in listed[scenario]:
                (tmp_path / video).touch()
        (tmp_path / f"{name}.json").write_text(json.dumps(listed))
    found = {}
    for name in counts:
        subset, part = name.split("_")
        split = "validation" if part == "val" else "train"
        (found[name],) = lengths("physion", tmp_path, [split], subset=subset, outcomes=False,
                                 split_lists=tmp_path)  # fmt: skip
    assert found == {"training_train": 15_200, "training_val": 798, "readout_train": 7_601,
                     "readout_val": 404}  # fmt: skip


def test_verify_says_what_the_card_expects_and_what_there_is(tmp_path, monkeypatch, capsys):
    (tmp_path / "img_align_celeba").mkdir()
    lines = [f"{number:06d}.jpg {number % 3}\r\n" for number in range(1, 8)]
    (tmp_path / "list_eval_partition.txt").write_text("".join(lines), newline="")
    for number in range(1, 8):
        Image.new("RGB", (178, 218)).save(tmp_path / f"img_align_celeba/{number:06d}.jpg")
    monkeypatch.setattr(sys, "argv", ["slot-data", "verify", "celeba", "--option",
                                      f"root={tmp_path}"])  # fmt: skip
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    output, errors = capsys.readouterr()
    rows = [line.split()[:4] for line in output.splitlines()]
    assert rows == [
        ["split", "samples", "card", "unreadable"],
        ["train", "2", "162,770", "0"],
        ["validation", "3", "19,867", "0"],
        ["test", "2", "19,962", "0"],
    ]
    assert errors.splitlines()[-1] == (
        "error: celeba is not what its card says: 'train' has 2 samples and not 162,770, "
        "'validation' has 3 samples and not 19,867, 'test' has 2 samples and not 19,962"
    )
