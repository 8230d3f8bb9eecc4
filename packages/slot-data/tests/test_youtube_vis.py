"""YouTube-VIS: the layouts, the videos held out, and the objects of every frame."""

# pyright: reportTypedDictNotRequiredAccess=false

import json

import numpy as np
import pytest
import torch
from movi_files import save
from PIL import Image
from test_coco import box, run_lengths

from slot_data import DataError, collate, index_cache, load_dataset_by_name

SIZE = (24, 32)
NATIVE = {"fit": "file", "relabel": False}
LENGTHS = {"b0": 6, "a1": 3, "c2": 4, "d3": 5}  # in the order of the file, not of the names


def square(top, left, size=8):
    inside = np.zeros(SIZE, dtype=bool)
    inside[top : top + size, left : left + size] = True
    return inside


def compressed(counts):
    """COCO's text of run lengths, by a loop."""
    text = ""
    for place, count in enumerate(counts):
        value = count - (counts[place - 2] if place > 2 else 0)
        more = True
        while more:
            unit, value = value & 31, value >> 5
            more = value != (-1 if unit & 16 else 0)
            text += chr((unit | 32 * more) + 48)
    return text


def tracks(length):
    """inside [T H W] of each object: one that moves, one that crosses it and is hidden at first,
    and a crowd."""
    moving = np.stack([square(2, 2 + time) for time in range(length)])
    crossing = np.stack([square(6, 6) if time else square(0, 0, 0) for time in range(length)])
    crowd = np.stack([square(12, 20) for _ in range(length)])
    return {40: moving, 7: crossing, 12: crowd}


def segmentations(kind, inside):
    regions = [run_lengths(frame) if frame.any() else None for frame in inside]
    if kind == 7:
        for region in filter(None, regions):
            region["counts"] = compressed(region["counts"])
    return regions


def write(root, part="train", place="{}/instances.json", annotated=True, lengths=None):
    videos, annotations = [], []
    for number, (name, length) in enumerate((lengths or LENGTHS).items()):
        files = [f"{name}/{5 * time:05d}.jpg" for time in range(length)]
        for time, file in enumerate(files):
            save(picture(number, time), root / part / "JPEGImages" / file)
        height, width = SIZE
        video = {"id": 10 + number, "file_names": files, "length": length}
        videos.append({**video, "height": height, "width": width})
        for kind, inside in tracks(length).items():
            annotations.append(
                {
                    "id": len(annotations),
                    "video_id": 10 + number,
                    "category_id": kind,
                    "iscrowd": int(kind == 12),
                    "segmentations": segmentations(kind, inside),
                    "bboxes": [None] * length,
                }
            )
    content = {
        "videos": videos,
        "annotations": annotations[::-1] if annotated else None,
        "categories": [{"id": kind, "name": str(kind)} for kind in (40, 7, 12, 1)],
    }
    path = root / place.format(part)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def picture(number, time):
    return np.random.default_rng(100 * number + time).integers(256, size=(*SIZE, 3), dtype=np.uint8)


def load(root, split="all", **options):
    return load_dataset_by_name("youtube_vis", split=split, root=root, **{**NATIVE, **options})


def names_of(dataset):
    return [sample["id"] for sample in dataset]


@pytest.mark.parametrize(
    ("part", "place"),
    [
        ("train", "{}/instances.json"),
        ("train", "{}.json"),
        ("train", "annotations/instances_{}_sub.json"),
        ("train", "instances_{}_sub.json"),
        ("train", "instances.json"),
    ],
)
def test_layouts_and_the_order_of_the_file(tmp_path, part, place):
    write(tmp_path, part, place)
    assert names_of(load(tmp_path)) == ["b0/0", "a1/0", "c2/0", "d3/0"]


def test_an_annotation_file_elsewhere(tmp_path):
    path = write(tmp_path, place="elsewhere.json")
    with pytest.raises(
        DataError, match=r"youtube_vis holds none of train/instances.json, train.js"
    ):
        load(tmp_path)
    assert len(load(tmp_path, annotations=path)) == 4


