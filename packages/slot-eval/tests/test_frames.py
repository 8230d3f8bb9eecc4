"""Scores of single frames: means over a clip's frames, by hand and by the picture functions."""

import math

import pytest
import torch

from slot_eval import functional
from slot_eval.functional import CLIP_METRICS, METRICS, clip_metrics, segmentation_metrics
from slot_eval.functional.contingency import clip_contingency, contingency

EXACT = {"rtol": 0, "atol": 0, "equal_nan": True}


@pytest.fixture
def clips(draw):
    """Clips whose objects come and go; one clip has no object, another none in one frame."""
    predicted, true = draw(5, 4, 9, 7, true=5, predicted=4, agree=0.6)
    true[0, :2] = true[0, :2].where(true[0, :2] != 3, 0)
    true[1] = 0
    true[2, 1] = 0
    return predicted, true


@pytest.mark.parametrize("name", METRICS)
def test_is_the_mean_of_what_its_frames_score_as_pictures(clips, name):
    predicted, true = clips
    frames = getattr(functional, name)(predicted.flatten(0, 1), true.flatten(0, 1))
    expected = frames.view(5, 4).nanmean(1)
    found = getattr(functional, f"frame_{name}")(predicted, true)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-15, equal_nan=True)
    assert found[1].isnan() == (name in ("fg_miou", "mbo"))


def test_an_undefined_frame_is_left_out_of_its_clip():
    true = torch.tensor([[[[1, 1, 2]], [[0, 0, 0]], [[1, 2, 2]]]])
    predicted = torch.tensor([[[[4, 4, 3]], [[4, 4, 3]], [[4, 4, 3]]]])
    # frame 0 is perfect; in frame 2 both objects have IoU 1/2
    assert functional.frame_mbo(predicted, true).tolist() == [0.75]
    assert functional.frame_mbo(predicted, true, empty="zero").tolist() == [0.5]
    # FG-ARI: 1, empty, 0 by chance: TP 0, FN 1, FP 1, TN 1 of three pairs: 2 (0 - 1) / (2 + 2)
    assert functional.frame_fg_ari(predicted, true).tolist() == pytest.approx([(1 + 1 - 0.5) / 3])
    assert functional.frame_fg_ari(predicted, true, empty="nan").tolist() == [0.25]
    assert math.isnan(functional.frame_fg_miou(predicted[:, 1:2], true[:, 1:2]).item())


def test_absent_ids_of_a_frame_are_those_of_that_frame():
    true = torch.tensor([[[[1, 1, 2]], [[0, 2, 2]]]])
    assert functional.frame_mbo(true, true).tolist() == [1.0]
    # id 1 is out of sight in the second frame
    assert functional.frame_mbo(true, true, absent_ids="zero").tolist() == [0.75]
    together = clip_metrics(true, true, absent_ids="zero")
    assert together["frame_mbo"].tolist() == [1.0]
    assert clip_metrics(true, true, frame_absent_ids="zero")["frame_mbo"].tolist() == [0.75]


def test_perfect_frames_whose_ids_change():
    true = torch.tensor([[[[1, 1], [2, 2]], [[1, 1], [2, 2]]]])
    swapped = torch.stack([true[:, 0], 3 - true[:, 1]], dim=1)
    scores = clip_metrics(swapped, true)
    assert all(scores[f"frame_{name}"].item() == 1 for name in METRICS)
    assert scores["fg_ari"].item() < 0
    assert scores["identity_switches"].item() == 2


def test_all_of_a_clip_at_once_are_the_single_functions(clips):
    predicted, true = clips
    together = clip_metrics(predicted, true)
    assert tuple(together) == CLIP_METRICS
    for name, values in together.items():
        function = getattr(functional, f"video_{name}" if name in METRICS else name)
        torch.testing.assert_close(values, function(predicted, true), **EXACT)
        assert values.dtype == torch.float64
    whole = segmentation_metrics(predicted, true)
    for name in METRICS:
        torch.testing.assert_close(together[name], whole[name], **EXACT)


@pytest.mark.parametrize("spread", [1, 70_001, 1 << 40])
def test_tables_of_frames_add_up_and_keep_their_rows(draw, spread):
    predicted, true = draw(3, 4, 6, 6)
    true[1, 2] = 0
    tables = clip_contingency(predicted * spread + 3, true * spread)
    whole = contingency(predicted * spread + 3, true * spread)
    assert torch.equal(tables.whole.counts, whole.counts)
    assert torch.equal(tables.whole.true_ids, whole.true_ids)
    assert tables.counts.sum((2, 3)).tolist() == [[36] * 4] * 3
    for sample, ids in enumerate(tables.true_ids.tolist()):
        for row, name in enumerate(ids):
            pixels = (true[sample] * spread == name).sum((1, 2))
            assert torch.equal(tables.counts[sample, :, row].sum(1), pixels)
