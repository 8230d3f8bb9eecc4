"""Samples become one batch; what does not fit is named."""

# pyright: reportTypedDictNotRequiredAccess=false
# (a sample of `shapes` always has labels)

from typing import Any, cast

import pytest
import torch

from slot_data import DataError, Shapes, collate


def test_a_batch_of_videos():
    dataset = Shapes(num_frames=2, image_size=32)
    batch = collate([dataset[0], dataset[1], dataset[2]])
    assert batch["video"].shape == (3, 2, 3, 32, 32)
    assert batch["video"].dtype == torch.float32
    assert torch.equal((batch["video"][1] * 255).round().byte(), dataset[1]["video"])
    assert batch["video"].max() <= 1
    assert batch["labels"].dtype == torch.int64
    assert torch.equal(batch["labels"][2], dataset[2]["labels"].long())
    assert batch["id"] == ["train-0-000000", "train-0-000001", "train-0-000002"]


def test_labels_only_where_all_have_them():
    first, second = Shapes()[0], Shapes()[1]
    del second["labels"]
    assert "labels" not in collate([first, second])


def test_every_kind_of_annotation_is_batched_where_all_have_it():
    samples = [Shapes(image_size=32)[index] for index in range(2)]
    for number, sample in enumerate(samples):
        sample["class_labels"] = sample["labels"] + 1
        sample["void"] = sample["labels"] == 1
        sample["overlap"] = sample["labels"] == 2
        sample["scenario"], sample["outcome"] = "Drop", number == 1
    batch = collate(samples)
    assert batch["class_labels"].dtype == torch.int64
    assert torch.equal(batch["class_labels"], batch["labels"] + 1)
    assert batch["void"].dtype == batch["overlap"].dtype == torch.bool
    assert torch.equal(batch["overlap"], batch["labels"] == 2)
    assert batch["scenario"] == ["Drop", "Drop"]
    assert batch["outcome"].tolist() == [False, True]
    del samples[0]["void"], samples[1]["outcome"], samples[0]["scenario"]
    assert set(collate(samples)) == {"video", "id", "labels", "class_labels", "overlap"}


def test_depth_and_flow_are_batched():
    samples = [Shapes(image_size=32, num_frames=3)[index] for index in range(2)]
    for number, sample in enumerate(samples):
        sample["depth"] = torch.full((3, 32, 32), float(number))
        sample["flow"] = torch.full((3, 2, 32, 32), float(number))
    batch = collate(samples)
    assert batch["depth"].shape == (2, 3, 32, 32)
    assert batch["flow"].shape == (2, 3, 2, 32, 32)
    assert batch["flow"][1].eq(1).all()
    samples[1]["flow"] = samples[1]["flow"][:, :1]
    with pytest.raises(DataError, match=r"sample 'train-0-000001': flow of shape \(3, 1, 32, 32\)"):
        collate(samples)


def test_two_sizes_name_both_samples():
    samples = [Shapes()[0], Shapes()[1], Shapes(image_size=32, num_frames=2)[7]]
    with pytest.raises(DataError) as error:
        collate(samples)
    assert str(error.value) == (
        "samples 'train-0-000000' and 'train-0-000007' of one batch differ in size: "
        "1 frame of 64x64 and 2 frames of 32x32; crop or resize them alike"
    )


def test_labels_that_do_not_fit_name_their_sample():
    sample = Shapes()[0]
    sample["labels"] = sample["labels"][:, :60]
    with pytest.raises(DataError, match=r"'train-0-000000': labels of shape \(1, 60, 64\)"):
        collate([sample])


PICTURE = torch.zeros(3, 4, 5, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"id": 7}, "a sample has the keys video, id, labels and no text as its 'id'"),
        ({"video": None}, "sample 'a': the video is NoneType, expected a tensor of uint8 [time 3"),
        (
            {"video": PICTURE},
            "sample 'a': the video is a Tensor of torch.uint8 [3, 4, 5], exp",
        ),
        (
            {"video": PICTURE[None].float()},
            "torch.float32 [1, 3, 4, 5], expected a tensor",
        ),
        ({"video": PICTURE.movedim(0, -1)[None]}, "[1, 4, 5, 3], expected a tensor of uint8 [time"),
        ({"video": PICTURE[None].numpy()}, "a ndarray of uint8 [1, 3, 4, 5], expected a tensor"),
        ({"labels": torch.zeros(1, 4, 5)}, "'a': labels are a Tensor of torch.float32 [1, 4, 5]"),
        ({"labels": PICTURE[:1].numpy()}, "'a': labels are a ndarray of uint8 [1, 4, 5], expected"),
    ],
)
def test_what_is_no_sample_is_told_what_is_one(change: dict, sentence: str):
    sample: Any = {"video": PICTURE[None], "id": "a", "labels": PICTURE[:1]}
    assert collate([sample])["video"].shape == (1, 1, 3, 4, 5)
    with pytest.raises(DataError) as error:
        collate([sample | change])
    assert sentence in str(error.value)


def test_a_sample_without_pixels_or_slots_is_none():
    with pytest.raises(DataError, match="sample 'a' has no 'video'; it has id, labels"):
        collate([cast(Any, {"id": "a", "labels": PICTURE[:1]})])
