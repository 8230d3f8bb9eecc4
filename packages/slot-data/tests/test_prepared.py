"""Prepared folders: for the same id the same sample as from the raw files, whatever the dataset,
the encoding, the clips and the preset; and what cannot be had of one."""

# pyright: reportTypedDictNotRequiredAccess=false
# (the samples asked for labels here have them)
import os
from pathlib import Path
from typing import Any, cast

import movi_files
import numpy as np
import pytest
import torch
from PIL import Image
from scenes import assert_all_same, assert_same, prepared, write_scene

from slot_data import DataError, catalog, load_dataset_by_name
from slot_data.description import describe_data
from slot_data.encodings import Encoding
from slot_data.image_files import noting_pictures
from slot_data.prepared import Prepared
from slot_data.prepared_stream import PreparedStream
from slot_data.sample import Configured
from slot_data.shards import read_rows


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    root = tmp_path_factory.mktemp("scenes") / "with blanks and ü"
    for number in range(4):
        write_scene(root, number, objects=2 + number)
    return root


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """MOVi-D as SlotDiffusion extracts it: two videos of 9 and 7 frames."""
    root = tmp_path_factory.mktemp("videos")
    for number, length in enumerate((9, 7)):
        bits = np.random.default_rng(number)
        labels = bits.integers(5, size=(length, 16, 16), dtype=np.uint8)
        frames = bits.integers(256, size=(length, 16, 16, 3), dtype=np.uint8)
        folder = root / f"MOVi-D/train/{number:08d}"
        movi_files.write_numbered(folder, frames, labels)
    return root


def both(name, root, out, split, **options):
    return [load_dataset_by_name(name, split=split, root=r, **options) for r in (root, out)]


def test_pictures_are_kept_as_their_files_hold_them(scenes, tmp_path):
    manifest = prepared("clevrtex", scenes, tmp_path / "out", ("test",))
    assert manifest.splits["test"].objects == {2: 1, 3: 1, 4: 1, 5: 1}
    for root, slots in ((tmp_path / "out", 6), (scenes, 11)):
        dataset = load_dataset_by_name("clevrtex", split="test", root=root)
        assert catalog.suggested_slots("clevrtex", dataset) == slots
    options: dict[str, Any]
    for options in ({}, {"preset": "slotdiffusion"}, {"relabel": False, "fit": "file"}):
        raw, again = both("clevrtex", scenes, tmp_path / "out", "test", **options)
        assert isinstance(again, Prepared)
        assert_all_same(raw, again)
    assert_all_same(*both("clevrtex", scenes, tmp_path / "out", "test", masks=False))
    (row, *_) = read_rows(tmp_path / "out/data/test-00000.parquet")
    stem = scenes / "clevrtex_full/0/CLEVRTEX_full_000000.png"
    assert row["video"][0]["bytes"] == stem.read_bytes()


@pytest.mark.parametrize(("pictures", "masks"), [("webp", "raw"), ("png", "webp"), ("raw", "png")])
def test_no_other_encoding_loses_anything_either(scenes, tmp_path, pictures, masks):
    out = tmp_path / "out"
    prepared("clevrtex", scenes, out, ("test",), encoding=Encoding(pictures, masks))
    assert_all_same(*both("clevrtex", scenes, out, "test", relabel=False))


def test_jpeg_loses_little_and_no_label(scenes, tmp_path):
    prepared("clevrtex", scenes, tmp_path / "out", ("test",), encoding=Encoding("jpeg"))
    for one, other in zip(*both("clevrtex", scenes, tmp_path / "out", "test"), strict=True):
        assert torch.equal(one["labels"], other["labels"])
        away = (one["video"].int() - other["video"].int()).abs().float()
        assert 0 < away.mean() < 8


@pytest.mark.parametrize("cache", [False, True])
def test_a_size_that_is_given_is_carried_out_before_writing(scenes, tmp_path, cache):
    out, options = tmp_path / "out", {"image_size": 32, "label_resize": "nearest"}
    manifest = prepared("clevrtex", scenes, out, ("test",), options=options, cache=cache)
    assert len(manifest.splits["test"].cache) == 2 * cache
    raw = load_dataset_by_name("clevrtex", split="test", root=scenes, **options)
    asked: dict[str, Any]
    for asked in ({}, options):
        assert_same(raw[1], load_dataset_by_name("clevrtex", split="test", root=out, **asked)[1])
    bare = load_dataset_by_name("clevrtex", split="test", root=out, masks=False)
    assert_same({key: raw[1][key] for key in ("video", "id")}, bare[1])
    with pytest.raises(DataError, match="was prepared with image_size 32, not 64"):
        load_dataset_by_name("clevrtex", split="test", root=out, image_size=64)
    with pytest.raises(DataError, match="was prepared with relabel True, not False"):
        load_dataset_by_name("clevrtex", split="test", root=out, relabel=False)


