"""Identity switches against clips worked by hand and against every choice among equals."""

import math
from itertools import pairwise, product

import pytest
import torch

from slot_eval.functional import clip_metrics, identity_switch_rate, identity_switches

# One row of a few pixels is a frame: small enough to follow by eye.


def clip(*frames):
    """A batch of one clip, from one row of labels per frame."""
    return torch.tensor([[[frame] for frame in frames]])


@pytest.mark.parametrize(
    ("predicted", "true", "switches", "chances"),
    [
        pytest.param([[5, 5], [5, 5]], [[1, 1], [1, 1]], 0, 1, id="kept"),
        pytest.param([[5, 5], [6, 6]], [[1, 1], [1, 1]], 1, 1, id="switched"),
        pytest.param([[5, 5], [6, 6], [5, 5]], [[1, 1]] * 3, 2, 2, id="there and back"),
        # a minority of its pixels does not matter
        pytest.param([[5, 5, 6], [6, 5, 5]], [[1, 1, 1]] * 2, 0, 1, id="frayed"),
        pytest.param([[5, 5, 6], [6, 5, 6]], [[1, 1, 1]] * 2, 1, 1, id="other majority"),
        # out of sight in the middle frame: compared with the frame before that
        pytest.param([[5], [7], [6]], [[1], [0], [1]], 1, 1, id="lost behind another"),
        pytest.param([[5], [7], [5]], [[1], [0], [1]], 0, 1, id="found again"),
        # two objects exchange their segments
        pytest.param([[3, 4], [4, 3]], [[1, 2], [1, 2]], 2, 2, id="swap"),
        # one follows both: nothing to tell them apart, and nothing switches
        pytest.param([[3, 3], [3, 3]], [[1, 2], [1, 2]], 0, 2, id="merged"),
        # falling to the segment of the background is a switch like any other
        pytest.param([[0, 1], [0, 0]], [[0, 1], [0, 1]], 1, 1, id="lost to the background"),
        # the background is no object, however its segment changes
        pytest.param([[0, 1], [2, 1]], [[0, 1], [0, 1]], 0, 1, id="background switches"),
        # seen once only: no chance to switch
        pytest.param([[5], [7]], [[1], [0]], 0, 0, id="seen once"),
        pytest.param([[5], [7]], [[0], [0]], 0, 0, id="no object"),
        # halves of 5 and 6 may be either, and so go with what comes before and after
        pytest.param([[5, 5], [5, 6], [6, 6]], [[1, 1]] * 3, 1, 2, id="tie in between"),
        pytest.param([[5, 6], [6, 6]], [[1, 1]] * 2, 0, 1, id="tie at first"),
        pytest.param([[5, 6], [6, 7], [7, 5]], [[1, 1]] * 3, 1, 2, id="ties in a circle"),
    ],
)
def test_worked_by_hand(predicted, true, switches, chances):
    predicted, true = clip(*predicted), clip(*true)
    assert identity_switches(predicted, true).tolist() == [switches]
    rate = identity_switch_rate(predicted, true).item()
    assert rate == switches / chances if chances else math.isnan(rate)


def fewest_by_trying(predicted, true):
    """The fewest switches over all choices among equals, every choice tried."""
    total = 0
    for name in set(true.flatten().tolist()) - {0}:
        choices = []
        for p, t in zip(predicted, true, strict=True):
            seen = p[t == name].tolist()
            if seen:
                most = max(map(seen.count, seen))
                choices.append({one for one in seen if seen.count(one) == most})
        total += min(sum(a != b for a, b in pairwise(path)) for path in product(*choices))
    return total


def test_ties_are_broken_for_the_fewest_switches(draw):
    """Objects of a few pixels under noise: ties abound."""
    predicted, true = draw(40, 6, 3, 4, true=4, predicted=3, agree=0.4)
    expected = [float(fewest_by_trying(p, t)) for p, t in zip(predicted, true, strict=True)]
    assert identity_switches(predicted, true).tolist() == expected
    assert len(set(expected)) > 3


def test_names_that_hold_through_time_do_not_matter(draw):
    predicted, true = draw(8, 5, 6, 6, true=4, predicted=4, agree=0.5)
    before = identity_switches(predicted, true)
    for order in ([3, 1, 0, 2], [10, 900_000_007, 3, 1 << 40]):
        assert torch.equal(identity_switches(torch.tensor(order)[predicted], true), before)
    objects = torch.tensor([0, 7, 1 << 40, 2])
    assert torch.equal(identity_switches(predicted, objects[true]), before)
    changing = predicted.clone()
    changing[:, 3:] += 4
    assert (identity_switches(changing, true) > before).all()


def test_clips_of_a_batch_are_scored_alone(draw):
    predicted, true = draw(6, 4, 6, 6, true=5, predicted=4, agree=0.6)
    true[2] = 0
    for metric in (identity_switches, identity_switch_rate):
        single = [metric(p[None], t[None]) for p, t in zip(predicted, true, strict=True)]
        torch.testing.assert_close(
            torch.cat(single), metric(predicted, true), rtol=0, atol=0, equal_nan=True
        )


def test_a_rate_is_a_share_of_the_chances(draw):
    predicted, true = draw(8, 7, 8, 8, true=4, predicted=6, agree=0.2)
    rate = identity_switch_rate(predicted, true)
    assert ((rate > 0) & (rate <= 1)).all()
    # every object is seen in every frame of 64 pixels, so each has 6 chances
    torch.testing.assert_close(rate, identity_switches(predicted, true) / 18, rtol=0, atol=1e-15)


def test_the_truth_never_switches(draw):
    _, true = draw(4, 6, 5, 5, true=6)
    assert identity_switches(true + 3, true).tolist() == [0.0] * 4
    assert clip_metrics(true + 3, true)["identity_switch_rate"].tolist() == [0.0] * 4


def test_clips_of_one_frame_or_none():
    for time in (0, 1):
        labels = torch.ones(2, time, 3, 3, dtype=torch.long)
        assert identity_switches(labels, labels).tolist() == [0.0, 0.0]
        assert identity_switch_rate(labels, labels).isnan().all()
