"""mIoU, FG-mIoU and mBO against cases worked by hand and against brute force."""

import itertools
import math

import pytest
import torch

from slot_eval.functional import (
    fg_miou,
    mbo,
    miou,
    segmentation_metrics,
    video_fg_miou,
    video_mbo,
    video_miou,
)
from slot_eval.functional.matching import best_overlap, optimal_assignment


def scores(predicted, true, **options):
    """(miou, fg_miou, mbo) of one picture given as rows."""
    metrics = segmentation_metrics(torch.tensor([predicted]), torch.tensor([true]), **options)
    return tuple(metrics[name].item() for name in ("miou", "fg_miou", "mbo"))


@pytest.mark.parametrize(
    ("predicted", "true", "expected"),
    [
        pytest.param([[3, 3], [0, 0]], [[0, 0], [1, 1]], (1, 1, 1), id="perfect"),
        # both true halves have IoU 1/2 with the one segment; only one of them may keep it
        pytest.param([[0, 0], [0, 0]], [[0, 0], [1, 1]], (1 / 4, 1 / 2, 1 / 2), id="one segment"),
        # background {3 px, IoU 2/4 and 1/3}, object {1 px, IoU 0 and 1/2}
        pytest.param(
            [[0, 0], [1, 1]], [[0, 0], [0, 1]], ((2 / 3 + 1 / 2) / 2, 1 / 2, 1 / 2), id="leak"
        ),
        # both objects overlap segment 7 best (1/2 each): mbo uses it twice, fg_miou once
        pytest.param([[7, 7], [7, 7]], [[1, 1], [2, 2]], (1 / 4, 1 / 4, 1 / 2), id="merged"),
        # an object split into single pixels keeps one of them
        pytest.param([[0, 1], [2, 3]], [[1, 1], [1, 1]], (1 / 4, 1 / 4, 1 / 4), id="split"),
        # a label that does not occur (1) is not counted
        pytest.param([[0, 0], [1, 1]], [[0, 0], [2, 2]], (1, 1, 1), id="absent label"),
    ],
)
def test_worked_by_hand(predicted, true, expected):
    assert scores(predicted, true) == pytest.approx(expected, abs=1e-15)


def test_absent_labels_count_zero_if_told_to():
    # labels 0 and 2 are found, 1 does not occur: 2 of 3 with, 1 of 2 without the background
    found = scores([[0, 0], [1, 1]], [[0, 0], [2, 2]], absent_ids="zero")
    assert found == pytest.approx((2 / 3, 1 / 2, 1 / 2))
    # without any background pixel, the background is such a label
    assert scores([[2, 2], [2, 2]], [[1, 1], [1, 1]], absent_ids="zero") == (0.5, 1.0, 1.0)
    # the width is the sample's own: a neighbour with more labels changes nothing
    pair = torch.tensor([[[0, 0], [2, 2]], [[0, 1], [2, 9]]])
    alone = miou(pair[:1], pair[:1], absent_ids="zero")
    assert miou(pair, pair, absent_ids="zero")[0] == alone[0] == pytest.approx(2 / 3)


def test_absent_labels_count_the_same_when_ids_are_renumbered():
    true = torch.tensor([[[0, 0], [300_000, 300_000]]])
    assert miou(true, true, absent_ids="zero").item() == pytest.approx(2 / 300_001)
    assert fg_miou(true, true, absent_ids="zero").item() == pytest.approx(1 / 300_000)
    assert miou(true, true).item() == 1.0


def test_empty_foreground_is_what_the_caller_says():
    background, predicted = torch.zeros(1, 2, 2).long(), torch.tensor([[[0, 0], [0, 1]]])
    assert miou(predicted, background).item() == 3 / 4
    for function in (fg_miou, mbo):
        assert math.isnan(function(predicted, background).item())
        assert function(predicted, background, empty="zero").item() == 0.0
        assert function(predicted, background, empty="one").item() == 1.0


def test_mbo_with_background_counts_it_as_one_more_object():
    predicted, true = torch.tensor([[[0, 0], [1, 1]]]), torch.tensor([[[0, 0], [0, 1]]])
    assert mbo(predicted, true).item() == 1 / 2
    assert mbo(predicted, true, background=True).item() == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_epsilon_is_added_to_the_union():
    true = torch.tensor([[[0, 0], [1, 1]]])
    assert miou(true, true, epsilon=1.0).item() == pytest.approx(2 / 3)


def test_a_clip_is_one_set_of_tubes():
    true = torch.tensor([[[[1, 1], [2, 2]], [[1, 1], [2, 2]]]])
    swapped = torch.tensor([[[[0, 0], [1, 1]], [[1, 1], [0, 0]]]])
    for function in (video_miou, video_fg_miou, video_mbo):
        assert function(true, true).tolist() == [1.0]
        # every tube shares 2 of 6 pixels with either prediction
        assert function(swapped, true).item() == pytest.approx(1 / 3)
    assert miou(swapped[0], true[0]).tolist() == [1.0, 1.0]


@pytest.mark.parametrize(("num_true", "num_predicted"), [(3, 3), (2, 4), (4, 2), (1, 1)])
def test_optimal_assignment_against_all_assignments(num_true, num_predicted):
    generator = torch.Generator().manual_seed(num_true)
    overlap = torch.rand(6, num_true, num_predicted, generator=generator, dtype=torch.float64)
    padded = torch.nn.functional.pad(overlap, (0, num_true))
    best = torch.stack(
        [
            padded[:, range(num_true), columns].sum(1)
            for columns in itertools.permutations(range(num_true + num_predicted), num_true)
        ]
    ).amax(0)
    torch.testing.assert_close(optimal_assignment(overlap).sum(1), best, rtol=0, atol=1e-12)
    assert (best_overlap(overlap).sum(1) >= best - 1e-12).all()


def test_one_table_gives_what_the_single_functions_give(draw):
    from slot_eval import functional

    predicted, true = draw(6, 16, 16, agree=0.5)
    true[0] = 0
    together = segmentation_metrics(predicted, true)
    assert list(together) == list(functional.METRICS)
    for name, values in together.items():
        alone = getattr(functional, name)(predicted, true)
        assert alone.dtype == torch.float64
        torch.testing.assert_close(values, alone, rtol=0, atol=0, equal_nan=True)
        clip = getattr(functional, f"video_{name}")(predicted[:, None], true[:, None])
        torch.testing.assert_close(values, clip, rtol=0, atol=0, equal_nan=True)
