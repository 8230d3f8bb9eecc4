"""MOVi in each layout: what the files hold, which clips are samples, and what is wrong with a copy
of which something is missing."""

# pyright: reportTypedDictNotRequiredAccess=false
# (the copies made here have labels, flow and depth)

import os
from io import BytesIO
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch
from movi_files import (
    example,
    features_of,
    fields_of,
    movi_example,
    png,
    records_in,
    save,
    varint_at,
    write_numbered,
    write_per_object,
    write_shards,
)
from PIL import Image

from slot_data import DataError, Shapes, catalog, collate, load_dataset_by_name
from slot_data.movi import MoviA, MoviC, MoviD, MoviE, MoviSolid, MoviTex

LENGTH = 5
RAW = {"image_size": 32, "relabel": False, "num_frames": LENGTH}


def scene(index, length=LENGTH):
    """uint8 [T H W 3] and [T H W] of a little video with up to 6 objects, some hidden at times;
    object 2 is missing throughout, so numbers have a gap."""
    sample = Shapes(num_frames=length, image_size=32, speed=4)[index]
    labels = sample["labels"].clone()
    labels[labels == 2] = 0
    return sample["video"].permute(0, 2, 3, 1).numpy(), labels.numpy()


def pixels_of(sample):
    return sample["video"].permute(0, 2, 3, 1).numpy()


def slotdiffusion(root, split="train", videos=2, level="D"):
    for index in range(videos):
        write_numbered(root / f"MOVi-{level}" / split / f"{index:08d}", *scene(index))


def spot(root, split="validation", masks=7):
    for index in range(2):
        write_per_object(root / "MOVi/d" / split / f"{index:08d}", *scene(index), masks)


def steve(root, videos, masks=0):
    for index in range(videos):
        write_per_object(root / f"{index:08d}", *scene(index), masks)


def solid(root, split="test", masks=6, folder="MOVi-Solid"):
    for name in ("10", "9"):
        place = root / folder / split / name
        write_per_object(place, *scene(int(name)), masks, first=1)


def kubric(root, split="train", per_file=(2, 1), size="128x128", name="movi_d", **maps):
    records = [movi_example(*scene(index), **maps) for index in range(sum(per_file))]
    files = [[records.pop(0) for _ in range(count)] for count in per_file]
    write_shards(root / name / size / "1.0.0", name, split, files)


def test_slotdiffusions_folders(tmp_path):
    slotdiffusion(tmp_path)
    dataset = MoviD("train", tmp_path, **RAW)
    assert dataset.layout == "slotdiffusion"
    assert len(dataset) == 2
    for index in range(2):
        sample = dataset[index]
        folder = tmp_path / f"MOVi-D/train/{index:08d}"
        frames = [np.asarray(Image.open(folder / f"{time:06d}.jpg")) for time in range(LENGTH)]
        assert sample["id"] == f"{index:08d}/0"
        assert sample["video"].dtype == sample["labels"].dtype == torch.uint8
        assert np.array_equal(pixels_of(sample), np.stack(frames))
        assert np.array_equal(sample["labels"].numpy(), scene(index)[1])


def test_spots_folders(tmp_path):
    """White where the object is, the first mask for the background; no masks for training."""
    spot(tmp_path)
    spot(tmp_path, "train", masks=0)
    for index in range(2):
        sample = MoviD("validation", tmp_path, **RAW)[index]
        assert np.array_equal(pixels_of(sample), scene(index)[0])
        assert np.array_equal(sample["labels"].numpy(), scene(index)[1])
    training = MoviD("train", tmp_path, **RAW)[1]
    assert np.array_equal(pixels_of(training), scene(1)[0])
    assert "labels" not in training


def test_steves_folder_is_divided_by_name(tmp_path):
    steve(tmp_path, videos=20)
    found = {
        split: [int(sample["id"][:8]) for sample in MoviE(split, tmp_path, **RAW)]
        for split in ("train", "validation", "test", "all")
    }
    assert found == {
        "train": list(range(14)),
        "validation": [14, 15, 16],
        "test": [17, 18, 19],
        "all": list(range(20)),
    }


def test_steves_masks(tmp_path):
    steve(tmp_path, videos=1, masks=7)
    assert np.array_equal(MoviD("all", tmp_path, **RAW)[0]["labels"].numpy(), scene(0)[1])
    with pytest.raises(DataError, match=r"split 'train' of .* is empty: 1 videos"):
        MoviD("train", tmp_path, **RAW)