@pytest.mark.parametrize(
    ("plan", "asked", "stated"),
    [
        ({"options": {"image_size": 32, "fit": "stretch"}}, {}, {"image_size": 32, "masks": True}),
        ({"options": {"max_objects": 4}}, {"image_size": 8}, {"max_objects": 4, "image_size": 8}),
        ({"options": {"masks": False}}, {}, {"masks": False, "fit": "crop_first"}),
        ({"options": {"image_size": 32}}, {"masks": False}, {"masks": False, "image_size": 32}),
        ({"preset": "slotdiffusion"}, {}, {"antialias": False, "interpolation": "bilinear"}),
    ],
)
def test_settings_are_those_of_the_preparation_where_it_decided(
    scenes, tmp_path, plan, asked, stated
):
    prepared("clevrtex", scenes, tmp_path, ("test",), **plan)
    dataset = load_dataset_by_name("clevrtex", split="test", root=tmp_path, **asked)
    settings = cast(Configured, dataset).settings
    options = {**plan.get("options", {}), **stated}
    assert {key: settings[key] for key in options} == options
    described = describe_data("clevrtex", split="test", root=tmp_path, **asked)
    assert described["options"] == {
        key: settings[key] for key in settings if key not in ("name", "split", "preset", "root")
    }
    with pytest.raises(DataError, match=r"split 'train' is not in .*; prepared are test"):
        describe_data("clevrtex", split="train", root=tmp_path)


@pytest.mark.parametrize("cache", [False, True])
@pytest.mark.parametrize("framed", [False, True])
def test_clips_of_any_length_and_stride_are_those_of_the_raw_videos(
    videos, tmp_path, cache, framed
):
    size = {"image_size": 8 if framed else 16}
    manifest = prepared(
        "movi_d", videos, tmp_path, ("train",), options=size if framed else {}, cache=cache
    )
    assert (manifest.splits["train"].rows, manifest.splits["train"].frames) == (2, 16)
    for options in (
        {"num_frames": 7},
        {"num_frames": 3, "stride": 2, "clips": "every"},
        {"num_frames": 2, "stride": 3, "clips": "apart", "relabel": False},
        {"num_frames": 3, "clips": "every", "masks": False},
    ):
        assert_all_same(*both("movi_d", videos, tmp_path, "train", **size, **options))


def test_a_clip_decodes_no_other_frames(videos, tmp_path):
    prepared("movi_d", videos, tmp_path, ("train",))
    clips = load_dataset_by_name(
        "movi_d", split="train", root=tmp_path, num_frames=2, stride=3, clips="every", masks=False
    )
    with noting_pictures() as decoded:
        assert clips[1]["id"] == "00000000/1"
    assert len(decoded) == 2


def test_depth_flow_and_the_bytes_of_records_are_kept(tmp_path):
    bits = np.random.default_rng(0)
    labels = bits.integers(5, size=(3, 8, 8), dtype=np.uint8)
    record = movi_files.movi_example(
        bits.integers(256, size=(3, 8, 8, 3), dtype=np.uint8),
        labels,
        flow=bits.integers(65536, size=(3, 8, 8, 2)),
        depth=bits.integers(65536, size=(3, 8, 8), dtype=np.uint16),
    )
    folder = tmp_path / "raw/movi_e/128x128/1.0.0"
    movi_files.write_shards(folder, "movi_e", "train", [[record], [record]])
    motion = {"flow": "backward", "depth": True}
    prepared("movi_e", tmp_path / "raw", tmp_path / "out", ("train",), options=motion)
    clips = {"num_frames": 2, "clips": "every", "image_size": 4}
    assert_all_same(*both("movi_e", tmp_path / "raw", tmp_path / "out", "train", **clips, **motion))
    relieved = both(
        "movi_e", tmp_path / "raw", tmp_path / "out", "train", flow=None, depth=False, num_frames=3
    )
    assert_all_same(*relieved)
    with pytest.raises(DataError, match="was prepared with flow 'backward', not 'forward'"):
        load_dataset_by_name("movi_e", split="train", root=tmp_path / "out", flow="forward")


