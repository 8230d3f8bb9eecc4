"""Streaming gives the same bits for every cut, order and number of processes."""

import copy
import math
import pickle
import random

import pytest
import torch

from slot_eval import functional, protocols, streaming
from slot_eval.errors import EvalError
from slot_eval.streaming import Results

CLASSES = {
    "video_ari": streaming.ARI,
    "video_fg_ari": streaming.FGARI,
    "video_miou": streaming.MIoU,
    "video_fg_miou": streaming.FGMIoU,
    "video_mbo": streaming.MBO,
    "frame_fg_ari": lambda: streaming.PerFrame(streaming.FGARI()),
    "frame_mbo": lambda: streaming.PerFrame(streaming.MBO()),
    "identity_switches": streaming.IdentitySwitches,
    "identity_switch_rate": streaming.IdentitySwitchRate,
}
UNDEFINED_WITHOUT_FOREGROUND = {
    "video_fg_miou",
    "video_mbo",
    "frame_mbo",
    "identity_switch_rate",
}


@pytest.fixture
def clips(draw):
    """23 clips with their ids; one has no foreground, so two metrics are undefined there."""
    predicted, true = draw(23, 2, 8, 8)
    true[4] = 0
    return [f"clip/{i:02d}" for i in range(23)], predicted, true


def results_of(clips, batch_size, picked=None):
    """Results over the picked clips, cut into batches."""
    ids, predicted, true = clips
    picked = list(range(len(ids))) if picked is None else picked
    results = Results(protocols.get("slotdiffusion"))
    for start in range(0, len(picked), batch_size):
        chosen = picked[start : start + batch_size]
        results.update([ids[i] for i in chosen], predicted[chosen], true[chosen])
    return results


@pytest.mark.parametrize("name", CLASSES)
def test_class_streams_the_function_of_its_name(clips, name):
    _, predicted, true = clips
    expected = getattr(functional, name)(predicted, true)
    metric = CLASSES[name]()
    first = metric.update(predicted[:7], true[:7])
    torch.testing.assert_close(first, expected[:7], rtol=0, atol=0, equal_nan=True)
    other = pickle.loads(pickle.dumps(CLASSES[name]()))
    other.update(predicted[7:], true[7:])
    metric.merge(other)
    assert metric.compute() == pytest.approx(expected.nanmean().item(), abs=1e-15)
    assert metric.num_undefined == (name in UNDEFINED_WITHOUT_FOREGROUND)


@pytest.mark.parametrize("name", CLASSES)
def test_mean_is_bitwise_the_same_for_every_cut(clips, name):
    _, predicted, true = clips
    means = set()
    for batch_size in (1, 4, 23):
        metric = CLASSES[name]()
        for p, t in zip(predicted.split(batch_size), true.split(batch_size), strict=True):
            metric.update(p, t)
        means.add(metric.compute())
    assert len(means) == 1


def test_class_takes_the_options_of_its_function():
    background = torch.zeros(1, 2, 2).long()
    metric = streaming.MBO(empty="zero")
    metric.update(background, background)
    assert metric.compute() == 0.0
    per_frame = streaming.PerFrame(streaming.FGARI(empty="zero"))
    per_frame.update(background[:, None], background[:, None])
    assert per_frame.compute() == 0.0
    assert math.isnan(streaming.FGARI(empty="nan").compute())


def test_results_are_the_same_for_every_cut_and_order(clips):
    expected = results_of(clips, 23)
    order = list(range(23))
    for batch_size in (1, 5, 8):
        random.Random(batch_size).shuffle(order)
        found = results_of(clips, batch_size, order)
        assert found.summary() == expected.summary()
        assert str(found.rows) == str(expected.rows)


def test_summary_counts_what_is_undefined(clips):
    summary = results_of(clips, 8).summary()
    assert {name: (m["n"], m["undefined"]) for name, m in summary.items()} == {
        "ari": (23, 0),
        "fg_ari": (23, 0),
        "miou": (23, 0),
        "fg_miou": (22, 1),
        "mbo": (22, 1),
        "frame_ari": (23, 0),
        "frame_fg_ari": (23, 0),
        "frame_miou": (23, 0),
        "frame_fg_miou": (22, 1),
        "frame_mbo": (22, 1),
        "identity_switches": (23, 0),
        "identity_switch_rate": (22, 1),
    }
    _, predicted, true = clips
    assert summary["mbo"]["mean"] == pytest.approx(
        functional.video_mbo(predicted, true).nanmean().item(), abs=1e-8
    )