@pytest.mark.parametrize(("kind", "folder"), [(MoviSolid, "MOVi-Solid"), (MoviTex, "MOVi-Tex")])
def test_solid_and_tex_have_masks_of_objects_alone(tmp_path, kind, folder):
    solid(tmp_path, folder=folder)
    solid(tmp_path, "val", masks=0, folder=folder)
    dataset = kind("test", tmp_path, **RAW)
    assert [sample["id"] for sample in dataset] == ["10/0", "9/0"], "by name"
    assert np.array_equal(dataset[1]["labels"].numpy(), scene(9)[1])
    assert np.array_equal(pixels_of(dataset[1]), scene(9)[0])
    assert "labels" not in kind("validation", tmp_path, **RAW)[0]


def test_where_masks_overlap_the_lowest_number_wins(tmp_path):
    """And grey below the middle, which a resized mask may have, is background."""
    video, labels = scene(9, length=1)
    folder = tmp_path / "MOVi-Solid/test/0"
    write_per_object(folder, video, labels, num_masks=6, first=1)
    below = np.where(labels[0] > 0, 255, 100).astype(np.uint8)
    below[labels[0] == 1] = 0
    save(below, folder / "00000000_mask_02.png")
    found = MoviSolid("test", tmp_path, image_size=32, relabel=False, num_frames=1)[0]["labels"]
    expected = np.where(labels[0] > 3, 3, labels[0])
    assert np.array_equal(found[0].numpy(), expected)


def test_frames_after_the_24th_are_not_used(tmp_path):
    video, labels = scene(0, length=26)
    write_per_object(tmp_path / "MOVi-Tex/train/0", video, labels)
    assert len(MoviTex("train", tmp_path, num_frames=3, clips="every")) == 22


def test_kubrics_records(tmp_path):
    """In the order of the files and of the records in them; PNGs have no loss."""
    kubric(tmp_path)
    dataset = MoviD("train", tmp_path, checksums=True, **RAW)
    assert dataset.layout == "tfrecord"
    ids = [sample["id"] for sample in dataset]
    assert ids == ["00000-00000/0", "00000-00001/0", "00001-00000/0"]
    for index in range(3):
        video, labels = scene(index)
        assert np.array_equal(pixels_of(dataset[index]), video)
        assert np.array_equal(dataset[index]["labels"].numpy(), labels)
    assert {"flow", "depth"}.isdisjoint(dataset[0])


def test_flow_and_depth_are_measured_in_pixels_and_units(tmp_path):
    bits = np.random.default_rng(0)
    flow = bits.integers(2**16, size=(LENGTH, 32, 32, 2), dtype=np.uint16)
    depth = bits.integers(2**16, size=(LENGTH, 32, 32), dtype=np.uint16)
    kubric(tmp_path, per_file=(1,), flow=flow, depth=depth)
    for side in ("forward", "backward"):
        options = {**RAW, "num_frames": 2, "stride": 2, "clips": "every", "depth": True}
        sample = MoviD("train", tmp_path, flow=side, **options)[1]
        down_right = sample["flow"].permute(0, 2, 3, 1).double().numpy()
        assert sample["flow"].dtype == sample["depth"].dtype == torch.float32
        assert np.allclose(down_right, flow[[1, 3]] / 65535 * 10 - 5, atol=1e-6)
        assert np.allclose(sample["depth"].double().numpy(), depth[[1, 3]] / 6553.5, atol=1e-6)
    smaller = MoviD("train", tmp_path, flow="forward", image_size=16, num_frames=LENGTH)[0]
    batch = collate([smaller, smaller])
    assert batch["flow"].shape == (2, LENGTH, 2, 16, 16)
    assert batch["flow"].abs().max() <= 2.5, "half the size, half the pixels"


def test_what_is_not_asked_for_is_not_decoded(tmp_path):
    """Segmentations, depth and flow that are no pictures do no harm."""
    video, _ = scene(0)
    record = example({"video": [png(frame) for frame in video], "segmentations": [b"?"] * LENGTH})
    write_shards(tmp_path / "movi_d/128x128/1.0.0", "movi_d", "train", [[record]])
    assert "labels" not in MoviD("train", tmp_path, masks=False, **RAW)[0]
    with pytest.raises(
        DataError, match=r"'segmentations' of record 0 of .*, frame 0 cannot be read as a picture"
    ):
        MoviD("train", tmp_path, **RAW)[0]


