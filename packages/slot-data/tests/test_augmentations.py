"""Augmentations: pure functions of (seed, epoch, id), with loader workers or without."""

# pyright: reportTypedDictNotRequiredAccess=false
# (a sample of `shapes` always has labels)

import pytest
import torch
from torch.utils.data import DataLoader

from slot_data import AugmentedDataset, DataError, Shapes, StepBatches, collate
from slot_data.augmentations import HorizontalFlip, RandomCrop, RandomSquare, augmentations_by_name
from slot_data.clips import RandomClip
from slot_data.raw_bits import AUGMENTATION, RawBits


def augmented(seed=0, **options):
    return AugmentedDataset(
        Shapes(num_samples=12, **options), [HorizontalFlip(), RandomCrop()], seed
    )


def equal(one, other):
    return one["id"] == other["id"] and all(
        torch.equal(one[key], other[key]) for key in ("video", "labels")
    )


def test_a_key_decides_the_sample():
    dataset = augmented()
    first = dataset[3, 5]
    dataset[0, 1]  # reading others in between makes no difference
    torch.manual_seed(1)
    assert equal(dataset[3, 5], first)
    assert equal(augmented()[3, 5], first)


def test_epoch_and_seed_change_the_sample():
    dataset, other = augmented(), augmented(seed=1)
    assert sum(not equal(dataset[0, i], dataset[1, i]) for i in range(12)) > 8
    assert sum(not equal(dataset[0, i], other[0, i]) for i in range(12)) > 8


def test_workers_and_resume_give_the_same_batches():
    def run(workers, start_step):
        sampler = StepBatches(12, 4, 0, 0, 1, start_step, 7)
        loader = DataLoader(
            augmented(), batch_sampler=sampler, num_workers=workers, collate_fn=collate
        )
        return list(loader)

    whole = run(0, 0)
    for workers, start_step in ((2, 0), (2, 4), (0, 4)):
        rest = run(workers, start_step)
        assert len(rest) == 7 - start_step
        assert all(equal(a, b) for a, b in zip(rest, whole[start_step:], strict=True))


def test_an_error_in_a_worker_is_one_sentence():
    dataset = AugmentedDataset(Shapes(num_samples=4), [RandomClip(3)], seed=0)
    loader = DataLoader(
        dataset,
        batch_sampler=StepBatches(4, 2, 0, 0, 1, 0, 1, shuffle=False),
        num_workers=1,
        collate_fn=collate,
    )
    with pytest.raises(DataError) as error:
        list(loader)
    assert str(error.value) == (
        "sample 'train-0-000000' has 1 frames; a clip of 3 frames 1 apart needs 3; lower num_frames"
    )


def test_about_half_are_flipped_and_labels_go_with_the_picture():
    plain = Shapes(num_samples=60)
    dataset = AugmentedDataset(plain, [HorizontalFlip()], seed=0)
    flips = 0
    for index in range(60):
        sample, before = dataset[0, index], plain[index]
        if not torch.equal(sample["video"], before["video"]):
            assert torch.equal(sample["video"].flip(-1), before["video"])
            assert torch.equal(sample["labels"].flip(-1), before["labels"])
            flips += 1
    assert 18 < flips < 42


def test_a_random_crop_is_one_window_for_all_frames():
    """On a video that never changes, every frame and label map must come out alike."""
    still = Shapes(num_samples=8)
    crops = set()
    for index in range(8):
        sample = still[index]
        sample["video"] = sample["video"].expand(4, -1, -1, -1)
        sample["labels"] = sample["labels"].expand(4, -1, -1)
        cropped = RandomCrop(50)(sample, RawBits(AUGMENTATION, 0, index))
        assert cropped["video"].shape == sample["video"].shape
        assert (cropped["video"] == cropped["video"][:1]).all()
        assert (cropped["labels"] == cropped["labels"][:1]).all()
        crops.add(cropped["video"].numpy().tobytes())
    assert len(crops) == 8


