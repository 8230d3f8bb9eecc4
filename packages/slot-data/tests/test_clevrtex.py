"""CLEVRTex: the split by number, the layout, and files read as an independent reader does."""

# pyright: reportTypedDictNotRequiredAccess=false
# (CLEVRTex always has labels)

import os
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image

from slot_data import DataError, load_dataset_by_name
from slot_data.clevrtex import SIZES, Variant, numbers_of


def write_scene(root, number, variant="full", seed=0, objects=5):
    """One scene as the generator writes it: RGBA 320x240, palette mask, maps to be ignored."""
    folder = root / f"clevrtex_{variant}" / str(number // 1000)
    folder.mkdir(parents=True, exist_ok=True)
    stem = folder / f"CLEVRTEX_{variant}_{number:06d}"
    bits = np.random.default_rng(seed + number)
    pixels = bits.integers(256, size=(240, 320, 4), dtype=np.uint8)
    pixels[..., 3] = 255
    Image.fromarray(pixels).save(f"{stem}.png")
    ids = np.zeros((240, 320), np.uint8)
    for object_number in range(1, objects + 1):
        top, left = bits.integers(0, 200), bits.integers(60, 220)
        ids[top : top + 40, left : left + 40] = object_number
    ids[:, :20] = 6  # outside the crop
    mask = Image.fromarray(ids)
    mask.putpalette(bits.integers(256, size=14 * 3, dtype=np.uint8).tolist())
    mask.save(f"{stem}_flat.png")
    for name in ("albedo", "depth"):
        Image.fromarray(pixels[:4, :4]).save(f"{stem}_{name}_0001.png")
    return pixels, ids


def load(root, split="all", **options):
    return load_dataset_by_name("clevrtex", split=split, root=root, **options)


def test_the_split_is_by_number():
    parts = {split: numbers_of("full", split) for split in ("test", "validation", "train")}
    assert [len(part) for part in parts.values()] == [5_000, 5_000, 40_000]
    assert parts["test"] == range(5_000)
    assert parts["validation"] == range(5_000, 10_000)
    assert parts["train"] == range(10_000, 50_000)
    assert numbers_of("full", "all") == range(50_000)
    assert numbers_of("camo", "train") == range(4_000, 20_000)
    assert numbers_of("outd", "test") == numbers_of("outd", "all") == range(10_000)
    assert tuple(SIZES) == get_args(Variant)


def test_an_incomplete_copy_keeps_the_split(tmp_path):
    for number in (4999, 5000, 9999, 10000, 49999):
        write_scene(tmp_path, number)
    found = {
        split: [int(sample["id"][-6:]) for sample in load(tmp_path, split)]
        for split in ("test", "validation", "train", "all")
    }
    assert found == {
        "test": [4999],
        "validation": [5000, 9999],
        "train": [10000, 49999],
        "all": [4999, 5000, 9999, 10000, 49999],
    }


def test_pixels_and_ids_are_those_of_the_files(tmp_path):
    pixels, ids = write_scene(tmp_path, 7)
    sample = load(tmp_path, "test", image_size=192, relabel=False)[0]
    assert sample["id"] == "CLEVRTEX_full_000007"
    assert sample["video"].dtype == torch.uint8
    middle = pixels[24:216, 64:256, :3]
    assert np.array_equal(sample["video"][0].permute(1, 2, 0).numpy(), middle)
    assert np.array_equal(sample["labels"][0].numpy(), ids[24:216, 64:256])


def test_what_the_crop_removes_leaves_no_gap(tmp_path):
    write_scene(tmp_path, 7)
    labels = load(tmp_path)[0]["labels"]
    assert labels.shape == (1, 128, 128)
    assert labels.unique().tolist() == list(range(int(labels.max()) + 1))
    assert 6 not in load(tmp_path, relabel=False)[0]["labels"]


def test_reference_pipelines_by_option(tmp_path):
    """SlotDiffusion's: no antialiasing and floor(i * 1.5) for labels."""
    write_scene(tmp_path, 7)
    raw = load(tmp_path, image_size=192, relabel=False)[0]
    sample = load(tmp_path, antialias=False, label_resize="nearest", relabel=False)[0]
    interpolate = torch.nn.functional.interpolate
    picture = interpolate(raw["video"].float(), (128, 128), mode="bilinear")
    labels = interpolate(raw["labels"][None].float(), (128, 128), mode="nearest")[0]
    assert (sample["video"] - picture).abs().max() <= 0.5 + 1e-3
    assert torch.equal(sample["labels"].float(), labels)
    assert not torch.equal(sample["video"], load(tmp_path)[0]["video"])


def test_slotdiffusion_by_preset(tmp_path):
    write_scene(tmp_path, 7)
    by_name = load(tmp_path, preset="slotdiffusion")[0]
    by_option = load(tmp_path, antialias=False, label_resize="nearest", relabel="from_zero")[0]
    assert torch.equal(by_name["video"], by_option["video"])
    assert torch.equal(by_name["labels"], by_option["labels"])
    assert load(tmp_path, preset="slotdiffusion", image_size=64)[0]["video"].shape[-1] == 64
    with pytest.raises(DataError, match="'clevrtex' has no preset 'savi'; it has slotdiffusion"):
        load(tmp_path, preset="savi")


def test_pictures_with_few_objects(tmp_path):
    """What counts is left in the crop: the label 6 at the picture's edge is not."""
    left = {}
    for number in range(5):
        _, ids = write_scene(tmp_path, number, objects=number + 1)
        left[number] = len(np.unique(ids[24:216, 64:256])) - 1
    assert left == {0: 1, 1: 2, 2: 3, 3: 4, 4: 5}
    for most in range(1, 6):
        kept = [int(sample["id"][-6:]) for sample in load(tmp_path, max_objects=most)]
        assert kept == list(range(most))
    with pytest.raises(DataError, match=r"no picture of split 'all' in .* has at most 0 objects"):
        load(tmp_path, max_objects=0)


def test_pictures_alone_need_no_masks(tmp_path):
    write_scene(tmp_path, 7)
    with_masks = load(tmp_path)[0]
    (tmp_path / "clevrtex_full/0/CLEVRTEX_full_000007_flat.png").unlink()
    alone = load(tmp_path, masks=False)[0]
    assert "labels" not in alone
    assert torch.equal(alone["video"], with_masks["video"])


@pytest.mark.parametrize("variant", list(SIZES))
def test_variants(tmp_path, variant):
    for number in (0, SIZES[variant] - 1):
        write_scene(tmp_path, number, variant)
    ids = [sample["id"] for sample in load(tmp_path, variant=variant)]
    assert ids == [f"CLEVRTEX_{variant}_{n:06d}" for n in (0, SIZES[variant] - 1)]


def test_outd_is_for_testing_alone(tmp_path):
    write_scene(tmp_path, 0, "outd")
    assert load(tmp_path, "test", variant="outd")[0]["id"] == "CLEVRTEX_outd_000000"
    with pytest.raises(DataError, match="split 'train' of clevrtex, variant outd, is not one of"):
        load(tmp_path, "train", variant="outd")


def test_faults_are_named(tmp_path):
    with pytest.raises(DataError, match=r"root .* of clevrtex holds no folder clevrtex_full"):
        load(tmp_path)
    write_scene(tmp_path, 3)
    with pytest.raises(DataError, match="is not one of train, validation, test, all"):
        load(tmp_path, "val")
    with pytest.raises(DataError, match="expected 'full' or 'pbg'"):
        load(tmp_path, variant="fool")
    with pytest.raises(
        DataError, match=r"holds no picture of split 'train' \(numbers 10000 to 49999\) among its 1"
    ):
        load(tmp_path, "train")
    with pytest.raises(IndexError):
        load(tmp_path)[1]
    folder = tmp_path / "clevrtex_full/0"
    (folder.parent / "1").mkdir()
    for path in list(folder.glob("*.png")):
        (folder.parent / "1" / path.name).write_bytes(path.read_bytes())
    with pytest.raises(DataError, match=r"0/.*000003.png and .*1/.*000003.png have the same"):
        load(tmp_path)
    (folder / "CLEVRTEX_full_000003_flat.png").unlink()
    with pytest.raises(DataError, match=r"000003.png has no mask: expected .*000003_flat.png"):
        load(tmp_path)


def test_real_files_agree_with_an_independent_reading():
    reference = os.environ.get("SLOT_REFERENCE_DATA")
    if reference is None:
        pytest.skip("SLOT_REFERENCE_DATA names no folder of reference data")
    root = Path(reference) / "samples" / "clevrtex"
    raw = load(root, image_size=192, relabel=False)
    small = load(root, relabel=False)
    assert len(raw) == len(small) == 10
    for number in range(10):
        path = root / "clevrtex_full/0" / f"CLEVRTEX_full_{number:06d}.png"
        box = (64, 24, 256, 216)
        picture = Image.open(path).crop(box)
        mask = Image.open(path.with_name(f"{path.stem}_flat.png")).crop(box)
        pixels = raw[number]["video"][0].permute(1, 2, 0).numpy()
        assert np.array_equal(pixels, np.asarray(picture)[..., :3])
        assert np.array_equal(raw[number]["labels"][0].numpy(), np.asarray(mask))
        nearest = np.asarray(mask.resize((128, 128), Image.Resampling.NEAREST))
        assert np.array_equal(small[number]["labels"][0].numpy(), nearest)
        pillow = np.asarray(picture.convert("RGB").resize((128, 128), Image.Resampling.BILINEAR))
        shrunk = small[number]["video"][0].permute(1, 2, 0).numpy()
        assert abs(shrunk.astype(int) - pillow.astype(int)).max() <= 1