def test_the_other_resolution(tmp_path):
    kubric(tmp_path, size="256x256")
    assert len(MoviD("train", tmp_path, resolution="256x256", **RAW)) == 3
    with pytest.raises(DataError, match="movi_d has no folder 128x128; it has 256x256"):
        MoviD("train", tmp_path, **RAW)


@pytest.mark.parametrize("layout", [slotdiffusion, kubric])
def test_every_clip_is_a_sample(tmp_path, layout):
    layout(tmp_path)
    options: Any = {"image_size": 32, "relabel": False}
    whole = MoviD("train", tmp_path, num_frames=LENGTH, **options)
    clips = MoviD("train", tmp_path, num_frames=3, clips="every", **options)
    assert len(clips) == len(whole) * (LENGTH - 2)
    for index in range(len(clips)):
        video, start = divmod(index, LENGTH - 2)
        assert clips[index]["id"] == whole[video]["id"][:-1] + str(start)
        assert torch.equal(clips[index]["video"], whole[video]["video"][start : start + 3])
        assert torch.equal(clips[index]["labels"], whole[video]["labels"][start : start + 3])
    apart = MoviD("train", tmp_path, num_frames=2, clips="apart", **options)
    assert [sample["id"][-1] for sample in apart] == ["0", "2"] * len(whole)
    with pytest.raises(IndexError):
        clips[len(clips)]
    with pytest.raises(IndexError):
        clips[-1]


def test_labels_are_numbered_over_the_whole_clip(tmp_path):
    slotdiffusion(tmp_path, videos=6)
    options: Any = {"image_size": 32, "num_frames": LENGTH}
    hidden = 0
    for index in range(6):
        before = scene(index)[1]
        after = MoviD("train", tmp_path, **options)[index]["labels"].numpy()
        order = np.unique(before)
        assert np.array_equal(order[after], before)
        hidden += sum(len(np.unique(frame)) < len(order) for frame in before)
    assert hidden, "where an object is hidden, numbering frame by frame would differ"


def clips_of(root, split, preset):
    dataset = load_dataset_by_name("movi_d", split=split, preset=preset, root=root)
    sample = dataset[len(dataset) - 1]
    start = int(sample["id"].partition("/")[2])
    return len(dataset), start, tuple(sample["video"].shape), "labels" in sample


def test_presets_take_the_published_clips(tmp_path):
    """Of one video of 24 frames: how many, where the last one starts, its shape, labels."""
    for split in ("train", "validation", "test"):
        write_numbered(tmp_path / f"MOVi-D/{split}/0", *scene(0, length=24))
    expected = {
        ("slotdiffusion", "train"): (22, 21, (3, 3, 128, 128), False),
        ("slotdiffusion", "validation"): (8, 21, (3, 3, 128, 128), True),
        ("slotdiffusion", "test"): (1, 0, (24, 3, 128, 128), True),
        ("slotdiffusion_tokenizer", "train"): (24, 23, (1, 3, 128, 128), False),
        ("steve", "train"): (8, 21, (3, 3, 128, 128), False),
        ("steve", "validation"): (4, 18, (6, 3, 128, 128), True),
        ("savi", "train"): (4, 18, (6, 3, 64, 64), True),
        ("savi", "validation"): (1, 0, (24, 3, 64, 64), True),
    }
    assert {name for name, _ in expected} == set(catalog.presets("movi_d"))
    for (preset, split), clips in expected.items():
        assert clips_of(tmp_path, split, preset) == clips, (preset, split)


def test_cards_suggest_a_slot_for_each_object_and_the_background():
    slots = {name: catalog.card(name).num_slots for name in catalog.names() if "movi" in name}
    assert slots == {
        **dict.fromkeys(["movi_a", "movi_b", "movi_c", "movi_solid", "movi_tex"], 11),
        **dict.fromkeys(["movi_d", "movi_e"], 24),
    }


