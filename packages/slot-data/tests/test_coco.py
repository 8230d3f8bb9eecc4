"""COCO in its real layout: overlaps, crowds and empty pictures by each policy."""

# pyright: reportTypedDictNotRequiredAccess=false

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from slot_data import DataError, load_dataset_by_name

# Of the labels that the reference code (SlotDiffusion's, SPOT's, DINOSAUR's rules, through
# pycocotools and OpenCV) makes of the real sample files: a hash of each, as int32.
REFERENCE = json.loads((Path(__file__).parent / "data" / "coco_samples.json").read_text())
NATIVE = {"fit": "file", "relabel": False}


def box(left, top, width, height):
    right, bottom = left + width, top + height
    return [[left, top, left, bottom, right, bottom, right, top]]


def run_lengths(inside):
    """Uncompressed, by a loop."""
    counts, current = [0], False
    for pixel in inside.T.flatten().tolist():
        if pixel != current:
            counts.append(0)
            current = pixel
        counts[-1] += 1
    return {"size": list(inside.shape), "counts": counts}


def crowd_of(height, width):
    inside = np.zeros((height, width), dtype=bool)
    inside[2:9, 20:28] = True
    return inside


ANNOTATIONS = [  # picture 7: objects 1 and 3 overlap, and so do 2 and the crowd, number 4
    (7, 90, box(2, 2, 10, 10), 0),
    (7, 2, box(18, 4, 6, 3), 0),
    (7, 3, box(6, 6, 10, 4), 0),
    (7, 2, run_lengths(crowd_of(30, 40)), 1),
    (9, 2, run_lengths(crowd_of(24, 32)), 1),  # picture 9 has nothing but a crowd; 5 is empty
]
SIZES = {7: (30, 40), 5: (20, 20), 9: (24, 32)}


def write(root, folder="images", annotations=ANNOTATIONS):
    bits = np.random.default_rng(0)
    for name in ("train2017", "val2017"):
        place = root / folder / name
        place.mkdir(parents=True)
        images = []
        for number, (height, width) in SIZES.items():
            pixels = bits.integers(256, size=(height, width, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(place / f"{number:012d}.jpg")
            image = {"id": number, "file_name": f"{number:012d}.jpg"}
            images.append({**image, "height": height, "width": width})
        content = {
            "images": images,
            "categories": [{"id": number} for number in (90, 2, 3)],
            "annotations": [
                {
                    "id": 100 + n,
                    "image_id": image,
                    "category_id": category,
                    "segmentation": segmentation,
                    "iscrowd": crowd,
                }
                for n, (image, category, segmentation, crowd) in enumerate(annotations)
            ],
        }
        (root / "annotations").mkdir(exist_ok=True)
        (root / f"annotations/instances_{name}.json").write_text(json.dumps(content))
    return root


def load(root, split="validation", **options):
    return load_dataset_by_name("coco", split=split, root=root, **options)


def picture_of(root, number):
    path = root / f"images/val2017/{number:012d}.jpg"
    return np.asarray(Image.open(path).convert("RGB"))


@pytest.mark.parametrize("folder", ["images", "."])
def test_both_nestings_in_the_order_of_the_file(tmp_path, folder):
    write(tmp_path, folder)
    for split in ("train", "validation"):
        dataset = load(tmp_path, split, **NATIVE)
        assert [sample["id"] for sample in dataset] == [f"{n:012d}" for n in (7, 5, 9)]
        assert [tuple(sample["video"].shape) for sample in dataset] == [
            (1, 3, height, width) for height, width in SIZES.values()
        ]


def test_pixels_and_labels_by_hand(tmp_path):
    sample = load(write(tmp_path), **NATIVE)[0]
    assert np.array_equal(sample["video"][0].permute(1, 2, 0).numpy(), picture_of(tmp_path, 7))
    labels, kinds = np.zeros((30, 40)), np.zeros((30, 40))
    labels[2:12, 2:12], kinds[2:12, 2:12] = 1, 3  # category 90 is the third
    labels[4:7, 18:24], kinds[4:7, 18:24] = 2, 1
    labels[6:10, 6:16], kinds[6:10, 6:16] = 3, 2
    overlap = np.zeros((30, 40), dtype=bool)
    overlap[6:10, 6:12] = True
    assert np.array_equal(sample["labels"][0].numpy(), labels)
    assert np.array_equal(sample["class_labels"][0].numpy(), kinds)
    assert np.array_equal(sample["overlap"][0].numpy(), overlap)
    assert "void" not in sample


def test_whose_a_pixel_is_where_objects_overlap(tmp_path):
    write(tmp_path)
    there = (0, 8, 8)  # objects 1, of class 3, and 3, of class 2
    for overlap, number, kind in (("last", 3, 2), ("first", 1, 3), ("highest_class", 1, 3)):
        sample = load(tmp_path, overlap=overlap, **NATIVE)[0]
        assert sample["labels"][there] == number
        assert sample["class_labels"][there] == kind
        assert sample["overlap"][there]


def test_the_last_of_the_highest_class(tmp_path):
    twice = [(7, 3, box(2, 2, 10, 10), 0), (7, 3, box(6, 6, 10, 4), 0)]
    write(tmp_path, annotations=twice)
    assert load(tmp_path, overlap="highest_class", **NATIVE)[0]["labels"][0, 8, 8] == 2


def test_crowds(tmp_path):
    write(tmp_path)
    crowd = torch.from_numpy(crowd_of(30, 40))
    object_2 = torch.zeros(30, 40, dtype=torch.bool)
    object_2[4:7, 18:24] = True
    dropped = load(tmp_path, crowd="drop", **NATIVE)[0]
    assert (dropped["labels"][0][crowd & ~object_2] == 0).all()
    void = load(tmp_path, crowd="void", **NATIVE)[0]
    assert torch.equal(void["labels"], dropped["labels"])
    assert torch.equal(void["void"][0], crowd & ~object_2)
    assert torch.equal(void["overlap"], dropped["overlap"])
    kept = load(tmp_path, crowd="object", **NATIVE)[0]
    assert torch.equal(kept["labels"][0] == 4, crowd)
    assert torch.equal(kept["overlap"][0], dropped["overlap"][0] | (crowd & object_2))


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ({}, [7, 5, 9]),
        ({"empty": "drop_unannotated"}, [7, 9]),
        ({"empty": "drop_without_objects"}, [7]),
        ({"empty": "drop_without_objects", "crowd": "object"}, [7, 9]),
        ({"max_objects": 2}, [5, 9]),
        ({"max_objects": 0, "crowd": "object"}, [5]),
        ({"max_objects": 3}, [7, 5, 9]),
        ({"max_objects": 3, "crowd": "object"}, [5, 9]),
    ],
)
@pytest.mark.parametrize("masks", [True, False])
def test_which_pictures_are_left(tmp_path, options, left, masks):
    dataset = load(write(tmp_path), masks=masks, **options, **NATIVE)
    assert [int(sample["id"]) for sample in dataset] == left
    assert all(("labels" in sample) == masks for sample in dataset)


