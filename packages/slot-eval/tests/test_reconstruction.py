"""MSE, PSNR and SSIM: the reference's values, cases by hand, frames and streams."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from slot_eval import Results, functional, protocols, streaming
from slot_eval.errors import EvalError

METRICS = {"mse": streaming.MSE, "psnr": streaming.PSNR, "ssim": streaming.SSIM}


@pytest.fixture
def videos():
    """Five clips of two frames of 12x14, and noisy copies; the last one is equal."""
    generator = torch.Generator().manual_seed(0)
    true = torch.rand(5, 2, 3, 12, 14, generator=generator)
    predicted = (true + 0.1 * torch.randn(true.shape, generator=generator)).clamp(0, 1)
    predicted[4] = true[4]
    return predicted, true


def test_values_of_the_slotdiffusion_code():
    """Its MSE is a sum over a picture, its SSIM scikit-image's on pixels times 255."""
    if "SLOT_REFERENCE_DATA" not in os.environ:
        pytest.skip("SLOT_REFERENCE_DATA is not set")
    load_file = pytest.importorskip("safetensors.torch").load_file
    folder = Path(os.environ["SLOT_REFERENCE_DATA"], "golden", "metrics")
    cases = json.loads((folder / "config.json").read_text())["images"]
    pictures = load_file(folder / "inputs.safetensors")
    assert len(cases) >= 2
    for case in cases:
        x, y = (pictures[f"{case['key']}.{name}"] for name in "xy")
        summed = functional.mse(x, y, reduction="sum").mean().item()
        assert summed == pytest.approx(case["mse"], abs=1e-6)
        assert functional.psnr(x, y).mean().item() == pytest.approx(case["psnr"], abs=1e-6)
        assert functional.ssim(x, y).mean().item() == pytest.approx(case["ssim"], abs=1e-6)
        assert functional.mse(x, x).tolist() == [case["mse_identical"]] * len(x)
        assert functional.ssim(x, x).mean().item() == case["ssim_identical"]


def test_two_by_two_worked_by_hand():
    true = torch.tensor([0.0, 0.5, 1.0, 1.0]).view(1, 1, 2, 2)
    predicted = torch.tensor([0.0, 0.0, 1.0, 0.5]).view(1, 1, 2, 2)
    assert functional.mse(predicted, true).tolist() == [0.125]
    assert functional.mse(predicted, true, reduction="sum").tolist() == [0.5]
    assert functional.psnr(predicted, true).item() == pytest.approx(10 * math.log10(8))
    assert functional.psnr(true, true).tolist() == [100.0]  # and not infinity


def test_each_frame_has_its_own_psnr_and_its_own_bound():
    true = torch.zeros(1, 2, 1, 2, 2)
    predicted = true.clone()
    predicted[:, 1] = 0.1  # 20 dB, and the first frame is equal
    assert functional.psnr(predicted, true).item() == pytest.approx(60)


def test_ssim_of_even_pictures_compares_their_brightness():
    # no variance and no covariance: what is left is (2 a b + c) / (a a + b b + c)
    black, grey = torch.zeros(1, 3, 11, 11), torch.full((1, 3, 11, 11), 0.5)
    assert functional.ssim(black, grey).item() == pytest.approx(1e-4 / (0.25 + 1e-4))
    assert functional.ssim(grey, grey).item() == pytest.approx(1)


@pytest.mark.parametrize("name", METRICS)
def test_a_clip_is_the_mean_of_its_frames(videos, name):
    metric = getattr(functional, name)
    predicted, true = videos
    frames = torch.stack([metric(predicted[:, t], true[:, t]) for t in (0, 1)])
    torch.testing.assert_close(metric(predicted, true), frames.mean(0), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", METRICS)
def test_class_streams_the_function_of_its_name(videos, name):
    predicted, true = videos
    expected = getattr(functional, name)(predicted, true)
    metric, other = METRICS[name](), METRICS[name]()
    metric.update(predicted[:2], true[:2])
    other.update(predicted[2:], true[2:])
    metric.merge(other)
    assert metric.values == pytest.approx(expected.tolist(), abs=1e-12)
    assert metric.compute() == pytest.approx(expected.mean().item(), abs=1e-12)


def test_results_have_one_row_per_sample(videos):
    predicted, true = videos
    results = Results(protocols.RECONSTRUCTION)
    results.update(list("abcde"), predicted, true)
    assert [row["id"] for row in results.rows] == list("abcde")
    assert results.rows[4] == {"id": "e", "mse": 0.0, "psnr": 100.0, "ssim": pytest.approx(1)}
    means = {name: entry["mean"] for name, entry in results.summary().items()}
    for name in METRICS:
        expected = getattr(functional, name)(predicted, true).mean().item()
        assert means[name] == pytest.approx(expected, abs=1e-12)


def test_wrong_videos_are_refused(videos):
    predicted, true = videos
    with pytest.raises(EvalError, match=r"float in \[0, 1\]; this one holds 0 to 255"):
        functional.psnr(true.round() * 255, true)
    with pytest.raises(EvalError, match=r"in \[0, 1\]; this one holds nan"):
        functional.mse(true * math.nan, true)
    with pytest.raises(EvalError, match="at least 11x11 pixels, not 10x14"):
        functional.ssim(predicted[..., :10, :], true[..., :10, :])


@pytest.mark.slow
def test_without_the_type_checker_wrong_arguments_raise_an_eval_error():
    """The hook of this test run refuses these before the function can; users have no hook."""
    code = (
        "import torch\n"
        "from slot_eval import EvalError, mse\n"
        "video = torch.zeros(1, 2, 3, 4, 4)\n"
        "for other, options in ((video[:, :1], {}), (video, {'reduction': 'none'})):\n"
        "    try:\n"
        "        mse(other, video, **options)\n"
        "    except EvalError as error:\n"
        "        print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "the predicted video has shape (1, 1, 3, 4, 4), the true one (1, 2, 3, 4, 4): "
        "they must be equal",
        "reduction must be mean or sum, not 'none'",
    ]