def test_one_layout_is_found_or_named(tmp_path):
    with pytest.raises(DataError) as error:
        MoviD("train", tmp_path)
    digits = "[0-9]" * 8
    assert str(error.value) == (
        f"root {tmp_path} holds no MOVi-D; looked for folders MOVi-D, MOVi/d, {digits}, movi_d"
    )
    slotdiffusion(tmp_path)
    spot(tmp_path, "train")
    with pytest.raises(DataError) as error:
        MoviD("train", tmp_path)
    assert str(error.value) == (
        f"root {tmp_path} holds MOVi-D in 2 layouts; name one of them by layout: "
        "slotdiffusion, spot"
    )
    assert MoviD("train", tmp_path, layout="spot", **RAW).layout == "spot"
    with pytest.raises(DataError, match=r"holds no MOVi-D; looked for folders movi_d$"):
        MoviD("train", tmp_path, layout="tfrecord")
    with pytest.raises(DataError, match="holds no MOVi-E; looked for folders MOVi-E, MOVi/e"):
        MoviE("train", tmp_path)
    with pytest.raises(DataError, match=r"root .*nowhere is not a folder"):
        MoviE("train", tmp_path / "nowhere")
    with pytest.raises(DataError, match="has no folder MOVi-Solid; it has MOVi, MOVi-D"):
        MoviSolid("train", tmp_path)


def test_an_unknown_layout_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as for a user
    with pytest.raises(DataError, match="layout 'folder' of MOVi is not one of auto, slotdiff"):
        MoviD("train", tmp_path, layout="folder")  # pyright: ignore[reportArgumentType]


def test_splits_are_named(tmp_path):
    slotdiffusion(tmp_path)
    kubric(tmp_path, name="movi_a")
    with pytest.raises(DataError, match="MOVi-D has no folder validation; it has train"):
        MoviD("validation", tmp_path)
    with pytest.raises(DataError, match="split 'val' of MOVi is not one of train, validation, te"):
        MoviD("val", tmp_path)
    with pytest.raises(DataError, match=r"holds no files movi_a-test.tfrecord-.; its splits are"):
        MoviA("test", tmp_path)
    solid(tmp_path)
    with pytest.raises(DataError, match="MOVi-Solid has no folder val; it has test"):
        MoviSolid("validation", tmp_path)


def test_missing_files_are_named(tmp_path):
    slotdiffusion(tmp_path)
    spot(tmp_path, "test")
    kubric(tmp_path, per_file=(1, 1, 1))
    place = tmp_path / "MOVi-D/train/00000001"
    (place / "000002_mask.png").unlink()
    with pytest.raises(DataError, match=r"000002.jpg has no mask: expected .*000002_mask.png"):
        MoviD("train", tmp_path, layout="slotdiffusion", **RAW)
    MoviD("train", tmp_path, layout="slotdiffusion", masks=False, **RAW)
    (place / "000002.jpg").unlink()
    with pytest.raises(DataError, match=r"00000001 has 4 pictures, but 000002.jpg is not among"):
        MoviD("train", tmp_path, layout="slotdiffusion", **RAW)
    for mask in place.glob("*_mask.png"):
        mask.unlink()
    (place / "000002.jpg").write_bytes((place / "000001.jpg").read_bytes())
    with pytest.raises(DataError, match=r"00000001 has no masks, but video .*00000000 has"):
        MoviD("train", tmp_path, layout="slotdiffusion", **RAW)
    for picture in place.glob("*.jpg"):
        picture.unlink()
    with pytest.raises(DataError, match=r"00000001 has no frames; expected pictures such as 0000"):
        MoviD("train", tmp_path, layout="slotdiffusion", **RAW)
    (tmp_path / "MOVi-D/validation").mkdir()
    with pytest.raises(DataError, match=r"validation holds no videos; expected one folder of fra"):
        MoviD("validation", tmp_path, layout="slotdiffusion", **RAW)

    (tmp_path / "MOVi/d/test/00000000/00000003_mask_04.png").unlink()
    with pytest.raises(DataError, match=r"3_image.png has no mask: expected .*3_mask_04.png"):
        MoviD("test", tmp_path, layout="spot", **RAW)

    shard = tmp_path / "movi_d/128x128/1.0.0/movi_d-train.tfrecord-00001-of-00003"
    shard.unlink()
    with pytest.raises(DataError, match=r"holds 2 of 3 files, but no movi_d-train.*00001-of-00003"):
        MoviD("train", tmp_path, layout="tfrecord", **RAW)
    (tmp_path / "movi_d/128x128/2.0.0").mkdir()
    with pytest.raises(DataError, match=r"128x128 holds 2 folders; expected one, such as 1.0.0"):
        MoviD("train", tmp_path, layout="tfrecord", **RAW)