def test_scenario_and_outcome_are_kept(tmp_path, write_video, moving_noise):
    codec = ("libx264rgb", "rgb24", {"qp": "0"})
    for scenario in ("Collide", "Roll"):
        place = tmp_path / f"raw/PhysionTestMP4s/{scenario}/mp4s-redyellow/a-redyellow_0000_img.mp4"
        write_video(place, moving_noise(8), codec, key_every=100)
    (tmp_path / "raw/PhysionTestMP4s/labels.csv").write_text(",target\na_0000_img,True\n")
    options = {"max_frames": 8}
    prepared("physion", tmp_path / "raw", tmp_path / "out", ("test",), options=options)
    clips = {"num_frames": 3, "stride": 2, "clips": "every", **options}
    raw, again = both("physion", tmp_path / "raw", tmp_path / "out", "test", **clips)
    assert_all_same(raw, again)
    assert {sample["scenario"] for sample in again} == {"Collide", "Roll"}
    assert again[0]["outcome"] is True
    assert_all_same(
        *both("physion", tmp_path / "raw", tmp_path / "out", "test", outcomes=False, **options)
    )


def test_your_own_files_too(tmp_path, write_video, moving_noise):
    own = tmp_path / "own"
    for number in range(3):
        movi_files.save(moving_noise(1, seed=number)[0], own / f"images/v/{number}.png")
        movi_files.save(np.full((32, 48), number, np.uint8), own / f"masks/v/{number}.png")
    options = {"split": "all", "image_size": 16}
    prepared("folder", own, tmp_path / "pictures", ("all",))
    assert_all_same(*both("folder", own, tmp_path / "pictures", **options))
    prepared("folder", own, tmp_path / "frames", ("all",), options={"num_frames": 2})
    clips = {"num_frames": 2, "clips": "every", **options}
    assert_all_same(*both("folder", own, tmp_path / "frames", **clips))

    films = tmp_path / "films"
    write_video(films / "videos/a.mkv", moving_noise(5))
    write_video(films / "videos/b.mkv", moving_noise(3))
    prepared("folder", films, tmp_path / "films out", ("all",))
    for clips in ({"num_frames": 1}, {"num_frames": 3, "clips": "every"}):
        assert_all_same(*both("folder", films, tmp_path / "films out", **clips, **options))


def write_frames(root):
    """Two videos of three pictures each."""
    for number, name in enumerate("ab"):
        frames = np.random.default_rng(number).integers(256, size=(3, 8, 8, 3), dtype=np.uint8)
        for time, frame in enumerate(frames):
            movi_files.save(frame, root / f"images/{name}/{time}.png")


@pytest.mark.parametrize(
    ("given", "asked", "sentence"),
    [
        (3, 1, r"was prepared with num_frames above 1, each folder of pictures a video, and not f"),
        (1, 2, r"was prepared with num_frames 1, each picture a sample, and not for num_frames 2;"),
    ],
)
def test_pictures_are_not_taken_for_videos_nor_videos_for_pictures(
    tmp_path, given, asked, sentence
):
    own, out = tmp_path / "own", tmp_path / "out"
    write_frames(own)
    prepared("folder", own, out, ("all",), options={"num_frames": given})
    assert_all_same(*both("folder", own, out, "all", num_frames=given))
    with pytest.raises(DataError, match=f"split 'all' of .* {sentence}"):
        load_dataset_by_name("folder", split="all", root=out, num_frames=asked)
    with pytest.raises(DataError, match=f"split 'all' of .* {sentence}"):
        PreparedStream(str(out), split="all", num_frames=asked)


def test_as_many_frames_as_wanted_are_asked_of_prepared_videos(tmp_path, write_video, moving_noise):
    own, films = tmp_path / "own", tmp_path / "films"
    write_frames(own)
    prepared("folder", own, tmp_path / "own out", ("all",), options={"num_frames": 2})
    assert_all_same(*both("folder", own, tmp_path / "own out", "all", num_frames=3))
    write_video(films / "videos/a.mkv", moving_noise(4))
    prepared("folder", films, tmp_path / "films out", ("all",), options={"num_frames": 3})
    for frames in (1, 2):
        assert_all_same(*both("folder", films, tmp_path / "films out", "all", num_frames=frames))


def test_large_numbers_of_objects_survive(tmp_path):
    movi_files.save(np.zeros((4, 4, 3), np.uint8), tmp_path / "raw/images/a.png")
    ids = np.array([[0, 300], [65535, 7]], np.uint16).repeat(2, 0).repeat(2, 1)
    movi_files.save(ids, tmp_path / "raw/masks/a.png")
    for masks in ("png", "webp", "raw"):
        out = tmp_path / f"out {masks}"
        prepared("folder", tmp_path / "raw", out, ("all",), encoding=Encoding(masks=masks))
        shown = {"split": "all", "relabel": False, "fit": "file"}
        raw, again = both("folder", tmp_path / "raw", out, **shown)
        assert raw[0]["labels"].max() == 65535
        assert_same(raw[0], again[0])