def test_what_is_marked_to_be_ignored_keeps_its_number(tmp_path):
    write(tmp_path)
    path = tmp_path / "annotations/instances_val2017.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["ignore"] = 1
    path.write_text(json.dumps(content))
    sample = load(tmp_path, **NATIVE)[0]
    assert sample["labels"].unique().tolist() == [0, 2, 3]
    assert not sample["overlap"].any()
    assert load(tmp_path)[0]["labels"].unique().tolist() == [0, 1, 2]


def test_presets_differ_between_training_and_scoring(tmp_path):
    write(tmp_path)
    train = load(tmp_path, "train", preset="slotdiffusion")
    assert [sample["id"][-1] for sample in train] == ["7", "9"]
    assert set(train[0]) == {"video", "id"}
    assert train[0]["video"].shape == (1, 3, 224, 224)
    scored = load(tmp_path, preset="slotdiffusion")
    assert len(scored) == 3
    assert set(scored[0]) == {"video", "id", "labels", "class_labels", "overlap"}
    assert len(load(tmp_path, "train", preset="dinosaur")) == 3


def test_a_preset_is_the_pipeline_that_it_names(tmp_path):
    """SlotDiffusion: the shorter side to 224 without antialiasing, the longer one rounded; then
    the middle."""
    write(tmp_path)
    sample = load(tmp_path, preset="slotdiffusion")[0]
    pixels = torch.from_numpy(picture_of(tmp_path, 7).copy()).permute(2, 0, 1)[None].double()
    wide = F.interpolate(pixels, (224, 299), mode="bilinear")
    assert (sample["video"] - wide[..., 37:261]).abs().max() <= 0.5 + 1e-3
    pixels = load(tmp_path, preset="dinosaur")[0]["video"]
    raw = torch.from_numpy(picture_of(tmp_path, 7).copy()).permute(2, 0, 1)[None].double()
    wide = F.interpolate(raw, (224, 298), mode="bicubic").clamp(0, 255)
    assert (pixels - wide[..., 37:261]).abs().max() <= 0.5 + 1e-3


def annotated(change):
    """A test's file with one thing wrong."""

    def damage(root):
        path = root / "annotations/instances_val2017.json"
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return damage


