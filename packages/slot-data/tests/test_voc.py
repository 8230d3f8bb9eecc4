"""PASCAL VOC in both layouts: lists, void pixels, and masks that do not fit one another."""

# pyright: reportTypedDictNotRequiredAccess=false

import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from slot_data import DataError, load_dataset_by_name
from slot_data.image_files import read_mask

# Of the labels that the reference code (SlotDiffusion's with OpenCV, DINOSAUR's) makes of the
# sample files: a hash of each, as int32.
REFERENCE = json.loads((Path(__file__).parent / "data" / "voc_samples.json").read_text())
NATIVE = {"fit": "file", "relabel": False}
OFFICIAL = ("VOCdevkit/VOC2012", "JPEGImages", "ImageSets/Segmentation")
REFERENCE_LAYOUT = (".", "images", "sets")
SIZE = (30, 40)


def masks_of(number):
    """Objects and classes: two objects with a void border, and a corner where they disagree."""
    objects, classes = np.zeros(SIZE, np.uint8), np.zeros(SIZE, np.uint8)
    for index, (top, left, kind) in enumerate(((3, 4, 15), (12, 20, 7 + number)), 1):
        for mask in (objects, classes):
            mask[top - 1 : top + 11, left - 1 : left + 11] = 255
        objects[top : top + 10, left : left + 10] = index
        classes[top : top + 10, left : left + 10] = kind
    objects[25:28, 0:3] = 3  # no class
    classes[25:28, 5:8] = 9  # no object
    objects[0, 39] = 255  # void for one of them
    return objects, classes


def write_mask(path, ids, mode="P"):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(ids)
    if mode == "P":
        image.putpalette(np.random.default_rng(1).integers(256, size=768, dtype=np.uint8).tolist())
    image.save(path)


