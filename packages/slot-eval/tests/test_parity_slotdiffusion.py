"""The slotdiffusion protocol gives what the SlotDiffusion code gives on the same masks.

The masks and values beside this file were made by running that code unmodified, in float32; the
full set is read where SLOT_REFERENCE_DATA points to it, and so are the values of other public
codebases on the same masks, which witness the defaults of the bare functions.
"""

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from slot_eval import protocols
from slot_eval.functional import clip_metrics, segmentation_metrics

DATA = Path(__file__).parent / "data"
OURS = {"ari": "ari", "fari": "fg_ari", "miou": "miou", "fmiou": "fg_miou", "mbo": "mbo"}
SMALL = json.loads((DATA / "slotdiffusion_values.json").read_text())["cases"]


def reference(*parts: str) -> Path:
    """A path in the reference data; skips the test where there is none."""
    if "SLOT_REFERENCE_DATA" not in os.environ:
        pytest.skip("SLOT_REFERENCE_DATA is not set")
    return Path(os.environ["SLOT_REFERENCE_DATA"]).joinpath("golden", *parts)


def clip(array) -> torch.Tensor:
    """Labels as [B T H W]."""
    labels = torch.from_numpy(np.asarray(array))
    return labels[:, None] if labels.ndim == 3 else labels


def numbers(values) -> torch.Tensor:
    """A list with None for NaN."""
    return torch.tensor([math.nan if v is None else v for v in values], dtype=torch.float64)


def check(case, masks, key) -> None:
    """Compare every value of a case, per sample and as the mean that the reference reports."""
    protocol = protocols.get("slotdiffusion")
    predicted, true = clip(masks[f"{key}.pred"]), clip(masks[f"{key}.gt"])
    scores = protocol.score(predicted, true)
    for name, values in case["per_sample"].items():
        torch.testing.assert_close(
            scores[OURS[name]], numbers(values), rtol=0, atol=1e-6, equal_nan=True
        )
    with_overlap = {}
    if f"{key}.overlap" in masks:
        with_overlap = protocol.score(predicted, true, clip(masks[f"{key}.overlap"]).bool())
    for name, value in case["values"].items():
        family, metric = name.split(".")
        chosen = with_overlap if family == "img_overlap" else scores
        mean = chosen[OURS[metric]].nanmean()
        torch.testing.assert_close(mean, numbers([value])[0], rtol=0, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize("key", SMALL)
def test_parity_on_the_committed_cases(key):
    with np.load(DATA / "slotdiffusion_masks.npz") as masks:
        check(SMALL[key], masks, key)


def test_the_committed_cases_hold_what_they_should():
    assert len(SMALL) == 18
    assert sum("img_overlap.ari" in case["values"] for case in SMALL.values()) == 2
    assert any(None in case["per_sample"]["fmiou"] for case in SMALL.values())


def all_masks() -> tuple[dict, dict]:
    """Every case and every mask of the full reference set."""
    from safetensors.numpy import load_file

    cases = json.loads(reference("metrics", "config.json").read_text())["cases"]
    masks = load_file(reference("metrics", "inputs.safetensors"))
    return {case["key"]: case for case in cases}, masks


def test_parity_on_the_full_set():
    reference()
    pytest.importorskip("safetensors")
    cases, masks = all_masks()
    assert len(cases) >= 22
    for key, case in cases.items():
        check(case, masks, key)


@pytest.mark.parametrize(
    ("repository", "name", "metric", "options", "tolerance"),
    [
        ("sklearn", "ari", "ari", {}, 1e-12),
        ("oclf", "ari", "ari", {}, 1e-12),
        ("oclf", "ari_fg", "fg_ari", {}, 1e-7),
        ("oclf", "miou", "miou", {}, 1e-7),
        ("oclf", "miou_fg", "fg_miou", {"empty_iou": "zero"}, 1e-7),
        ("oclf", "mbo_fg", "mbo", {"empty_iou": "zero"}, 1e-7),
        ("oclf", "mbo", "mbo", {"mbo_background": True}, 1e-7),
        ("savi", "ari_nobg", "fg_ari", {}, 1e-6),
        ("vqvfm", "ari_fg", "fg_ari", {"empty_ari": "nan"}, 1e-6),
        ("vqvfm", "miou_fg", "fg_miou", {}, 1e-6),
        ("vqvfm", "mbo_fg", "mbo", {}, 1e-6),
        ("addtt", "segcover_fg.mean", "mbo", {"empty_iou": "zero"}, 1e-6),
    ],
)
def test_defaults_and_switches_against_other_codebases(
    repository, name, metric, options, tolerance
):
    """What each codebase computes is the default or one named switch away."""
    witness = json.loads(reference("metrics_peers", f"{repository}.json").read_text())
    pytest.importorskip("safetensors")
    cases, masks = all_masks()
    compared = 0
    for key, values in witness["metrics"][name]["values"].items():
        if key not in cases or "errors" in values:
            continue
        predicted, true = clip(masks[f"{key}.pred"]), clip(masks[f"{key}.gt"])
        found = segmentation_metrics(predicted, true, **options)[metric]
        expected = numbers(values["per_sample"])
        torch.testing.assert_close(found, expected, rtol=0, atol=tolerance, equal_nan=True)
        compared += len(found)
    assert compared >= 20


@pytest.mark.parametrize(
    ("repository", "name", "metric", "options", "tolerance"),
    [
        ("sklearn", "ari.frames", "frame_ari", {}, 1e-12),
        ("sklearn", "ari_fg.frames", "frame_fg_ari", {}, 1e-12),
        ("savi", "ari_nobg.frames", "frame_fg_ari", {}, 1e-6),
        ("videosaur", "image_ari", "frame_ari", {}, 1e-12),
        ("videosaur", "image_ari.ignore_background", "frame_fg_ari", {}, 1e-12),
        ("videosaur", "image_mbo", "frame_mbo", {"mbo_background": True}, 1e-12),
        ("videosaur", "image_mbo.ignore_background", "frame_mbo", {}, 1e-12),
        ("videosaur", "image_iou_hungarian", "frame_miou", {}, 1e-12),
        ("videosaur", "image_iou_hungarian.ignore_background", "frame_fg_miou", {}, 1e-12),
        ("oclf", "miou_fg.frames", "frame_fg_miou", {"empty_iou": "zero"}, 1e-7),
        ("oclf", "mbo_fg.frames", "frame_mbo", {"empty_iou": "zero"}, 1e-7),
    ],
)
def test_frames_of_clips_against_other_codebases(repository, name, metric, options, tolerance):
    """Codebases that score videos frame by frame average over a clip's frames as we do."""
    witness = json.loads(reference("metrics_peers", f"{repository}.json").read_text())
    pytest.importorskip("safetensors")
    cases, masks = all_masks()
    compared = 0
    for key, values in witness["metrics"][name]["values"].items():
        if key not in cases or len(cases[key]["shape"]) != 4 or "errors" in values:
            continue
        predicted, true = clip(masks[f"{key}.pred"]), clip(masks[f"{key}.gt"])
        found = clip_metrics(predicted, true, **options)[metric]
        expected = numbers(values["per_sample"])
        torch.testing.assert_close(found, expected, rtol=0, atol=tolerance, equal_nan=True)
        compared += len(found)
    assert compared >= 4