def cut_off(root):
    path = root / "annotations/instances_val2017.json"
    path.write_text(path.read_text()[:-20])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (cut_off, r"instances_val2017.json cannot be read as JSON"),
        (
            lambda root: (root / "annotations/instances_val2017.json").unlink(),
            "instances_val2017.json is missing: expected COCO's annotations of instances",
        ),
        (
            lambda root: (root / "images/val2017/000000000005.jpg").unlink(),
            r"1 of the 3 pictures of .*val2017.json are missing in .*; 000000000005.jpg is the",
        ),
        (annotated(lambda c: c.pop("images")), "holds no list 'images' of entries"),
        (annotated(lambda c: c["categories"].append(3)), "holds no list 'categories' of entries"),
        (annotated(lambda c: c["images"][1].pop("width")), "image 1 of .* has no 'width'"),
        (annotated(lambda c: c["images"][1].update(id=7)), "lists two images of the same id"),
        (
            annotated(lambda c: c["annotations"][2].update(image_id=6)),
            "annotation 102 of .* belongs to image 6, which the file does not list",
        ),
        (
            annotated(lambda c: c["annotations"][2].update(category_id=6)),
            "annotation 102 of .* has category 6, which the file does not list",
        ),
        (
            annotated(lambda c: c["annotations"][2].pop("segmentation")),
            "annotation 102 of .* has no segmentation: expected polygons or run lengths",
        ),
        (
            annotated(lambda c: c["annotations"][2].update(segmentation=[[1, 2, 3, 4, 5]])),
            "annotation 102 of .* has a polygon that is no list of x, y, x, y",
        ),
        (
            annotated(lambda c: c["annotations"][2].update(segmentation=[[1, 2, 3, "4"]])),
            "annotation 102 of .* holds what is no number",
        ),
        (
            annotated(lambda c: c["annotations"][3]["segmentation"].update(size=[40, 30])),
            r"annotation 103 of .* is of size \[40, 30\], but its image of \[30, 40\]",
        ),
        (
            annotated(lambda c: c["annotations"][3]["segmentation"].update(counts="0P")),
            "annotation 103 of .*: compressed run lengths are cut off",
        ),
        (
            annotated(lambda c: c["annotations"][3]["segmentation"]["counts"].append(9999)),
            r"annotation 103 of .*: run lengths sum up to \d+, or are negative; .* 1200 pixels",
        ),
        (
            lambda root: Image.new("RGB", (9, 8)).save(root / "images/val2017/000000000007.jpg"),
            r"7.jpg is 9x8 pixels .*, but .*val2017.json says 40x30 pixels",
        ),
        (
            lambda root: (root / "images/val2017/000000000007.jpg").write_bytes(b"\xff\xd8"),
            "7.jpg cannot be read as a picture",
        ),
    ],
)
def test_faults_are_named(tmp_path, damage, words):
    damage(write(tmp_path))
    with pytest.raises(DataError, match=words):
        load(tmp_path)[0]


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match=r"holds neither images/val2017 nor val2017"):
        load(tmp_path)
    with pytest.raises(DataError, match="split 'val' of coco is not one of train, validation"):
        load(tmp_path, "val")
    write(tmp_path, annotations=[])
    with pytest.raises(DataError, match=r"no picture of .* is left with empty 'drop_unannotated'"):
        load(tmp_path, empty="drop_unannotated")
    with pytest.raises(IndexError):
        load(tmp_path)[3]


def hash_of(labels):
    values = labels.to(torch.int32).numpy()
    return hashlib.blake2b(np.ascontiguousarray(values).tobytes(), digest_size=8).hexdigest()


def test_real_files_give_the_labels_of_the_reference_codes():
    reference = os.environ.get("SLOT_REFERENCE_DATA")
    if reference is None:
        pytest.skip("SLOT_REFERENCE_DATA names no folder of reference data")
    root = Path(reference) / "samples" / "coco"
    assert {split: len(images) for split, images in REFERENCE.items()} == {
        "train2017": 16,
        "val2017": 3,
    }
    for split, name in (("train", "train2017"), ("validation", "val2017")):
        own = load(root, split, **NATIVE)
        first = load(root, split, overlap="first", crowd="object", **NATIVE)
        slotdiffusion = load(root, split, preset="slotdiffusion", masks=True, empty="keep")
        dinosaur = load(root, split, preset="dinosaur", masks=True, relabel=False)
        assert len(own) == len(REFERENCE[name])
        for index, (identity, expected) in enumerate(REFERENCE[name].items()):
            ours, theirs, small, dense = (
                dataset[index] for dataset in (own, first, slotdiffusion, dinosaur)
            )
            assert ours["id"] == identity
            pixels = np.asarray(Image.open(root / f"images/{name}/{identity}.jpg").convert("RGB"))
            assert np.array_equal(ours["video"][0].permute(1, 2, 0).numpy(), pixels)
            assert expected == {
                "last": hash_of(ours["labels"]),
                "class_last": hash_of(ours["class_labels"]),
                "overlap": hash_of(ours["overlap"]),
                "first_with_crowds": hash_of(theirs["labels"]),
                "class_first_with_crowds": hash_of(theirs["class_labels"]),
                "overlap_with_crowds": hash_of(theirs["overlap"]),
                "slotdiffusion": hash_of(small["labels"]),
                "slotdiffusion_class": hash_of(small["class_labels"]),
                "slotdiffusion_overlap": hash_of(small["overlap"]),
                "dinosaur_class": hash_of(dense["class_labels"]),
            }
    train = load(root, "train", preset="slotdiffusion")
    assert len(train) == 14, "two of the sixteen have no annotation"
