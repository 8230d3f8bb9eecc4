"""The embedded dataset: the same everywhere, labels that agree with the pictures, objects that
keep their identity, and a textured level that colours alone do not solve."""

# pyright: reportTypedDictNotRequiredAccess=false
# (a sample of `shapes` always has labels)

import hashlib
import subprocess
import sys

import numpy as np
import pytest
import torch

from slot_data import DataError, Shapes
from slot_data.outlines import OUTLINES, outline
from slot_data.raw_bits import SCENES, RawBits
from slot_data.textures import TEXTURES, texture

# SHA-256 over the first eight samples. A change here changes what every published number on
# `shapes` was measured on: it needs a new dataset name, not a new hash.
HASHES = {
    ("plain", 1): "0897b17bf31ed75e930ee46597bbc854ac76cb396740d512d38099c92957850a",
    ("plain", 5): "0159aa49cf56852a36b89284c48aa05c56bcffdbb3fdf3ae99fafca61a5981ce",
    ("textured", 1): "d629b672a8cbc544cf49341587b87aee23edd5c6db1ab51f9d9f9e786f8f9bb2",
    ("textured", 5): "57e9f37cd38bd7e64265ee4c9343bf993834d5ac709ee362bc469417cedaa7e0",
}
PRINT_HASH = """
import hashlib
from slot_data import Shapes
dataset = Shapes("test", image_size=48, num_frames=2, seed=7, level="textured")
print(hashlib.sha256(dataset[3]["video"].numpy().tobytes()).hexdigest())
"""


def digest(dataset, indices):
    total = hashlib.sha256()
    for index in indices:
        sample = dataset[index]
        total.update(sample["id"].encode())
        total.update(sample["video"].numpy().tobytes())
        total.update(sample["labels"].numpy().tobytes())
    return total.hexdigest()


@pytest.mark.parametrize(("level", "num_frames"), HASHES)
def test_first_samples_are_the_committed_ones(level, num_frames):
    dataset = Shapes(level=level, num_frames=num_frames)
    assert digest(dataset, range(8)) == HASHES[level, num_frames]


@pytest.mark.slow
def test_another_process_draws_the_same():
    command = [sys.executable, "-c", PRINT_HASH]
    there = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    dataset = Shapes("test", image_size=48, num_frames=2, seed=7, level="textured")
    dataset[0]  # what was drawn before makes no difference
    assert there == hashlib.sha256(dataset[3]["video"].numpy().tobytes()).hexdigest()


def test_types_and_shapes():
    sample = Shapes(num_frames=3, image_size=40)[5]
    assert sample["video"].shape == (3, 3, 40, 40)
    assert sample["video"].dtype == torch.uint8
    assert sample["labels"].shape == (3, 40, 40)
    assert sample["labels"].dtype == torch.uint8
    assert sample["id"] == "train-0-000005"


@pytest.mark.parametrize("level", ["plain", "textured"])
def test_a_picture_is_the_first_frame_of_its_video(level):
    picture, video = Shapes(level=level)[11], Shapes(level=level, num_frames=4)[11]
    assert torch.equal(picture["video"][0], video["video"][0])
    assert torch.equal(picture["labels"][0], video["labels"][0])
    assert not torch.equal(video["labels"][0], video["labels"][3])


def test_both_levels_draw_the_same_scene():
    plain, textured = Shapes(num_frames=3)[4], Shapes(num_frames=3, level="textured")[4]
    assert torch.equal(plain["labels"], textured["labels"])
    assert not torch.equal(plain["video"], textured["video"])