@pytest.mark.parametrize("kept_from", [0, 2**24])
def test_labels_are_of_the_whole_video(tmp_path, monkeypatch, kept_from):
    """Numbered in the order of the file, which lists the crowd first; hidden at first is still an
    object."""
    monkeypatch.setattr(index_cache, "KEPT_FROM", kept_from)
    monkeypatch.setenv("SLOT_DATA_CACHE", str(tmp_path / "kept"))
    write(tmp_path)
    for _ in range(2):
        sample = load(tmp_path)[0]
        inside = tracks(6)
        expected = np.where(inside[40], 3, np.where(inside[7], 2, 0))
        assert np.array_equal(sample["labels"].numpy(), expected)
        kinds = np.where(inside[40], 4, np.where(inside[7], 2, 0))
        assert np.array_equal(sample["class_labels"].numpy(), kinds)
        assert np.array_equal(sample["overlap"].numpy(), inside[40] & inside[7])
        assert set(sample) == {"video", "id", "labels", "class_labels", "overlap"}
    assert (tmp_path / "kept").exists() == (kept_from == 0)
    assert sample["labels"][0].unique().tolist() == [0, 3]
    assert load(tmp_path, relabel=True)[0]["labels"].unique().tolist() == [0, 1, 2]


def test_policies(tmp_path):
    write(tmp_path)
    inside = tracks(6)
    first = load(tmp_path, overlap="first")[0]["labels"].numpy()
    assert np.array_equal(first, np.where(inside[7], 2, np.where(inside[40], 3, 0)))
    highest = load(tmp_path, overlap="highest_class")[0]["class_labels"].numpy()
    assert np.array_equal(highest, np.where(inside[40], 4, np.where(inside[7], 2, 0)))
    void = load(tmp_path, crowd="void")[0]["void"].numpy()
    assert np.array_equal(void, inside[12] & ~inside[40] & ~inside[7])
    kept = load(tmp_path, crowd="object")[0]["labels"].numpy()
    assert (kept == 1).sum() == (inside[12] & ~inside[40] & ~inside[7]).sum()


def test_polygons_become_what_coco_makes_of_them(tmp_path):
    path = write(tmp_path)
    content = json.loads(path.read_text())
    content["annotations"][-1]["segmentations"] = [box(2, 4, 10, 6)] + [None] * 5
    path.write_text(json.dumps(content))
    labels = load(tmp_path)[0]["labels"].numpy()
    expected = np.zeros(SIZE, dtype=bool)
    expected[4:10, 2:12] = True
    assert np.array_equal(labels[0] == 3, expected)
    assert not (labels[1:] == 3).any()


def test_the_last_videos_are_held_out(tmp_path):
    write(tmp_path)
    assert names_of(load(tmp_path, "train", held_out=1)) == ["b0/0", "a1/0", "c2/0"]
    assert names_of(load(tmp_path, "validation", held_out=3)) == ["a1/0", "c2/0", "d3/0"]
    with pytest.raises(DataError, match=r"held_out is 300; expected 1 to 3, for some of the 4 vid"):
        load(tmp_path, "train")


def test_the_published_division(tmp_path):
    lengths = {f"v{number:03d}": 1 for number in range(302)}
    write(tmp_path, lengths=lengths)
    parts = {split: names_of(load(tmp_path, split)) for split in ("train", "validation", "all")}
    assert parts["train"] == ["v000/0", "v001/0"], "300 are for validation"
    assert parts["train"] + parts["validation"] == parts["all"]
    write(tmp_path, "valid", annotated=False)
    assert len(load(tmp_path, "train", validation="published")) == 302
    published = load(tmp_path, "validation", validation="published")
    assert len(published) == 4
    assert set(published[0]) == {"video", "id"}
    write(tmp_path, "test", place="{}.json", annotated=False)
    assert "labels" not in load(tmp_path, "test")[3]


def test_clips(tmp_path):
    write(tmp_path)
    whole = load(tmp_path)
    assert [len(sample["video"]) for sample in whole] == list(LENGTHS.values())
    clips = load(tmp_path, num_frames=2, stride=2, clips="every")
    expected = [(number, start) for number, n in enumerate((6, 3, 4, 5)) for start in range(n - 2)]
    assert len(clips) == len(expected)
    for place, (number, start) in enumerate(expected):
        sample = clips[place]
        assert sample["id"] == f"{list(LENGTHS)[number]}/{start}"
        assert torch.equal(sample["labels"], whole[number]["labels"][start : start + 3 : 2])
        assert torch.equal(sample["video"], whole[number]["video"][start : start + 3 : 2])
    with pytest.raises(DataError, match=r"video .*a1 has 3 frames; a clip of 4 frames 1 apart"):
        load(tmp_path, num_frames=4)
    dropped = load(tmp_path, num_frames=4, short="drop", fit="resize_first", image_size=16)
    assert names_of(dropped) == ["b0/0", "c2/0", "d3/0"]
    assert collate([dropped[place] for place in range(3)])["overlap"].shape == (3, 4, 16, 16)
    with pytest.raises(DataError, match="split 'all' of youtube_vis holds no video"):
        load(tmp_path, num_frames=9, short="drop")


