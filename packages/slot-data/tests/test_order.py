"""The order of samples: complete, and the same for every number of processes and micro-batches."""

import hashlib
from itertools import chain
from typing import Any

import numpy as np
import pytest

from slot_data import DataError, StepBatches
from slot_data.order import permutation, sample_at
from slot_data.raw_bits import AUGMENTATION, ORDER, SCENES, RawBits, key_of


def batches(**changes):
    options: dict[str, Any] = {
        "num_samples": 10,
        "batch_size": 4,
        "seed": 3,
        "rank": 0,
        "world_size": 1,
        "start_step": 0,
        "num_steps": 12,
    }
    options.update(changes)
    return StepBatches(**options)


def joined(lists):
    return list(chain.from_iterable(lists))


def steps_of(world_size, accumulation, **changes):
    """What each step sees: the keys of all its micro-batches and processes."""
    ranks = [
        list(batches(rank=rank, world_size=world_size, accumulation=accumulation, **changes))
        for rank in range(world_size)
    ]
    micros = [joined(same_time) for same_time in zip(*ranks, strict=True)]
    return [
        joined(micros[first : first + accumulation])
        for first in range(0, len(micros), accumulation)
    ]


def test_raw_bits_are_philox_and_purposes_do_not_overlap():
    raw = np.random.Philox(key=np.array([3, 4], np.uint64)).random_raw(64)
    streams = []
    for purpose in (SCENES, ORDER, AUGMENTATION):
        bits = RawBits(purpose, 3, 4)
        streams.append([bits.below(2**64) for _ in range(64)])
    assert streams[0] == raw[::-1].tolist(), "a block is read from its end"
    assert len(set(joined(streams))) == 3 * 64
    assert sorted(RawBits(SCENES, 1, 2).choose(9, 9)) == list(range(9))
    assert {RawBits(SCENES, 1, n).between(-1, 1) for n in range(50)} == {-1, 0, 1}
    assert key_of("0/a") == 0x1F404C7F32E8BB7


def test_permutations_are_the_committed_ones():
    """A change here makes every run that resumes see other samples than it should."""
    text = str([permutation(seed, epoch, 97).tolist() for seed in (0, 5) for epoch in (0, 1)])
    assert (
        hashlib.sha256(text.encode()).hexdigest()
        == "4b67c03ea203514d9f844935021e61689580f488ad57d7e768a50e1a49424b6d"
    )


def test_an_epoch_is_a_permutation_of_its_own():
    orders = [permutation(0, epoch, 1000) for epoch in range(3)]
    assert all(sorted(order) == list(range(1000)) for order in orders)
    assert np.mean(orders[0] == orders[1]) < 0.02
    assert np.mean(orders[0] == permutation(1, 0, 1000)) < 0.02
    assert [sample_at(0, 2, place, 1000) for place in range(1000)] == orders[2].tolist()


def test_steps_walk_through_the_epochs_without_loss():
    keys = joined(batches(num_steps=10))
    assert [epoch for epoch, _ in keys] == [0] * 10 + [1] * 10 + [2] * 10 + [3] * 10
    for epoch in range(4):
        assert sorted(index for e, index in keys if e == epoch) == list(range(10))


def test_without_shuffling_the_order_is_the_datasets():
    assert list(batches(shuffle=False, num_steps=3)) == [
        [(0, 0), (0, 1), (0, 2), (0, 3)],
        [(0, 4), (0, 5), (0, 6), (0, 7)],
        [(0, 8), (0, 9), (1, 0), (1, 1)],
    ]


@pytest.mark.parametrize(("world_size", "accumulation"), [(1, 2), (2, 1), (2, 2), (4, 1), (1, 4)])
def test_a_step_sees_the_same_samples_however_it_is_split(world_size, accumulation):
    assert steps_of(world_size, accumulation) == list(batches())


def test_a_process_knows_how_many_samples_it_takes_at_once():
    own = batches(rank=1, world_size=2, accumulation=2, batch_size=12)
    assert {len(keys) for keys in own} == {own.samples_at_once} == {3}


def test_ranks_are_disjoint_and_complete():
    """Two epochs of 10 samples over 5 processes: every (epoch, index) exactly once."""
    seen = [
        key
        for rank in range(5)
        for batch in batches(batch_size=5, world_size=5, rank=rank, num_steps=4)
        for key in batch
    ]
    assert sorted(seen) == [(epoch, index) for epoch in (0, 1) for index in range(10)]


@pytest.mark.parametrize("start_step", [0, 1, 2, 3, 7, 12])
def test_resuming_is_a_slice_of_the_uninterrupted_run(start_step):
    for world_size, accumulation in ((1, 1), (2, 2)):
        options = {"world_size": world_size, "accumulation": accumulation, "rank": world_size - 1}
        whole = list(batches(**options))
        rest = batches(start_step=start_step, **options)
        assert list(rest) == whole[start_step * accumulation :]
        assert len(rest) == len(list(rest)) == (12 - start_step) * accumulation


def test_iterating_twice_gives_the_same():
    sampler = batches(start_step=2)
    assert list(sampler) == list(sampler)


def test_a_dataset_smaller_than_a_batch_is_repeated_evenly():
    keys = joined(batches(num_samples=3, num_steps=3))
    assert [sum(index == i for _, index in keys) for i in range(3)] == [4, 4, 4]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batch_size": 4, "world_size": 3}, "batch_size 4 is not divisible by 3 (3 processes x 1"),
        ({"accumulation": 8}, "not divisible by 8 (1 processes x 8 micro-batches)"),
        ({"num_samples": 0}, "num_samples is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"rank": 1}, "rank is 1, not in [0, 1)"),
        ({"start_step": 13}, "start_step is 13, not in [0, num_steps = 12]"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_numbers_that_do_not_fit_are_named(changes, words):
    with pytest.raises(DataError) as error:
        batches(**changes)
    assert words in str(error.value)
