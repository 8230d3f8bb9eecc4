"""Cropping, resizing and relabelling, against PyTorch, Pillow and cases worked by hand."""

# pyright: reportTypedDictNotRequiredAccess=false
# (every sample made here has labels)

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from slot_data import DataError, Sample
from slot_data.transforms import (
    centre_crop,
    crop,
    horizontal_flip,
    nearest_places,
    relabel,
    resize,
)


def make(frames=2, height=6, width=9, seed=0) -> Sample:
    bits = torch.Generator().manual_seed(seed)
    return {
        "video": torch.randint(256, (frames, 3, height, width), generator=bits, dtype=torch.uint8),
        "labels": torch.randint(5, (frames, height, width), generator=bits, dtype=torch.uint8),
        "id": "s",
    }


def unlabelled() -> Sample:
    sample = make()
    del sample["labels"]
    return sample


def test_nothing_changes_the_sample_it_is_given():
    sample, before = make(), make()
    for change in (
        lambda s: crop(s, 1, 1, 2, 2),
        lambda s: centre_crop(s, 4),
        lambda s: resize(s, 5),
        relabel,
        horizontal_flip,
    ):
        change(sample)
        assert torch.equal(sample["video"], before["video"])
        assert torch.equal(sample["labels"], before["labels"])


def test_centre_crop_takes_the_middle_of_every_frame():
    sample = make(height=6, width=9)
    cropped = centre_crop(sample, 4)
    assert torch.equal(cropped["video"], sample["video"][:, :, 1:5, 2:6])
    assert torch.equal(cropped["labels"], sample["labels"][:, 1:5, 2:6])
    assert centre_crop(sample, None)["video"].shape == (2, 3, 6, 6)
    assert "labels" not in centre_crop(unlabelled(), 4)


@pytest.mark.parametrize("size", [7, 0])
def test_a_crop_that_does_not_fit_names_the_sample(size):
    with pytest.raises(DataError, match=f"sample 's' is 6x9: a centre crop of {size} does not fit"):
        centre_crop(make(), size)


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize(("old", "new"), [(192, 128), (64, 128), (50, 33)])
def test_pictures_agree_with_pytorch(antialias, old, new):
    sample = make(1, old, old)
    expected = F.interpolate(
        sample["video"].double(), (new, new), mode="bilinear", antialias=antialias
    )
    pixels = resize(sample, new, antialias)["video"]
    assert pixels.dtype == torch.uint8
    assert (pixels.double() - expected).abs().max() <= 0.5 + 1e-3


def test_antialiased_pictures_agree_with_pillow():
    sample = make(1, 192, 192)
    picture = Image.fromarray(sample["video"][0].permute(1, 2, 0).numpy())
    expected = np.asarray(picture.resize((128, 128), Image.Resampling.BILINEAR)).astype(int)
    pixels = resize(sample, 128)["video"][0].permute(1, 2, 0).numpy().astype(int)
    assert abs(pixels - expected).max() <= 1, "Pillow rounds between its two passes"


# On 168 -> 320, 182 -> 299 and 294 -> 175 a new place falls on the border between two old ones.
@pytest.mark.parametrize(
    ("old", "new"),
    [(192, 128), (240, 64), (17, 40), (128, 128), (168, 320), (182, 299), (294, 175)],
)
def test_labels_agree_with_both_nearest_rules(old, new):
    sample = make(1, old, old)
    for rule in ("nearest", "nearest-exact"):
        expected = F.interpolate(sample["labels"][None].float(), (new, new), mode=rule)[0]
        assert torch.equal(resize(sample, new, label_resize=rule)["labels"].float(), expected)
    if (old, new) in ((182, 299), (294, 175)):
        return  # Pillow adds the scale up, so its borders are others
    pillow = Image.fromarray(sample["labels"][0].numpy())
    exact = np.asarray(pillow.resize((new, new), Image.Resampling.NEAREST))
    assert np.array_equal(resize(sample, new)["labels"][0].numpy(), exact)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [  # cv2.resize of arange(old) with INTER_NEAREST, OpenCV 5.0
        (6, 4, [0, 1, 3, 4]),
        (4, 6, [0, 0, 1, 2, 2, 3]),
        (10, 10, list(range(10))),
    ],
)
def test_labels_by_the_rule_of_opencv(old, new, expected):
    assert nearest_places(old, new, "opencv").tolist() == expected


def test_where_opencv_falls_to_the_other_side():
    """At i * 144 / 224 = an integer, OpenCV 5.0 sometimes takes the place before it."""
    exact = torch.arange(224) * 144 // 224
    found = nearest_places(144, 224, "opencv")
    differing = torch.nonzero(exact != found).flatten().tolist()
    assert differing == [42, 70, 84, 98, 126, 140, 154, 168, 182, 196]
    assert (exact - found).unique().tolist() == [0, 1]