def test_frames_are_those_of_the_files(tmp_path):
    write(tmp_path)
    video = load(tmp_path, masks=False)[1]
    assert set(video) == {"video", "id"}
    for time, frame in enumerate(video["video"]):
        file = tmp_path / f"train/JPEGImages/a1/{5 * time:05d}.jpg"
        assert np.array_equal(frame.permute(1, 2, 0).numpy(), np.asarray(Image.open(file)))


def changed(change):
    def damage(root):
        path = root / "train/instances.json"
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return damage


def region(**values):
    """Of the last annotation in the file, the first of video b0, category 40."""
    return changed(lambda c: c["annotations"][-1]["segmentations"][1].update(values))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (
            lambda root: (root / "train/JPEGImages/a1/00005.jpg").unlink(),
            r"1 of the 3 frames of video .*a1 that .* lists are missing; a1/00005.jpg is the first",
        ),
        (
            changed(lambda c: c.pop("videos")),
            r"holds no list 'videos' of entries: expected the ann",
        ),
        (changed(lambda c: c["videos"][0].pop("height")), r"video 0 of .*json has no 'height'"),
        (changed(lambda c: c["videos"][0].update(width="w")), r"width 'w'; expected an integer"),
        (changed(lambda c: c["videos"][2].update(file_names=[])), r"video 2 of .* has no frames"),
        (changed(lambda c: c["videos"][2].update(file_names=[5])), r"file_names that are not all"),
        (
            changed(lambda c: c["annotations"][-1]["segmentations"].pop()),
            r"annotation 0 of .* has 5 segmentations; expected 6, one per frame",
        ),
        (
            changed(lambda c: c["annotations"][-1].pop("segmentations")),
            r"annotation 0 of .* has no segmentations; expected 6",
        ),
        (
            changed(lambda c: c["annotations"][-1].update(video_id=99)),
            r"annotation 0 of .* belongs to video 99, which the file does not list",
        ),
        (
            changed(lambda c: c["annotations"][-1].update(category_id=2)),
            r"annotation 0 of .* has category 2, which the file does not list",
        ),
        (region(size=[32, 24]), r"annotation 0 of .*, frame 1: is of size \[32, 24\]; expected \["),
        (region(counts=[1, -1]), r"annotation 0 of .*, frame 1: has run lengths that are no numbe"),
        (region(counts=["x"]), r"annotation 0 of .*, frame 1: invalid literal"),
        (region(counts="!"), r"annotation 0 of .*, frame 1: character '!' is none of compressed"),
        (region(counts=[0, 2000]), r"annotation 0 of .*: run lengths sum up to 2000"),
        (
            changed(lambda c: c["annotations"][-1]["segmentations"].__setitem__(1, 3)),
            r"annotation 0 of .*, frame 1: is neither null nor run lengths nor polygons",
        ),
        (
            lambda root: save(
                np.zeros((9, 9, 3), np.uint8), root / "train/JPEGImages/b0/00000.jpg"
            ),
            r"frame .*00005.jpg is 32x24 pixels .*, but .*00000.jpg of the same video is 9x9",
        ),
        (
            changed(lambda c: c["videos"][0].update(height=25)),
            r"annotation 2 of .*, frame 0: is of size \[24, 32\]; expected \[25, 32\], as its v",
        ),
    ],
)
def test_faults_are_named(tmp_path, damage, words):
    write(tmp_path)
    damage(tmp_path)
    with pytest.raises(DataError, match=words):
        load(tmp_path)[0]


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match="split 'val' of youtube_vis is not one of train, validat"):
        load(tmp_path, "val")
    write(tmp_path, lengths={"v": 1})
    with pytest.raises(IndexError):
        load(tmp_path)[1]
    other = [np.zeros((9, 9, 3), np.uint8)]
    save(other[0], tmp_path / "train/JPEGImages/v/00000.jpg")
    with pytest.raises(
        DataError, match=r"00000.jpg is 9x9 pixels .*, but .*instances.json says 32x"
    ):
        load(tmp_path)[0]
