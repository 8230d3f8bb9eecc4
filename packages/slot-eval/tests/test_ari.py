"""ARI and FG-ARI against cases worked by hand and against scikit-learn."""

import math

import pytest
import torch
from sklearn.metrics import adjusted_rand_score

from slot_eval.functional import ari, fg_ari, video_ari, video_fg_ari


def picture(*rows):
    """One picture as a batch."""
    return torch.tensor([rows])


def by_sklearn(predicted, true, foreground):
    """scikit-learn's value of each sample."""
    values = []
    for p, t in zip(predicted.flatten(1), true.flatten(1), strict=True):
        keep = t > 0 if foreground else torch.ones_like(t, dtype=torch.bool)
        values.append(adjusted_rand_score(t[keep].numpy(), p[keep].numpy()))
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(
    ("predicted", "true", "expected"),
    [
        pytest.param([[5, 5], [1, 1]], [[0, 0], [1, 1]], 1.0, id="other names"),
        # TP 0, FN 2, FP 2, TN 2 unordered pairs: 2 (0 - 4) / (2*4 + 2*4)
        pytest.param([[0, 1], [0, 1]], [[0, 0], [1, 1]], -0.5, id="crossed"),
        # TP 1, FN 1, FP 2, TN 2: 2 (2 - 2) / ...
        pytest.param([[0, 0], [0, 1]], [[0, 0], [1, 1]], 0.0, id="one pixel wrong"),
        pytest.param([[0, 0], [0, 0]], [[0, 0], [1, 1]], 0.0, id="one cluster"),
        pytest.param([[2, 2], [2, 2]], [[7, 7], [7, 7]], 1.0, id="both one cluster"),
        pytest.param([[3, 2], [1, 0]], [[0, 1], [2, 3]], 1.0, id="both single pixels"),
        pytest.param([[0, 0], [0, 0]], [[0, 1], [2, 3]], 0.0, id="pixels against one cluster"),
    ],
)
def test_ari_worked_by_hand(predicted, true, expected):
    assert ari(picture(*predicted), picture(*true)).tolist() == [expected]


@pytest.mark.parametrize(
    ("predicted", "true", "expected"),
    [
        # the objects are found; what is predicted on the background is not looked at
        pytest.param([[1, 2], [1, 2]], [[0, 0], [1, 2]], 1.0, id="leaks into background"),
        # predicted label 0 is a segment like any other
        pytest.param([[4, 0], [0, 1]], [[0, 1], [1, 2]], 1.0, id="predicted zero"),
        pytest.param([[0, 1], [1, 1]], [[0, 1], [1, 2]], 0.0, id="objects merged"),
        # one object, found whole: nothing is parted, 0/0, perfect
        pytest.param([[0, 0], [1, 1]], [[0, 0], [1, 1]], 1.0, id="one object"),
        # one object split in two: no agreement beyond chance
        pytest.param([[0, 0], [1, 2]], [[0, 0], [1, 1]], 0.0, id="one object split"),
    ],
)
def test_fg_ari_worked_by_hand(predicted, true, expected):
    assert fg_ari(picture(*predicted), picture(*true)).tolist() == [expected]


def test_empty_foreground_is_what_the_caller_says():
    background, predicted = torch.zeros(1, 2, 2).long(), picture([0, 1], [2, 3])
    assert fg_ari(predicted, background).tolist() == [1.0]
    assert fg_ari(predicted, background, empty="one").tolist() == [1.0]
    assert fg_ari(predicted, background, empty="zero").tolist() == [0.0]
    assert math.isnan(fg_ari(predicted, background, empty="nan").item())
    assert ari(predicted, background).tolist() == [0.0]


@pytest.mark.parametrize("seed", range(4))
def test_equals_scikit_learn(draw, seed):
    predicted, true = draw(5, 24, 20, agree=0.3 * seed, seed=seed)
    torch.testing.assert_close(
        ari(predicted, true), by_sklearn(predicted, true, False), rtol=0, atol=1e-12
    )
    torch.testing.assert_close(
        fg_ari(predicted, true), by_sklearn(predicted, true, True), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("shape", [(256, 256), (24, 128, 128)], ids=["picture", "clip"])
@pytest.mark.parametrize("scene", ["three squares", "one pixel apart"])
def test_pair_counts_do_not_overflow(shape, scene):
    """A dominant background makes products of pair counts pass 2**63 at these sizes."""
    true = torch.zeros(1, *shape, dtype=torch.long)
    if scene == "three squares":
        for i, (top, left) in enumerate([(8, 8), (40, 60), (80, 20)]):
            true[..., top : top + 30, left : left + 30] = i + 1
        noise = torch.rand(1, *shape, generator=torch.Generator().manual_seed(0)) < 0.05
        predicted = torch.where(noise, 4, true)
    else:
        # counts that differ in one pixel out of all: the textbook form loses digits here
        true[..., 0, :2] = 1
        predicted = torch.zeros_like(true)
        predicted[..., 0, :3] = 1
        if len(shape) == 3:
            true[:, 1:], predicted[:, 1:] = 0, 0
    functions = (ari, fg_ari) if len(shape) == 2 else (video_ari, video_fg_ari)
    for function, foreground in zip(functions, (False, True), strict=True):
        expected = by_sklearn(predicted, true, foreground)
        torch.testing.assert_close(function(predicted, true), expected, rtol=0, atol=1e-12)
        assert function(true, true).tolist() == [1.0]


def test_a_clip_is_one_point_set():
    """Perfect frames whose ids swap between frames are no perfect clip."""
    true = torch.tensor([[[[1, 1], [2, 2]], [[1, 1], [2, 2]]]])
    predicted = torch.tensor([[[[0, 0], [1, 1]], [[1, 1], [0, 0]]]])
    assert video_ari(true, true).tolist() == [1.0]
    assert ari(predicted[0], true[0]).tolist() == [1.0, 1.0]
    assert video_ari(predicted, true).item() == pytest.approx(
        adjusted_rand_score(true.flatten(), predicted.flatten()), abs=1e-12
    )
    assert video_fg_ari(predicted, true).item() < 0


def test_a_single_pixel_of_foreground_is_something_to_judge():
    true = torch.tensor([[[0, 0], [0, 3]]])
    assert fg_ari(torch.zeros_like(true), true, empty="nan").tolist() == [1.0]