def test_the_two_rules_differ_on_clevrtex_sizes():
    labels = [resize(make(1, 192, 192), 128, label_resize=r) for r in ("nearest", "nearest-exact")]
    assert not torch.equal(labels[0]["labels"], labels[1]["labels"])


def test_resizing_to_a_rectangle_and_to_the_same_size():
    assert resize(make(), (3, 12))["video"].shape == (2, 3, 3, 12)
    assert resize(make(), (3, 12))["labels"].shape == (2, 3, 12)
    assert torch.equal(resize(make(), (6, 9))["video"], make()["video"])
    assert "labels" not in resize(unlabelled(), 4)


def test_bad_sizes_and_rules_are_named():
    with pytest.raises(DataError, match="size 0x0 is not at least 1x1"):
        resize(make(), 0)


def with_labels(rows):
    sample = make(len(rows), 1, len(rows[0]))
    sample["labels"] = torch.tensor(rows, dtype=torch.int32)[:, None]
    return sample


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ([[0, 3, 7]], [[0, 1, 2]]),
        ([[0, 1, 2]], [[0, 1, 2]]),
        ([[5, 3, 7]], [[2, 1, 3]]),  # no background left: 0 is still kept for it
        ([[0, 9], [4, 9], [0, 4]], [[0, 2], [1, 2], [0, 1]]),  # one numbering for the whole clip
        ([[0, 0]], [[0, 0]]),
        ([[0, 70000]], [[0, 1]]),
    ],
)
def test_relabelling_by_hand(old, new):
    changed = relabel(with_labels(old))["labels"]
    assert changed[:, 0].tolist() == new
    assert changed.dtype == torch.uint8


def test_relabelling_many_objects_and_none():
    changed = relabel(with_labels([list(range(0, 900, 3))]))["labels"]
    assert changed.flatten().tolist() == list(range(300))
    assert "labels" not in relabel(unlabelled())


def test_flip():
    flipped = horizontal_flip(make())
    assert torch.equal(flipped["video"], make()["video"].flip(3))
    assert torch.equal(flipped["labels"], make()["labels"].flip(2))


def moving_right(height=4, width=6) -> Sample:
    """A ramp that moves 3 pixels down and 2 to the right between frames; depth is the ramp."""
    sample = make(height=height, width=width)
    ramp = torch.arange(width, dtype=torch.float32).expand(2, height, width)
    sample["depth"] = ramp.clone()
    sample["flow"] = torch.tensor([3.0, 2.0])[:, None, None].repeat(2, 1, height, width)
    return sample


def test_flow_counts_the_pixels_of_the_new_size():
    resized = resize(moving_right(4, 6), (2, 12), antialias=False)
    assert resized["flow"].shape == (2, 2, 2, 12)
    assert torch.equal(resized["flow"][:, 0], torch.full((2, 2, 12), 1.5))
    assert torch.equal(resized["flow"][:, 1], torch.full((2, 2, 12), 4.0))


def test_depth_is_resized_like_the_picture():
    resized = resize(moving_right(4, 6), (4, 12), antialias=False)
    between = [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.25, 3.75, 4.25, 4.75, 5]
    assert torch.allclose(resized["depth"], torch.tensor(between).expand(2, 4, 12))


def test_a_mirrored_video_moves_the_other_way():
    sample = moving_right()
    flipped = horizontal_flip(sample)
    assert torch.equal(flipped["flow"], torch.tensor([3.0, -2.0])[:, None, None].expand(2, 2, 4, 6))
    assert torch.equal(flipped["depth"], sample["depth"].flip(-1))
    assert (sample["flow"][:, 1] == 2).all(), "the given one is not changed"


def test_flow_is_cut_with_the_picture():
    sample = moving_right()
    sample["flow"][:, :, 1, 2] = 9
    cut = crop(sample, 1, 2, 2, 3)
    assert torch.equal(cut["flow"], sample["flow"][:, :, 1:3, 2:5])
    assert cut["flow"][0, 0, 0, 0] == 9


def test_bicubic_overshoots_stay_white_and_black():
    sample = make(height=6, width=8)
    sample["video"] = torch.where(torch.arange(8) < 4, 0, 255).to(torch.uint8).expand(2, 3, 6, 8)
    made = resize(sample, (12, 16), interpolation="bicubic")["video"]
    assert made[..., :6].max() == 0
    assert made[..., 10:].min() == 255  # 257 would come round to 1
