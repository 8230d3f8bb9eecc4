"""How a file's picture becomes a sample: each fit against PyTorch, Pillow or a case by hand."""

# pyright: reportTypedDictNotRequiredAccess=false
# (every sample made here has labels)

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from slot_data import DataError, Sample
from slot_data.framing import Framing, FramingOptions
from slot_data.sample import PIXEL_MAPS
from slot_data.transforms import size_by_shorter_side


def make(height, width, seed=0) -> Sample:
    bits = torch.Generator().manual_seed(seed)
    labels = torch.randint(1, 9, (2, height, width), generator=bits, dtype=torch.uint8)
    return {
        "video": torch.randint(256, (2, 3, height, width), generator=bits, dtype=torch.uint8),
        "labels": labels,
        "class_labels": labels * 2,
        "void": labels == 3,
        "overlap": labels == 4,
        "depth": torch.rand(2, height, width, generator=bits),
        "flow": torch.rand(2, 2, height, width, generator=bits),
        "id": "s",
    }


def framed(sample, **options):
    return Framing(**{"relabel": False, **options})(sample)


def test_the_options_are_the_fields():
    assert set(FramingOptions.__annotations__) == {f.name for f in dataclasses.fields(Framing)}


@pytest.mark.parametrize(
    ("fit", "shape"),
    [
        ("crop_first", (32, 32)),
        ("resize_first", (32, 32)),
        ("shorter_side", (32, 43)),
        ("stretch", (32, 32)),
        ("file", (60, 80)),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_each_fit_treats_every_map_alike(fit, shape, turned):
    sample = make(80, 60) if turned else make(60, 80)
    result = framed(sample, fit=fit, image_size=32)
    for name in PIXEL_MAPS:
        axes = (2, 2) if name == "flow" else (2,)
        assert result[name].shape == (*axes, *(shape[::-1] if turned else shape)), name
        assert result[name].dtype == sample[name].dtype
    assert result["video"].shape[-2:] == result["labels"].shape[-2:]
    assert torch.equal(result["class_labels"], result["labels"] * 2)
    assert torch.equal(result["void"], result["labels"] == 3)
    assert torch.equal(result["overlap"], result["labels"] == 4)


def test_stretch_loses_the_aspect_and_file_changes_nothing():
    sample = make(60, 80)
    stretched = framed(sample, fit="stretch", image_size=20, antialias=False)["video"]
    expected = F.interpolate(sample["video"].float(), (20, 20), mode="bilinear")
    assert (stretched - expected).abs().max() <= 0.5 + 1e-3
    assert torch.equal(framed(sample, fit="file")["video"], sample["video"])
    cut = framed(sample, fit="file", centre_crop=40)["video"]
    assert torch.equal(cut, sample["video"][..., 10:50, 20:60])


@pytest.mark.parametrize(
    ("rounding", "longer", "left"), [("nearest", 43, 5), ("torchvision", 42, 5)]
)
def test_resize_first_is_a_resize_and_a_crop(rounding, longer, left):
    sample = make(60, 80)
    result = framed(
        sample, fit="resize_first", image_size=32, rounding=rounding, interpolation="bicubic"
    )
    whole = F.interpolate(
        sample["video"].double(), (32, longer), mode="bicubic", antialias=True
    ).clamp(0, 255)
    assert (result["video"] - whole[..., left : left + 32]).abs().max() <= 0.5 + 1e-3


@pytest.mark.parametrize(
    ("height", "width", "nearest", "torchvision"),
    [
        (375, 500, (224, 299), (224, 298)),  # 298.67
        (500, 375, (299, 224), (298, 224)),
        (480, 640, (224, 299), (224, 298)),
        (224, 300, (224, 300), (224, 300)),
        (333, 500, (224, 336), (224, 336)),  # 336.3
    ],
)
def test_the_longer_side(height, width, nearest, torchvision):
    assert size_by_shorter_side(height, width, 224) == nearest
    assert size_by_shorter_side(height, width, 224, "torchvision") == torchvision


@pytest.mark.parametrize(
    ("width", "nearest", "torchvision"),
    [(8, 2, 2), (9, 2, 2), (11, 3, 4), (13, 4, 4)],  # margins of 4, 5, 7, 9 pixels
)
def test_odd_margins(width, nearest, torchvision):
    sample = make(4, width)
    for rounding, left in (("nearest", nearest), ("torchvision", torchvision)):
        cut = framed(sample, fit="file", centre_crop=4, rounding=rounding)
        assert torch.equal(cut["labels"], sample["labels"][..., left : left + 4])


def test_relabelling_from_zero_takes_an_object_for_the_background():
    sample = make(8, 8)
    kept = Framing(fit="file")(sample)
    assert kept["labels"].unique().tolist() == list(range(1, 9))
    assert kept["class_labels"].unique().tolist() == list(range(1, 9))
    lost = Framing(fit="file", relabel="from_zero")(sample)
    assert lost["labels"].unique().tolist() == list(range(8))
    assert torch.equal(lost["labels"] + 1, kept["labels"])
    sample["labels"] = sample["labels"] - 1
    both = (Framing(fit="file", relabel=how)(sample)["labels"] for how in (True, "from_zero"))
    assert torch.equal(*both)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"image_size": 0}, "image_size is 0, not at least 1"),
        ({"centre_crop": 9}, "sample 's' is 8x12: a centre crop of 9 does not fit"),
    ],
)
def test_bad_values_are_named(options, words):
    with pytest.raises(DataError, match=words):
        framed(make(8, 12), **options)