@pytest.mark.parametrize("size", [32, 64, 96])
def test_every_object_of_a_picture_shows_most_of_itself(size):
    """Three quarters of the smallest outline: a triangle has about half of its square."""
    dataset = Shapes(image_size=size)
    smallest = min(np.count_nonzero(outline(kind, size // 9)) for kind in OUTLINES)
    counts = []
    for index in range(200):
        pixels = np.bincount(dataset[index]["labels"].flatten().numpy())
        assert pixels.min() >= 0.75 * smallest
        counts.append(len(pixels) - 1)
    assert set(counts) == {3, 4, 5, 6}


def test_objects_hide_one_another():
    """A nearer object lies inside the box of a farther one's visible part."""
    dataset = Shapes()
    hidden = 0
    for index in range(100):
        labels = dataset[index]["labels"][0].numpy()
        for number in range(1, labels.max() + 1):
            rows, columns = np.nonzero(labels == number)
            box = labels[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
            hidden += bool((box > number).any())
    assert hidden > 40


def test_plain_colours_are_one_per_label_and_distinct():
    dataset = Shapes(num_frames=3)
    for index in range(30):
        sample = dataset[index]
        pixels = sample["video"].permute(0, 2, 3, 1)[sample["labels"] >= 0]
        labels = sample["labels"].flatten()
        colours = []
        for number in labels.unique():
            (colour,) = pixels[labels == number].unique(dim=0)
            colours.append(tuple(colour.tolist()))
        assert len(set(colours)) == len(colours)
        assert max(colours[0]) < 100, "the ground is dark"


def test_identity_and_bounces_in_a_long_video():
    """An object keeps its colour for 200 frames, moves at most 3 pixels a frame, stays inside,
    and comes back from the borders."""
    sample = Shapes(num_frames=200)[2]
    labels, video = sample["labels"], sample["video"].permute(0, 2, 3, 1)
    for number in range(1, int(labels.max()) + 1):
        assert len(video[labels == number].unique(dim=0)) == 1
    front = labels == labels.max()
    places = torch.stack([mask.nonzero().float().mean(0) for mask in front])
    steps = places.diff(dim=0)
    assert (front.flatten(1).sum(1) == front[0].sum()).all(), "the front object is never cut off"
    assert steps.abs().max() <= 3
    turns = (steps[1:].sign() * steps[:-1].sign() < 0).sum()
    assert 2 <= turns < 50


def test_an_object_may_hide_completely_in_a_video():
    dataset = Shapes(num_frames=40)
    hidden = 0
    for index in range(40):
        labels = dataset[index]["labels"]
        objects = int(labels[0].max())
        hidden += sum(len(frame.unique()) < objects + 1 for frame in labels)
    assert hidden > 0


def test_speed_leaves_out_the_frames_between():
    slow, fast = Shapes(num_frames=7)[3], Shapes(num_frames=3, speed=3)[3]
    assert torch.equal(fast["video"], slow["video"][::3])
    assert torch.equal(fast["labels"], slow["labels"][::3])


def test_half_of_the_questions_are_answered_with_yes():
    dataset = Shapes("test", num_frames=8, max_objects=3, min_objects=2, outcome_from=3, speed=2)
    outcomes = [dataset[index]["outcome"] for index in range(40)]
    assert outcomes == [False, True] * 20
    assert "outcome" not in Shapes()[0]


def test_the_answer_is_what_the_masks_say():
    """Where two touch, the front one hides a part of the other, which then shows fewer pixels."""
    dataset = Shapes("test", num_frames=8, max_objects=3, min_objects=2, outcome_from=3, speed=2)
    for index in range(40):
        sample = dataset[index]
        areas = (torch.nn.functional.one_hot(sample["labels"].long()).flatten(1, 2).sum(1))[3:, 1:]
        whole = [int(thing.inside.sum()) for thing in things_of(dataset, index)]
        hidden = (areas < torch.tensor(whole)).any()
        assert bool(hidden) == sample["outcome"], sample["id"]


def things_of(dataset, index):
    """The objects of a sample, drawn once more."""
    bits = RawBits(SCENES, dataset.seed, dataset._split_code + index)
    return dataset._things(bits, index % 2 == 1)


def test_a_question_that_has_one_answer_alone_is_told():
    alone = Shapes(num_frames=2, min_objects=1, max_objects=1, outcome_from=0)
    assert alone[0]["outcome"] is False
    with pytest.raises(DataError, match=r"in 1000 scenes .* no objects touch from frame 0 to 1;"):
        alone[1]


def test_splits_and_seeds_share_no_picture():
    pictures = set()
    for split in ("train", "validation", "test"):
        for seed in (0, 1):
            dataset = Shapes(split, num_samples=50, seed=seed)
            pictures |= {sample["video"].numpy().tobytes() for sample in dataset}
    assert len(pictures) == 300


def test_a_shorter_dataset_is_a_prefix():
    assert digest(Shapes(num_samples=3), range(3)) == digest(Shapes(num_samples=900), range(3))


def test_default_lengths_and_ends():
    lengths = [len(Shapes(split)) for split in ("train", "validation", "test")]
    assert lengths == [50_000, 512, 512]
    with pytest.raises(IndexError):
        Shapes(num_samples=3)[3]
    with pytest.raises(IndexError):
        Shapes(num_samples=3)[-1]


@pytest.mark.parametrize("level", ["plain", "textured"])
def test_an_object_can_be_left_out(level):
    """Seen is what is behind it; all else stays, in every frame."""
    data = Shapes(level=level, num_frames=3)
    whole = data[4]
    count = int(whole["labels"].max())
    for label in range(1, count + 1):
        less = data.without(4, label)
        gone = whole["labels"] == label
        assert not (less["labels"] == label).any()
        assert torch.equal(less["labels"][~gone], whole["labels"][~gone])
        changed = (less["video"] != whole["video"]).any(dim=1)
        assert not (changed & ~gone).any()
        assert changed[gone].float().mean() > 0.3
    with pytest.raises(
        DataError, match=rf"sample 4 of shapes has the objects 1 to {count}, and no"
    ):
        data.without(4, count + 1)


def test_as_many_objects_as_hues_in_the_smallest_picture():
    dataset = Shapes(image_size=32, min_objects=8, max_objects=8)
    assert all(int(dataset[index]["labels"].max()) == 8 for index in range(20))


@pytest.mark.parametrize("kind", range(len(TEXTURES)))
def test_textures_use_both_tones_evenly(kind):
    for period in (4, 7, 16):
        bit = texture(kind, 112, 112, period, phase=3, salt=5)
        assert set(np.unique(bit)) == {0, 1}
        assert 0.25 <= bit.mean() <= 0.75, TEXTURES[kind]


def test_every_region_of_a_textured_picture_has_two_of_three_colours():
    dataset = Shapes(level="textured")
    for index in range(30):
        sample = dataset[index]
        pixels = sample["video"][0].permute(1, 2, 0)
        assert len(pixels.reshape(-1, 3).unique(dim=0)) <= 3
        ground = pixels[sample["labels"][0] == 0].unique(dim=0)
        assert len(ground) == 2


def colour_clusters(colours, number):
    """k-means (Lloyd) with centres spread by farthest-first traversal."""
    centres = colours[:1]
    for _ in range(number - 1):
        distance = ((colours[:, None] - centres[None]) ** 2).sum(2).min(1)
        centres = np.concatenate([centres, colours[distance.argmax()][None]])
    for _ in range(10):
        nearest = ((colours[:, None] - centres[None]) ** 2).sum(2).argmin(1)
        for cluster in np.unique(nearest):
            centres[cluster] = colours[nearest == cluster].mean(0)
    return nearest


def adjusted_rand(true, predicted):
    """Hubert and Arabie (1985), equation 5."""
    table = np.zeros((true.max() + 1, predicted.max() + 1))
    np.add.at(table, (true, predicted), 1)
    pairs = [(part * (part - 1)).sum() / 2 for part in (table, table.sum(1), table.sum(0))]
    expected = pairs[1] * pairs[2] / (len(true) * (len(true) - 1) / 2)
    return (pairs[0] - expected) / ((pairs[1] + pairs[2]) / 2 - expected)


@pytest.mark.parametrize(("level", "low", "high"), [("plain", 0.95, 1), ("textured", -0.1, 0.3)])
def test_clustering_colours_solves_plain_only(level, low, high):
    dataset = Shapes("validation", level=level)
    scores = []
    for index in range(40):
        sample = dataset[index]
        colours = sample["video"][0].permute(1, 2, 0).reshape(-1, 3).numpy().astype(float)
        true = sample["labels"][0].flatten().numpy().astype(int)
        clusters = colour_clusters(colours, true.max() + 1)
        scores.append(adjusted_rand(true[true > 0], clusters[true > 0]))
    assert low <= np.mean(scores) <= high


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"split": "val"}, "split 'val' of shapes is not one of train, validation, test"),
        ({"level": "hard"}, "level 'hard' of shapes is not one of plain, textured"),
        ({"image_size": 31}, "image_size of shapes is 31, not an integer from 32"),
        ({"image_size": 2000}, "image_size of shapes is 2000, not an integer from 32 to 1024"),
        ({"num_frames": 0}, "num_frames of shapes is 0"),
        ({"num_samples": 0}, "num_samples of shapes is 0"),
        ({"seed": -1}, "seed of shapes is -1"),
        ({"max_objects": 9}, "max_objects of shapes is 9, not an integer from 1 to 8"),
        ({"speed": 0}, "speed of shapes is 0, not an integer from 1 to 100"),
        ({"outcome_from": 1}, "outcome_from of shapes is 1, not an integer from 0 to 0"),
        ({"min_objects": 7}, "min_objects of shapes is 7, not an integer from 1 to 6"),
    ],
)
def test_bad_options_are_named(options, words):
    with pytest.raises(DataError) as error:
        Shapes(**options)
    assert words in str(error.value)