def write(root, layout=OFFICIAL, mode="P"):
    """Pictures 0 and 1 in train, 2 in val, and 3 of SBD."""
    base, pictures, lists = (root / layout[0], *layout[1:])
    names = [f"2011_00000{number}" for number in range(4)]
    for number, name in enumerate(names):
        (base / pictures).mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(256, size=(*SIZE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(base / pictures / f"{name}.jpg")
        objects, classes = masks_of(number)
        write_mask(base / f"SegmentationClassAug/{name}.png", classes, mode)
        if number < 3:
            write_mask(base / f"SegmentationClass/{name}.png", classes, mode)
            write_mask(base / f"SegmentationObject/{name}.png", objects, mode)
    (base / lists).mkdir(parents=True)
    for kind, members in (("train", "01"), ("val", "2"), ("trainval", "012"), ("trainaug", "103")):
        text = "\n".join(f"2011_00000{member}" for member in members)
        (base / lists / f"{kind}.txt").write_text(text)  # the last line without an end
    return base


def load(root, split="validation", **options):
    return load_dataset_by_name("voc", split=split, root=root, **options)


def numbers_of(dataset):
    return "".join(sample["id"][-1] for sample in dataset)


@pytest.mark.parametrize("layout", [OFFICIAL, REFERENCE_LAYOUT])
@pytest.mark.parametrize("inside", [True, False])
def test_both_layouts_and_the_order_of_the_lists(tmp_path, layout, inside):
    base = write(tmp_path, layout)
    root = base if inside else tmp_path
    found = {split: numbers_of(load(root, split)) for split in ("train", "validation", "trainaug")}
    assert found == {"train": "01", "validation": "2", "trainaug": "103"}
    assert numbers_of(load(root, "trainval")) == "012"


@pytest.mark.parametrize("mode", ["P", "L"])
def test_pixels_and_ids_are_those_of_the_files(tmp_path, mode):
    base = write(tmp_path, mode=mode)
    sample = load(tmp_path, **NATIVE)[0]
    objects, classes = masks_of(2)
    void = (objects == 255) | (classes == 255)
    pixels = np.asarray(Image.open(base / "JPEGImages/2011_000002.jpg"))
    assert np.array_equal(sample["video"][0].permute(1, 2, 0).numpy(), pixels)
    assert np.array_equal(sample["labels"][0].numpy(), np.where(void, 0, objects))
    assert np.array_equal(sample["class_labels"][0].numpy(), np.where(void, 0, classes))
    assert np.array_equal(sample["void"][0].numpy(), void)
    assert set(sample) == {"video", "id", "labels", "class_labels", "void"}
    assert load(tmp_path)[0]["class_labels"].unique().tolist() == [0, 1, 2], "9 and 15"


def test_trainaug_has_classes_alone(tmp_path):
    write(tmp_path)
    sample = load(tmp_path, "trainaug", **NATIVE)[2]
    classes = masks_of(3)[1]
    assert set(sample) == {"video", "id", "class_labels", "void"}
    assert np.array_equal(sample["class_labels"][0].numpy(), np.where(classes == 255, 0, classes))
    assert np.array_equal(sample["void"][0].numpy(), classes == 255)


def test_trainaug_without_a_list_is_what_val_does_not_name(tmp_path):
    base = write(tmp_path)
    (base / "ImageSets/Segmentation/trainaug.txt").unlink()
    assert numbers_of(load(tmp_path, "trainaug")) == "013"


def test_what_the_official_archive_lacks_is_named(tmp_path):
    base = write(tmp_path)
    shutil.rmtree(base / "SegmentationClassAug")
    with pytest.raises(DataError, match=r"VOC2012 has no folder SegmentationClassAug, which split"):
        load(tmp_path, "trainaug")
    assert numbers_of(load(tmp_path, "trainaug", masks=False)) == "103"
    (base / "ImageSets/Segmentation/trainaug.txt").unlink()
    words = r"trainaug.txt is missing, and so is the folder .*SegmentationClassAug to take the nam"
    with pytest.raises(DataError, match=words):
        load(tmp_path, "trainaug", masks=False)


def test_void_pixels(tmp_path):
    write(tmp_path)
    marked = load(tmp_path, **NATIVE)[0]
    for policy, keys in (("overlap", {"overlap"}), ("background", set())):
        sample = load(tmp_path, void=policy, **NATIVE)[0]
        assert set(sample) == {"video", "id", "labels", "class_labels"} | keys
        assert torch.equal(sample["labels"], marked["labels"])
        assert torch.equal(sample["class_labels"], marked["class_labels"])
        if keys:
            assert torch.equal(sample["overlap"], marked["void"])


def test_masks_that_must_agree(tmp_path):
    write(tmp_path)
    sample = load(tmp_path, agree=True, **NATIVE)[0]
    objects, classes = masks_of(2)
    both = np.isin(objects, (1, 2)) & (classes > 0) & (classes < 255)
    assert np.array_equal(sample["labels"][0].numpy(), np.where(both, objects, 0))
    assert np.array_equal(sample["class_labels"][0].numpy(), np.where(both, classes, 0))
    assert np.array_equal(sample["void"][0].numpy(), classes == 255)
    assert not sample["void"][0, 0, 39]


def test_a_mask_of_another_size_is_resized(tmp_path):
    base = write(tmp_path)
    _, classes = masks_of(2)
    write_mask(base / "SegmentationClass/2011_000002.png", classes.repeat(2, 0).repeat(2, 1))
    expected = load(tmp_path, **NATIVE)[0]
    write_mask(base / "SegmentationClass/2011_000002.png", classes)
    sample = load(tmp_path, **NATIVE)[0]
    assert torch.equal(sample["class_labels"], expected["class_labels"])
    assert torch.equal(sample["void"], expected["void"])


def test_a_preset_is_the_pipeline_that_it_names(tmp_path):
    base = write(tmp_path)
    train = load(tmp_path, "trainaug", preset="slotdiffusion")[0]
    pixels = np.array(Image.open(base / "JPEGImages/2011_000001.jpg"))
    whole = torch.from_numpy(pixels).permute(2, 0, 1)[None].double()
    wide = F.interpolate(whole, (224, 299), mode="bilinear")
    assert set(train) == {"video", "id"}
    assert (train["video"] - wide).abs().max() <= 0.5 + 1e-3
    scored = load(tmp_path, preset="slotdiffusion")[0]
    assert set(scored) == {"video", "id", "labels", "class_labels", "overlap"}
    assert scored["video"].shape == (1, 3, 224, 224)
    dinosaur = load(tmp_path, "trainaug", preset="dinosaur")[0]
    wide = F.interpolate(whole, (224, 298), mode="bicubic").clamp(0, 255)
    assert (dinosaur["video"] - wide).abs().max() <= 0.5 + 1e-3


def test_lists_of_paths_and_of_crlf_lines(tmp_path):
    base = write(tmp_path)
    path = base / "ImageSets/Segmentation/train.txt"
    path.write_bytes(
        b"/JPEGImages/2011_000001.jpg /SegmentationClassAug/2011_000001.png\r\n\r\n2011_000000\r\n"
    )
    assert numbers_of(load(tmp_path, "train")) == "10"


def test_pictures_alone_need_no_masks(tmp_path):
    base = write(tmp_path)
    (base / "SegmentationClass/2011_000002.png").unlink()
    assert set(load(tmp_path, masks=False)[0]) == {"video", "id"}
    words = r"1 of the 1 files of .*val.txt are missing in .*Class; 2011_000002.png is the first"
    with pytest.raises(DataError, match=words):
        load(tmp_path)


def test_faults_are_named(tmp_path):
    with pytest.raises(DataError, match="holds neither JPEGImages and ImageSets/Segmentation nor"):
        load(tmp_path)
    base = write(tmp_path)
    with pytest.raises(DataError, match="split 'val' of voc is not one of train, validation"):
        load(tmp_path, "val")
    with pytest.raises(IndexError):
        load(tmp_path)[1]
    place = base / "SegmentationClass/2011_000002.png"
    write_mask(place, np.full(SIZE, 147, np.uint8))
    with pytest.raises(DataError, match=r"002.png holds 147; expected classes 0 to 20 and 255"):
        load(tmp_path)[0]
    Image.new("RGB", (40, 30)).save(place)
    with pytest.raises(DataError, match=r"002.png is RGB; expected a palette or grey PNG"):
        load(tmp_path)[0]
    place.write_bytes(place.read_bytes()[:60])
    with pytest.raises(DataError, match=r"002.png cannot be read as a picture"):
        load(tmp_path)[0]
    (base / "JPEGImages/2011_000002.jpg").unlink()
    with pytest.raises(DataError, match=r"missing in .*JPEGImages; 2011_000002.jpg is the first"):
        load(tmp_path)
    (base / "ImageSets/Segmentation/val.txt").write_text("\n")
    with pytest.raises(DataError, match=r"list .*val.txt of voc is empty"):
        load(tmp_path)
    (base / "ImageSets/Segmentation/val.txt").unlink()
    with pytest.raises(DataError, match=r"list .*val.txt of voc cannot be read: .*No such file"):
        load(tmp_path)


def hash_of(labels):
    values = labels[0].to(torch.int32).numpy()
    return hashlib.blake2b(np.ascontiguousarray(values).tobytes(), digest_size=8).hexdigest()


def samples():
    reference = os.environ.get("SLOT_REFERENCE_DATA")
    if reference is None:
        pytest.skip("SLOT_REFERENCE_DATA names no folder of reference data")
    return Path(reference) / "samples" / "voc"


def test_real_files_agree_with_pillow():
    root = samples()
    base = root / "VOCdevkit/VOC2012"
    dataset = load(root, "trainval", **NATIVE)
    names = (base / "ImageSets/Segmentation/trainval.txt").read_text().split()
    assert len(names) == len(dataset) == 3
    for index, name in enumerate(names):
        sample = dataset[index]
        pixels, objects, classes = (
            np.asarray(Image.open(base / place / f"{name}.{suffix}"))
            for place, suffix in (
                ("JPEGImages", "jpg"),
                ("SegmentationObject", "png"),
                ("SegmentationClass", "png"),
            )
        )
        void = (objects == 255) | (classes == 255)
        assert np.array_equal(sample["video"][0].permute(1, 2, 0).numpy(), pixels)
        assert np.array_equal(sample["labels"][0].numpy(), np.where(void, 0, objects))
        assert np.array_equal(sample["class_labels"][0].numpy(), np.where(void, 0, classes))
        assert np.array_equal(sample["void"][0].numpy(), void)
        assert void.any()


def test_a_real_grey_mask_gives_the_ids_of_its_palette_form(tmp_path):
    path = samples() / "2007_000032.greyscale_L_mode.png"
    grey = Image.open(path)
    assert grey.mode == "L"
    palette = Image.fromarray(np.asarray(grey))
    palette.putpalette(np.random.default_rng(1).integers(256, size=768, dtype=np.uint8).tolist())
    palette.save(tmp_path / "palette.png")
    assert Image.open(tmp_path / "palette.png").mode == "P"
    ids = read_mask(path)
    assert np.array_equal(ids, read_mask(tmp_path / "palette.png"))
    assert np.unique(ids).tolist() == [0, 1, 15, 255], "aeroplane, person and void"


def test_real_files_give_the_labels_of_the_reference_codes():
    root = samples()
    assert [numbers_of(load(root, split)) for split in ("train", "validation")] == ["36", "5"]
    own = load(root, "trainval", **NATIVE)
    slotdiffusion = load(root, "trainval", preset="slotdiffusion")
    dinosaur = load(root, "trainval", preset="dinosaur", relabel=False)
    for index, (name, expected) in enumerate(REFERENCE.items()):
        ours, small, dense = (data[index] for data in (own, slotdiffusion, dinosaur))
        assert ours["id"] == name
        assert expected == {
            "void": hash_of(ours["void"]),
            "slotdiffusion": hash_of(small["labels"]),
            "slotdiffusion_class": hash_of(small["class_labels"]),
            "slotdiffusion_overlap": hash_of(small["overlap"]),
            "dinosaur_instances": hash_of(dense["labels"]),
            "dinosaur_class": hash_of(dense["class_labels"]),
            "dinosaur_ignore": hash_of(dense["void"]),
        }
    augmented = load(root, "trainaug", **NATIVE)
    assert torch.equal(augmented[1]["class_labels"], own[1]["class_labels"])