def test_crop_of_a_hundred_percent_is_the_picture():
    sample = Shapes()[0]
    assert equal(RandomCrop(100)(sample, RawBits(AUGMENTATION, 0, 0)), sample)


def test_augmentations_by_name():
    assert augmentations_by_name(["random_crop", "horizontal_flip"]) == [
        RandomCrop(),
        HorizontalFlip(),
    ]
    with pytest.raises(DataError, match="'flip' is not one of horizontal_flip, random_crop"):
        augmentations_by_name(["flip"])


def test_bad_settings_are_named():
    with pytest.raises(DataError, match="smallest_percent is 0, not from 1 to 100"):
        RandomCrop(0)
    with pytest.raises(DataError, match="seed is -1"):
        augmented(seed=-1)


def test_random_squares_reach_every_place_of_the_longer_side():
    whole = Shapes()[0]
    for axis, (height, width) in ((2, (60, 64)), (1, (64, 60))):
        sample = whole.copy()
        sample["video"] = whole["video"][..., :height, :width]
        sample["labels"] = whole["labels"][..., :height, :width]
        squares = [RandomSquare()(sample, RawBits(AUGMENTATION, 0, key)) for key in range(40)]
        starts = set()
        for square in squares:
            places = [
                start
                for start in range(5)
                if torch.equal(square["labels"], sample["labels"].narrow(axis, start, 60))
                and torch.equal(square["video"], sample["video"].narrow(axis + 1, start, 60))
            ]
            assert places
            starts.add(places[0])
        assert starts == set(range(5))


def test_a_name_may_come_with_settings():
    (clip,) = augmentations_by_name([{"random_clip": {"num_frames": 3, "stride": 2}}])
    dataset = AugmentedDataset(Shapes(num_samples=4, num_frames=9), [clip], seed=0)
    videos = [dataset[epoch, 1]["video"] for epoch in range(8)]
    whole = Shapes(num_samples=4, num_frames=9)[1]["video"]
    starts = [[s for s in range(5) if torch.equal(video, whole[s : s + 5 : 2])] for video in videos]
    assert all(len(found) == 1 for found in starts)
    assert len({found[0] for found in starts}) > 1  # another one in another epoch
    assert augmentations_by_name(["random_crop", {"random_crop": {"smallest_percent": 50}}]) == [
        RandomCrop(),
        RandomCrop(50),
    ]


@pytest.mark.parametrize(
    ("named", "sentence"),
    [
        ("random_clip", "augmentation 'random_clip' needs num_frames"),
        ({"random_clip": {"stride": 2}}, "augmentation 'random_clip' needs num_frames"),
        ({"random_clip": {"frames": 2}}, "has no setting 'frames'; it has num_frames, stride"),
        ({"horizontal_flip": {"p": 1}}, "'horizontal_flip' has no setting 'p'; it has none"),
        ({"random_clip": {"num_frames": "six"}}, "num_frames is 'six', not a whole number"),
        ({"random_clip": {"num_frames": 0}}, "num_frames 0 and stride 1 must be at least 1"),
        ({"cut": {}}, "augmentation 'cut' is not one of horizontal_flip, random_crop"),
        ({"random_clip": {}, "random_crop": {}}, "is not one name with its settings"),
        ({"random_clip": 3}, "is not one name with its settings"),
    ],
)
def test_settings_that_cannot_be_used_are_one_sentence(named, sentence):
    with pytest.raises(DataError, match=sentence):
        augmentations_by_name([named])


def test_random_crops_begin_anywhere():
    rows = torch.arange(16, dtype=torch.uint8)
    video = torch.stack([rows[:, None].expand(16, 16), rows.expand(16, 16), rows.expand(16, 16)])
    corners = set()
    for key in range(40):
        bits = RawBits(AUGMENTATION, 0, key)
        made = RandomCrop(50)({"video": video[None], "id": "s"}, bits)["video"][0]
        corners.add((int(made[0].min()) > 2, int(made[1].min()) > 2))
    assert len(corners) == 4  # above or below, left or right