def test_splits_may_differ_in_what_they_have(videos, tmp_path):
    labels = np.zeros((2, 8, 8), np.uint8)
    frames = np.zeros((2, 8, 8, 3), np.uint8)
    movi_files.write_numbered(tmp_path / "raw/MOVi-D/train/00000000", frames)
    movi_files.write_numbered(tmp_path / "raw/MOVi-D/test/00000000", frames, labels)
    prepared("movi_d", tmp_path / "raw", tmp_path / "out", ("train", "test"))
    for split in ("train", "test"):
        assert_all_same(*both("movi_d", tmp_path / "raw", tmp_path / "out", split, num_frames=2))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"name": "celeba"}, "is prepared from clevrtex, not from celeba"),
        ({"split": "train"}, "split 'train' is not in .*; prepared are test"),
        ({"max_objects": 6}, "was prepared with max_objects None, not 6; ask for that, or prepare"),
        ({"variant": "camo"}, "was prepared with variant 'full', not 'camo'"),
        ({"colour": 1}, "dataset 'clevrtex' has no option 'colour'"),
        ({"masks": "no"}, "option masks of dataset 'clevrtex' is 'no'; expected true or false"),
    ],
)
def test_what_a_folder_does_not_hold_is_an_error(scenes, tmp_path, options, sentence):
    prepared("clevrtex", scenes, tmp_path, ("test",))
    with pytest.raises(DataError, match=sentence):
        load_dataset_by_name(**{"name": "clevrtex", "split": "test", "root": tmp_path, **options})


def test_a_damaged_folder_is_named(scenes, tmp_path):
    prepared("clevrtex", scenes, tmp_path, ("test",), cache=True, options={"image_size": 16})
    load = {"name": "clevrtex", "split": "test", "root": tmp_path}
    labels = tmp_path / "cache/test-labels.npy"
    whole = labels.read_bytes()
    labels.write_bytes(whole[:200])
    with pytest.raises(DataError, match=r"cache .*test-labels.npy cannot be read"):
        load_dataset_by_name(**load)
    labels.unlink()
    with pytest.raises(DataError, match=r"cache .*test-labels.npy cannot be read"):
        load_dataset_by_name(**load)
    shard = tmp_path / "data/test-00000.parquet"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"test-00000.parquet has [\d,]+ bytes; expected [\d,]+"):
        load_dataset_by_name(**load)
    shard.unlink()
    with pytest.raises(DataError, match=r"lacks data/test-00000.parquet, which belongs to"):
        load_dataset_by_name(**load)
    manifest = tmp_path / "prepared.json"
    manifest.write_text(manifest.read_text().replace('"videos": false', '"videos": true'))
    with pytest.raises(DataError, match=r"prepared.json is damaged"):
        load_dataset_by_name(**load)


def test_a_cache_needs_one_size(tmp_path):
    for name, side in (("a", 8), ("b", 9)):
        Image.new("RGB", (side, side)).save(tmp_path / f"{name}.png")
    (tmp_path / "raw/images").mkdir(parents=True)
    for name in "ab":
        (tmp_path / f"{name}.png").rename(tmp_path / f"raw/images/{name}.png")
    with pytest.raises(DataError, match=r"video of images/b.png are uint8 \[3, 9, 9\], but .*size"):
        prepared("folder", tmp_path / "raw", tmp_path / "out", ("all",), cache=True)


SAMPLES = {
    "clevrtex": ("clevrtex", ("test",), {}),
    "coco": ("coco", ("train", "validation"), {"crowd": "void"}),
    "voc": ("voc", ("train", "validation"), {}),
    "movi_c": ("movi_folder_slotdiffusion", ("train",), {}),
    "movi_d": ("movi_tfds", ("validation",), {"flow": "forward", "depth": True}),
    "movi_e": ("movi_folder_steve", ("validation",), {"layout": "spot"}),
    "movi_solid": ("movi_solid_tex", ("test",), {}),
    "clevr": ("multi_object_datasets", ("all",), {}),
    "multi_dsprites": ("multi_object_datasets", ("all",), {"variant": "colored_on_colored"}),
    "objects_room": ("multi_object_datasets", ("all",), {}),
    "tetrominoes": ("multi_object_datasets", ("all",), {}),
    "physion": ("physion/Physion", ("train", "test"), {"max_frames": 20}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLES)
def test_the_samples_of_real_datasets_survive(name, tmp_path):
    """Every dataset whose files are among the reference data, raw against prepared."""
    reference = os.environ.get("SLOT_REFERENCE_DATA")
    if not reference:
        pytest.skip("SLOT_REFERENCE_DATA names no folder of reference data")
    place, splits, options = SAMPLES[name]
    root = Path(reference) / "samples" / place
    prepared(name, root, tmp_path, splits, options=options)
    clips = {"num_frames": 3, "clips": "apart"} if "movi" in name else {}
    for split in splits:
        assert_all_same(*both(name, root, tmp_path, split, **options, **clips))
