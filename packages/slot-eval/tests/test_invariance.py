"""What no metric may depend on: names of labels, neighbours in the batch, order of pixels."""

import pytest
import torch

from slot_eval.functional import METRICS, clip_metrics, segmentation_metrics

EXACT = {"rtol": 0, "atol": 0, "equal_nan": True}


@pytest.fixture
def pictures(draw):
    """Pictures with objects, one without, and one without background."""
    predicted, true = draw(6, 12, 12, true=6, predicted=5, agree=0.6)
    true[1] = 0
    true[2] = true[2].clamp(min=1)
    return predicted, true


@pytest.mark.parametrize("metric", METRICS)
def test_names_of_labels(pictures, metric):
    predicted, true = pictures
    before = segmentation_metrics(predicted, true)[metric]
    renamed = torch.tensor([3, 0, 4, 1, 2])[predicted]
    objects = torch.tensor([0, 4, 2, 5, 1, 3])[true]
    after = segmentation_metrics(renamed, objects)[metric]
    torch.testing.assert_close(after, before, rtol=0, atol=1e-14, equal_nan=True)


@pytest.mark.parametrize("metric", METRICS)
def test_neighbours_in_the_batch(pictures, metric):
    predicted, true = pictures
    whole = segmentation_metrics(predicted, true)[metric]
    singles = [
        segmentation_metrics(p[None], t[None])[metric] for p, t in zip(predicted, true, strict=True)
    ]
    torch.testing.assert_close(torch.cat(singles), whole, **EXACT)


@pytest.mark.parametrize("metric", METRICS)
def test_order_of_pixels(pictures, metric):
    predicted, true = (labels.flatten(1)[:, None] for labels in pictures)  # a single row
    order = torch.randperm(predicted.shape[2], generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        segmentation_metrics(predicted[..., order], true[..., order])[metric],
        segmentation_metrics(predicted, true)[metric],
        **EXACT,
    )


def test_order_of_frames(draw):
    """Metrics of single frames do not know it, nor do those of a clip's pixels together; identity
    switches do."""
    predicted, true = draw(4, 6, 9, 9, true=4, predicted=5, agree=0.1)
    true[1, 2:4] = 0
    before, after = clip_metrics(predicted, true), clip_metrics(predicted.flip(1), true.flip(1))
    shuffled = torch.tensor([3, 0, 5, 1, 4, 2])
    mixed = clip_metrics(predicted[:, shuffled], true[:, shuffled])
    for name, values in before.items():
        if name.startswith("identity"):
            continue
        for other in (after[name], mixed[name]):
            torch.testing.assert_close(other, values, rtol=0, atol=1e-14, equal_nan=True)
    assert (mixed["identity_switches"] != before["identity_switches"]).any()


@pytest.mark.parametrize("metric", METRICS)
def test_perfect_is_one(pictures, metric):
    _, true = pictures
    values = segmentation_metrics(true + 2, true)[metric]
    defined = values[~values.isnan()]
    assert len(defined) >= 5
    assert (defined == 1).all()


@pytest.mark.parametrize("metric", METRICS)
def test_never_above_one(draw, metric):
    predicted, true = draw(32, 4, 4, true=4, predicted=3, agree=0.8)
    values = segmentation_metrics(predicted, true)[metric]
    assert (values <= 1).all()
    assert (values < 1).any()