def test_pictures_have_the_five_scores_and_share_them_with_clips(clips):
    ids, predicted, true = clips
    pictures = Results(protocols.get("slotdiffusion"))
    pictures.update(["picture"], predicted[:1, :1], true[:1, :1])
    assert list(pictures.rows[0]) == ["id", *functional.METRICS]
    assert list(pictures.summary()) == list(functional.METRICS)

    mixed = results_of(clips, 23)
    mixed.extend(pictures.rows)
    summary = mixed.summary()
    assert (summary["ari"]["n"], summary["frame_ari"]["n"]) == (24, 23)
    alone = results_of(clips, 23).summary()
    assert summary["frame_ari"] == alone["frame_ari"]
    assert summary["ari"]["mean"] == pytest.approx(
        (23 * alone["ari"]["mean"] + pictures.rows[0]["ari"]) / 24, abs=1e-15
    )
    assert [row["id"] for row in mixed.rows] == sorted([*ids, "picture"])


def test_processes_with_padded_shares_merge_to_the_whole(clips):
    """Three processes of 8 samples each for 23: the last one scores a sample twice."""
    shares = [
        results_of(clips, 3, list(range(r, 23, 3)) + ([0] if r == 2 else [])) for r in range(3)
    ]
    merged = []
    for first in range(3):
        results = Results(protocols.get("slotdiffusion"))
        for share in shares[first:] + shares[:first]:
            results.extend(pickle.loads(pickle.dumps(share.rows)))
        merged.append(results)
    whole = results_of(clips, 23)
    assert len(whole) == 23
    for results in merged:
        assert str(results.rows) == str(whole.rows)
        assert results.summary() == whole.summary()


def test_differing_repeats_count_once_whichever_comes_first(clips):
    row = results_of(clips, 23).rows[0]
    other = row | {"miou": row["miou"] + 1e-7}
    undefined = row | {"ari": math.nan}
    kept = []
    for rows in ([row, other, undefined], [undefined, other, row], [other, undefined, row]):
        results = Results(protocols.get("slotdiffusion"))
        results.extend(rows)
        kept.append(str(results.rows))
    assert len(set(kept)) == 1
    assert len(results) == 1


@pytest.mark.parametrize("clip_first", [True, False])
def test_a_picture_named_as_a_frame_of_a_clip_is_refused(clips, clip_first):
    _, predicted, true = clips
    batches = [("a", 2), ("a/0", 1)]
    first, second = batches if clip_first else batches[::-1]
    results = Results(protocols.get("spot"))
    results.update([first[0]], predicted[:1, : first[1]], true[:1, : first[1]])
    told = f"row 'a/0' would be of sample '{first[0]}' and of sample '{second[0]}'; spot needs"
    with pytest.raises(EvalError, match=told):
        results.update([second[0]], predicted[:1, : second[1]], true[:1, : second[1]])
    # the same sample twice is padding
    results.update([first[0]], predicted[:1, : first[1]], true[:1, : first[1]])
    assert len(results) == first[1]


def test_rows_are_copies(clips):
    results = results_of(clips, 23)
    before = copy.deepcopy(results.summary())
    results.rows[0]["ari"] = 99.0
    assert results.summary() == before


def test_wrong_rows_and_ids_are_refused(clips):
    ids, predicted, true = clips
    results = Results(protocols.get("slotdiffusion"))
    with pytest.raises(EvalError, match="2 ids were given for 3 samples"):
        results.update(ids[:2], predicted[:3], true[:3])
    with pytest.raises(EvalError, match="a row has the keys ari, id; slotdiffusion expects"):
        results.extend([{"id": "a", "ari": 1.0}])
    row = results_of(clips, 23).rows[0]
    del row["identity_switches"]
    with pytest.raises(EvalError, match=r"and of a clip all of ari, .*, identity_switch_rate$"):
        results.extend([row])


def test_no_sample_at_all_is_undefined_and_not_zero():
    summary = Results(protocols.get("slotdiffusion")).summary()
    assert all(math.isnan(m["mean"]) and m["n"] == 0 for m in summary.values())