def test_a_video_that_ends_early_is_named(tmp_path):
    slotdiffusion(tmp_path)
    with pytest.raises(
        DataError,
        match=r"00000000 has 5 frames; a clip of 24 frames 1 apart needs 24; lower num_frames$",
    ):
        MoviD("train", tmp_path)
    kubric(tmp_path, name="movi_e")
    with pytest.raises(DataError, match=r"^video record 0 of .* has 5 frames; a clip of 3 frames"):
        MoviE("train", tmp_path, num_frames=3, stride=3)
    records = [movi_example(*scene(0, length=6)), movi_example(*scene(1, length=5))]
    write_shards(tmp_path / "movi_a/128x128/1.0.0", "movi_a", "train", [records])
    dataset = MoviA("train", tmp_path, num_frames=6)
    assert dataset[0]["video"].shape[0] == 6
    with pytest.raises(DataError, match=r"of video record 1 of .* has 5 frames; a clip of 6"):
        dataset[1]


def test_frames_and_masks_of_another_size_are_named(tmp_path):
    slotdiffusion(tmp_path)
    spot(tmp_path, "test")
    other = np.zeros((32, 48), np.uint8)
    save(other, tmp_path / "MOVi-D/train/00000000/000003_mask.png")
    save(other, tmp_path / "MOVi-D/train/00000001/000003.jpg")
    dataset = MoviD("train", tmp_path, layout="slotdiffusion", **RAW)
    with pytest.raises(DataError, match=r"000003_mask.png is 48x32 pixels .*000003.jpg is 32x32"):
        dataset[0]
    with pytest.raises(DataError, match=r"000003.jpg is 48x32 .* of the same video is 32x32"):
        dataset[1]
    folder = tmp_path / "MOVi/d/test/00000000"
    save(other, folder / "00000002_mask_01.png")
    dataset = MoviD("test", tmp_path, layout="spot", **RAW)
    with pytest.raises(DataError, match=r"2_mask_01.png is 48x32 .*, but .*2_mask_00.png is 32x32"):
        dataset[0]
    for mask in folder.glob("00000002_mask_*.png"):
        save(other, mask)
    with pytest.raises(DataError, match=r"2_mask_00.png is 48x32 .*, but its picture is 32x32"):
        dataset[0]


def test_damaged_records_are_named(tmp_path):
    video, labels = scene(0)
    flow = np.zeros((LENGTH, 32, 31, 2), np.uint16)
    kubric(tmp_path, per_file=(1,), flow=flow)
    with pytest.raises(DataError, match=r"holds 9920 numbers; expected 10240, two for each pixel"):
        MoviD("train", tmp_path, flow="forward", **RAW)[0]
    with pytest.raises(DataError, match=r"record 0 of .* has no feature 'depth'"):
        MoviD("train", tmp_path, depth=True, **RAW)[0]
    frames = [png(frame) for frame in video]
    frames[1] = frames[1][:200]
    record = example({"video": frames, "segmentations": [png(frame) for frame in labels]})
    write_shards(tmp_path / "movi_d/128x128/1.0.0", "movi_d", "validation", [[record]])
    with pytest.raises(DataError, match=r"'video' of record 0 of .*, frame 1 cannot be read as a"):
        MoviD("validation", tmp_path, **RAW)[0]
    slotdiffusion(tmp_path, level="E")
    with pytest.raises(DataError, match=r"flow and depth are in TFRecord files alone; .*slotdiff"):
        MoviE("train", tmp_path, depth=True, **RAW)


def samples():
    reference = os.environ.get("SLOT_REFERENCE_DATA")
    if reference is None:
        pytest.skip("SLOT_REFERENCE_DATA names no folder of reference data")
    return Path(reference) / "samples"


@pytest.mark.parametrize(
    ("kind", "folder"),
    [
        (MoviC, "MOVi-C/train/00000000"),
        (MoviC, "MOVi-C/validation/00000000"),
        (MoviC, "MOVi-C/test/00000000"),
        (MoviD, "MOVi-D/train/00000000"),
        (MoviD, "MOVi-D/validation/00000000"),
        (MoviD, "MOVi-D/test/00000578"),
        (MoviE, "MOVi-E/train/00000000"),
        (MoviE, "MOVi-E/validation/00000000"),
    ],
)
def test_real_numbered_folders_agree_with_pillow(kind, folder):
    root = samples() / "movi_folder_slotdiffusion"
    dataset = kind(folder.split("/")[1], root, relabel=False)
    assert len(dataset) == 1
    sample = dataset[0]
    assert sample["id"] == f"{folder[-8:]}/0"
    for time in range(24):
        stem = root / folder / f"{time:06d}"
        assert np.array_equal(pixels_of(sample)[time], np.asarray(Image.open(f"{stem}.jpg")))
        mask = np.asarray(Image.open(f"{stem}_mask.png"))
        assert np.array_equal(sample["labels"][time].numpy(), mask)


