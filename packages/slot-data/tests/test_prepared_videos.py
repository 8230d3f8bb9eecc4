"""DAVIS and YouTube-VIS prepared: for the same clip the same frames, labels, classes, void and
overlaps as from their files, whatever the length of the videos."""

from typing import Any

import numpy as np
import pytest
import test_davis
import test_youtube_vis
from scenes import assert_all_same, prepared

from slot_data import AugmentedDataset, DataError, load_dataset_by_name
from slot_data.clips import RandomClip

CLIPS: tuple[dict[str, Any], ...] = (
    {},  # whole videos, which differ in length
    {"num_frames": 2, "clips": "every"},
    {"num_frames": 2, "stride": 2, "clips": "apart", "short": "drop", "image_size": 16},
    {"num_frames": 1, "clips": "every", "fit": "file", "relabel": False},
)


def both(name, root, out, split, **options):
    return [load_dataset_by_name(name, split=split, root=r, **options) for r in (root, out)]


def one_object(name, time):
    """As DAVIS 2016 stores it."""
    return np.where(test_davis.ids_of(name, time) == 1, 255, 0).astype(np.uint8)


@pytest.mark.parametrize("options", [{}, {"void": "background"}, {"year": "2016"}])
def test_davis_as_from_its_files(tmp_path, options):
    root, out = tmp_path / "raw", tmp_path / "out"
    if "year" in options:
        test_davis.write(root, lists="2016", mask=one_object, mode="L")
    else:
        test_davis.write(root)
    manifest = prepared("davis", root, out, ("train", "validation"), options=options)
    assert [split.frames for split in manifest.splits.values()] == [5, 4]
    for split in ("train", "validation"):
        for clips in CLIPS:
            assert_all_same(*both("davis", root, out, split, **options, **clips))
    raw, again = both("davis", root, out, "train", **options, masks=False)
    assert "labels" not in again[0]
    assert_all_same(raw, again)
    for whole, told in ((raw, "dog"), (again, "'dog/0' of .*out")):
        assert len(AugmentedDataset(whole, [RandomClip(2)], seed=0)) == len(raw)
        with pytest.raises(DataError, match=rf"^random_clip: video .*{told} has 2 frames; a cl"):
            AugmentedDataset(whole, [RandomClip(3)], seed=0)
    clips = both("davis", root, out, "train", **options, num_frames=2)
    for clip in clips:
        with pytest.raises(DataError, match="random_clip: every sample has 2 frames; a clip of 3"):
            AugmentedDataset(clip, [RandomClip(3)], seed=0)
        AugmentedDataset(clip, [RandomClip(2), RandomClip(1)], seed=0)
    with pytest.raises(
        DataError, match=r"video '.*/0' of .*out has 2 frames; a clip of 3 frames 1 apart needs 3"
    ):
        load_dataset_by_name("davis", split="train", root=out, num_frames=3, **options)


@pytest.mark.parametrize(
    "options", [{}, {"crowd": "void", "overlap": "first"}, {"crowd": "object"}]
)
def test_youtube_vis_as_from_its_files(tmp_path, options):
    root, out = tmp_path / "raw", tmp_path / "out"
    test_youtube_vis.write(root)
    given = {"held_out": 1, **options}
    prepared("youtube_vis", root, out, ("train", "validation"), options=given)
    for split, count in (("train", 3), ("validation", 1)):
        for clips in CLIPS:
            raw, again = both("youtube_vis", root, out, split, **given, **clips)
            assert_all_same(raw, again)
            assert clips or len(raw) == count
    with pytest.raises(DataError, match="was prepared with held_out 1, not 2"):
        load_dataset_by_name("youtube_vis", split="train", root=out, **{**given, "held_out": 2})


def damage(root, pattern, how):
    """Damages one file of a dataset and returns it."""
    path = sorted(root.glob(pattern))[0]
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:40])
    return path


@pytest.mark.parametrize("how", ["missing", "cut off"])
@pytest.mark.parametrize(
    ("name", "pattern", "kept"),
    [
        ("davis", "JPEGImages/480p/bear/00001.jpg", ["dog/0"]),
        ("davis", "Annotations/480p/bear/00001.png", ["dog/0"]),
        ("youtube_vis", "train/JPEGImages/a1/00005.jpg", ["b0/0", "c2/0"]),
    ],
)
def test_videos_with_broken_files_are_named_or_left_out(tmp_path, name, pattern, how, kept):
    root, out = tmp_path / "raw", tmp_path / "out"
    write = test_davis.write if name == "davis" else test_youtube_vis.write
    write(root)
    options: dict[str, Any] = {} if name == "davis" else {"held_out": 1}
    path = damage(root, pattern, how)
    with pytest.raises(DataError, match=path.name):
        prepared(name, root, tmp_path / "strict", ("train",), options=options)
    manifest = prepared(name, root, out, ("train",), options=options, skip_broken=True)
    ((said, fault),) = [
        pair for shard in manifest.splits["train"].shards for pair in shard.left_out
    ]
    assert path.name in fault or path.name in said
    again = load_dataset_by_name(name, split="train", root=out, **options)
    assert [sample["id"] for sample in again] == kept
