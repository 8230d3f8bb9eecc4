"""Which frames make a clip."""

import pytest
import torch

from slot_data import AugmentedDataset, DataError, Sample, Shapes
from slot_data.clips import ClipChoice, RandomClip, clip_frames, first_frames, num_clips


def numbered(length) -> Sample:
    """A video whose pixels are the number of their frame."""
    frame = torch.arange(length, dtype=torch.uint8)
    return {
        "video": frame[:, None, None, None].expand(-1, 3, 2, 2),
        "labels": frame[:, None, None].expand(-1, 2, 2),
        "id": "v",
    }


def frames_of(sample):
    numbers = sample["video"][:, 0, 0, 0].tolist()
    assert sample["labels"][:, 0, 0].tolist() == numbers
    return numbers


def test_first_and_strided_frames():
    assert frames_of(first_frames(numbered(9), 3)) == [0, 1, 2]
    assert frames_of(first_frames(numbered(9), 3, stride=4)) == [0, 4, 8]
    assert list(clip_frames(2, 3, 2)) == [2, 4, 6]


@pytest.mark.parametrize(
    ("length", "num_frames", "stride", "clips"),
    [(24, 3, 1, 22), (24, 24, 1, 1), (5, 3, 2, 1), (6, 3, 2, 2), (4, 3, 2, 0), (2, 3, 1, 0)],
)
def test_number_of_clips(length, num_frames, stride, clips):
    assert num_clips(length, num_frames, stride) == clips
    if clips:
        assert clip_frames(clips - 1, num_frames, stride)[-1] == length - 1


@pytest.mark.parametrize(
    ("clips", "length", "starts"),
    [
        ("first", 13, [0]),
        ("every", 7, [0, 1, 2]),
        ("apart", 13, [0, 1, 6, 7]),  # 0 2 4, 1 3 5, 6 8 10, 7 9 11; 12 is left over
        ("apart", 5, [0]),
    ],
)
def test_which_clips_are_samples(clips, length, starts):
    choice = ClipChoice(3, 2, clips)
    assert choice.count("video v", length) == len(starts)
    clips = [choice.frames(number) for number in range(choice.count("video v", length))]
    assert clips == [range(start, start + 6, 2) for start in starts]
    used = [number for frames in clips for number in frames]
    assert max(used) < length
    if clips == "apart":
        assert len(set(used)) == len(used)


def test_bad_choices_of_clips_are_named():
    with pytest.raises(DataError, match="num_frames 0 and stride 1 must be at least 1"):
        ClipChoice(0, 1, "first")
    with pytest.raises(
        DataError,
        match="video v has 4 frames; a clip of 3 frames 2 apart needs 5; lower num_frames or st",
    ):
        ClipChoice(3, 2, "apart").count("video v", 4)


def test_a_video_that_is_too_short_is_named():
    words = "sample 'v' has 4 frames; a clip of 3 frames 2 apart needs 5"
    with pytest.raises(DataError, match=words):
        first_frames(numbered(4), 3, stride=2)


def test_random_clips_reach_every_start_and_depend_on_the_key():
    class Videos:
        def __len__(self):
            return 1

        def __getitem__(self, index: int, /) -> Sample:
            return numbered(6)

    dataset = AugmentedDataset(Videos(), [RandomClip(3, stride=2)], seed=0)
    clips = [frames_of(dataset[epoch, 0]) for epoch in range(20)]
    assert {tuple(clip) for clip in clips} == {(0, 2, 4), (1, 3, 5)}
    assert clips == [frames_of(dataset[epoch, 0]) for epoch in range(20)]


def test_a_random_clip_of_shapes_is_part_of_its_video():
    video = Shapes(num_frames=9)[1]
    dataset = AugmentedDataset(Shapes(num_frames=9), [RandomClip(4)], seed=0)
    clip = dataset[0, 1]["video"]
    starts = [s for s in range(6) if torch.equal(clip, video["video"][s : s + 4])]
    assert len(starts) == 1
