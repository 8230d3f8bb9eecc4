"""Predicted videos frame by frame, and answers, by hand."""

import math
from pathlib import Path

import pytest
import torch

from slot_eval import Results, fg_ari, miou, mse, psnr, ssim
from slot_eval.perceptual import lpips_of
from slot_eval.predicted_videos import score_prediction
from slot_eval.protocols import ANSWERS, PREDICTION
from slot_eval.protocols.prediction import by_future_frame


def test_every_future_frame_has_a_row():
    true = torch.zeros(2, 3, 4, 5)
    predicted = (
        torch.ones(2, 3, 4, 5) * torch.tensor([[0.0, 1.0, 2.0], [0.0, 3.0, 4.0]])[:, :, None, None]
    )
    results = Results(PREDICTION)
    results.update(["a", "b"], predicted, true)
    assert [row["id"] for row in results.rows] == [
        f"{name}+00{step}" for name in "ab" for step in (1, 2, 3)
    ]
    frames = by_future_frame(results.rows)
    assert {step: values["slot_error"] for step, values in frames.items()} == {1: 0, 2: 5, 3: 10}
    assert results.summary()["slot_error"]["mean"] == 5


def test_pixels_and_labels_are_those_of_single_frames():
    generator = torch.Generator().manual_seed(0)
    slots = torch.randn(2, 3, 4, 5, generator=generator)
    videos = (
        torch.rand(2, 3, 3, 16, 16, generator=generator),
        torch.rand(2, 3, 3, 16, 16, generator=generator),
    )
    labels = (
        torch.randint(0, 4, (2, 3, 16, 16), generator=generator),
        torch.randint(0, 3, (2, 3, 16, 16), generator=generator),
    )
    labels[1][0, 1] = 0  # a frame without foreground
    results = Results(PREDICTION)
    results.update(["a", "b"], slots, slots, videos=videos, labels=labels)
    row = {row["id"]: row for row in results.rows}["b+003"]
    for name, metric, (found, real) in (
        ("mse", mse, videos),
        ("psnr", psnr, videos),
        ("ssim", ssim, videos),
        ("fg_ari", fg_ari, labels),
        ("miou", miou, labels),
    ):
        assert row[name] == float(metric(found[1:, 2], real[1:, 2])[0]), name
    empty = {row["id"]: row for row in results.rows}["a+002"]
    assert math.isnan(empty["fg_ari"])
    assert results.summary()["fg_ari"]["n"] == 5
    assert by_future_frame(results.rows)[2]["fg_ari"] == float(
        fg_ari(labels[0][1:, 1], labels[1][1:, 1])[0]
    )


def test_lpips_is_of_every_frame_where_it_is_asked_for(tmp_path: Path):
    pytest.importorskip("torchmetrics")
    library = pytest.importorskip("torchvision.models")
    slots, videos = torch.zeros(2, 3, 4, 5), torch.rand(2, 2, 3, 3, 32, 32).unbind(0)
    weights = tmp_path / "alexnet.pth"  # random ones; nothing is fetched
    torch.save(library.alexnet(weights=None).state_dict(), weights)
    distance = lpips_of("alex", str(weights))
    results = Results(PREDICTION)
    results.update(["a", "b"], slots, slots, videos=videos, lpips=distance)
    row = {row["id"]: row for row in results.rows}["b+003"]
    frame = distance(*(video[1:, 2] for video in videos))
    assert row["lpips"] == pytest.approx(float(frame[0]), rel=1e-5)
    assert row["lpips"] > 0
    plain = Results(PREDICTION)
    plain.update(["a", "b"], slots, slots, videos=videos)
    assert all("lpips" not in row for row in plain.rows)


def test_a_model_that_paints_from_noise_is_given_what_draws_it():
    class Noisy:
        def decode(self, slots, generator=None):
            shape = (1, slots.shape[1], 3, 16, 16)
            return torch.cat([torch.rand(shape, generator=one) for one in generator or ()]), None

    class Plain:
        def decode(self, slots):
            return torch.zeros(*slots.shape[:2], 3, 16, 16), None

    slots = torch.zeros(2, 3, 4, 5)
    true = {"slots": slots, "video": torch.rand(2, 3, 3, 16, 16)}
    own = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    painted = score_prediction(Results(PREDICTION), Noisy(), ["a", "b"], slots, true, generator=own)
    alone = torch.rand(1, 3, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    assert painted is not None
    assert torch.equal(painted[1:], alone)
    results = Results(PREDICTION)
    assert score_prediction(results, Plain(), ["a", "b"], slots, true) is not None
    assert len(results.rows) == 6


def test_answers():
    results = Results(ANSWERS)
    logits = torch.tensor([[0.1], [-3.0], [2.0]])
    results.update(["a", "b", "c"], logits, torch.tensor([[True], [True], [False]]))
    assert [row["accuracy"] for row in results.rows] == [1, 0, 0]