@pytest.mark.parametrize(
    ("kind", "root", "folder", "split", "length", "masks", "first"),
    [
        (MoviE, "movi_folder_steve", "MOVi/e/validation", "validation", 6, 25, 0),
        (MoviSolid, "movi_solid_tex", "MOVi-Solid/test", "test", 24, 10, 1),
        (MoviTex, "movi_solid_tex", "MOVi-Tex/test", "test", 8, 10, 1),
        (MoviE, "movi_folder_steve", "MOVi/e/train", "train", 6, 0, 0),
        (MoviSolid, "movi_solid_tex", "MOVi-Solid/val", "validation", 3, 0, 1),
        (MoviSolid, "movi_solid_tex", "MOVi-Solid/train", "train", 3, 0, 1),
        (MoviTex, "movi_solid_tex", "MOVi-Tex/val", "validation", 3, 0, 1),
        (MoviTex, "movi_solid_tex", "MOVi-Tex/train", "train", 3, 0, 1),
    ],
)
def test_real_masks_per_object_agree_with_pillow(kind, root, folder, split, length, masks, first):
    root = samples() / root
    dataset = kind(split, root, num_frames=length, relabel=False)
    assert len(dataset) == 1
    sample = dataset[0]
    assert ("labels" in sample) == (masks > 0)
    for time in range(length):
        stem = root / folder / "00000000" / f"{time:08d}"
        picture = np.asarray(Image.open(f"{stem}_image.png").convert("RGB"))
        assert np.array_equal(pixels_of(sample)[time], picture)
        for number in range(masks):
            mask = np.asarray(Image.open(f"{stem}_mask_{number:02d}.png").convert("L")) > 127
            found = sample["labels"][time].numpy() == number + first
            assert np.array_equal(found, mask), (time, number)


@pytest.mark.parametrize(
    ("kind", "split"),
    [
        (MoviC, "validation"),
        (MoviD, "validation"),
        (MoviE, "train"),
        (MoviE, "validation"),
        (MoviE, "test"),
    ],
)
@pytest.mark.parametrize("side", ["forward", "backward"])
def test_real_records_agree_with_an_independent_reading(kind, split, side):
    folder = samples() / "movi_tfds"
    dataset = kind(split, folder, relabel=False, depth=True, flow=side, checksums=True)
    name = f"movi_{kind.level}"
    (path,) = folder.glob(f"{name}/*/*/{name}-{split}.tfrecord*")
    (record,) = records_in(path.read_bytes())
    features, sample = features_of(record), dataset[0]
    assert len(dataset) == 1
    for key, found in (("video", pixels_of(sample)), ("segmentations", sample["labels"].numpy())):
        files = [content for _, content in fields_of(features[key])]
        assert len(files) == 24
        frames = [np.asarray(Image.open(BytesIO(content))) for content in files]
        assert np.array_equal(found, np.stack(frames).reshape(found.shape))
    depth = [np.asarray(Image.open(BytesIO(part))) for _, part in fields_of(features["depth"])]
    assert np.allclose(
        sample["depth"].numpy(), measured(features, "depth", np.stack(depth)), atol=1e-5
    )
    (packed,) = (content for _, content in fields_of(features[f"{side}_flow"]))
    place, flow = 0, []
    while place < len(packed):
        value, place = varint_at(packed, place)
        flow.append(value)
    expected = measured(features, f"{side}_flow", np.array(flow).reshape(24, 128, 128, 2))
    assert np.allclose(sample["flow"].permute(0, 2, 3, 1).numpy(), expected, atol=1e-5)


def measured(features, key, pixels):
    (ends,) = (content for _, content in fields_of(features[f"metadata/{key}_range"]))
    low, high = np.frombuffer(ends, "<f4").astype(np.float64)
    return pixels / 65535 * (high - low) + low
