"""Each protocol that bears a codebase's name gives what that codebase gives on the same masks.

The values were made by running each code unmodified. A code's faults are not reproduced: they are
listed below with the cases where they show, and a test says that they do show there.
"""

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from slot_eval import Results, protocols

SINGLE = 1e-6  # of codes that compute in float32
DOUBLE = 1e-12
# An epsilon of 1e-6 in the divisor of that code's IoU and the like.
OCLF = 1e-7

# protocol, codebase, its metric, ours, tolerance
PLAIN = [
    ("savi-code", "savi", "ari", "ari", SINGLE),
    ("savi-code", "savi", "ari_nobg", "fg_ari", SINGLE),
    ("dinosaur", "oclf", "ari", "ari", DOUBLE),
    ("dinosaur", "oclf", "ari_fg", "fg_ari", DOUBLE),
    ("dinosaur", "oclf", "miou", "miou", OCLF),
    ("dinosaur", "oclf", "miou_fg", "fg_miou", OCLF),
    ("dinosaur", "oclf", "mbo_fg", "mbo", OCLF),
    ("spot", "spot", "ari.frames", "ari", DOUBLE),
    ("spot", "spot", "ari_fg.frames", "fg_ari", DOUBLE),
    ("spot", "spot", "miou.frames", "miou", OCLF),
    ("spot", "spot", "miou_fg.frames", "fg_miou", OCLF),
    ("spot", "spot", "mbo_fg.frames", "mbo", OCLF),
    *(
        (protocol, protocol, f"{kind}_{theirs}", ours, DOUBLE)
        for protocol in ("videosaur", "slotcontrast")
        for kind in ("image", "video")
        for theirs, ours in [
            ("ari", "ari"),
            ("ari.ignore_background", "fg_ari"),
            ("iou_hungarian", "miou"),
            ("iou_hungarian.ignore_background", "fg_miou"),
            ("mbo.ignore_background", "mbo"),
        ]
    ),
]
# the same with the pixels handed over where objects overlap
OVERLAPPING = [
    ("savi-code", "savi", "ari.padding_mask", "ari", SINGLE),
    ("savi-code", "savi", "ari_nobg.padding_mask", "fg_ari", SINGLE),
    ("dinosaur", "oclf", "ari.ignore_mask", "ari", DOUBLE),
    ("dinosaur", "oclf", "ari_fg.ignore_mask", "fg_ari", DOUBLE),
    ("dinosaur", "oclf", "miou.ignore_mask", "miou", OCLF),
    ("dinosaur", "oclf", "miou_fg.ignore_mask", "fg_miou", OCLF),
    ("dinosaur", "oclf", "mbo_fg.ignore_mask", "mbo", OCLF),
    ("dinosaur", "oclf", "miou_fg.multi.ignore_overlaps", "fg_miou", OCLF),
    ("spot", "spot", "eval_spot.ari", "fg_ari", DOUBLE),
    ("spot", "spot", "eval_spot.miou", "fg_miou", OCLF),
    ("spot", "spot", "eval_spot.mbo_i", "mbo", OCLF),
    ("videosaur", "videosaur", "image_ari.ignore_overlaps.multi", "ari", DOUBLE),
    ("videosaur", "videosaur", "image_iou_hungarian.ignore_overlaps.multi", "miou", DOUBLE),
    ("videosaur", "videosaur", "image_mbo.ignore_overlaps.multi_nobg", "mbo", DOUBLE),
    ("slotcontrast", "slotcontrast", "image_ari.ignore_overlaps.multi", "ari", DOUBLE),
]
# A data set without any object scores 0 in OCLF and its copy: (what is scored there, in which
# cases, for what a single sample without objects counts in them when it is scored alone).
ZERO_FOR_NOTHING = {"miou_fg", "mbo_fg", "eval_spot.miou", "eval_spot.mbo_i"}
NO_OBJECT = {"case16": [0], "case42": [0]}


def reference(*parts: str) -> Path:
    """A path in the reference data; skips the test where there is none."""
    if "SLOT_REFERENCE_DATA" not in os.environ:
        pytest.skip("SLOT_REFERENCE_DATA is not set")
    return Path(os.environ["SLOT_REFERENCE_DATA"]).joinpath("golden", *parts)


@pytest.fixture(scope="module")
def masks():
    load_file = pytest.importorskip("safetensors.numpy").load_file
    return load_file(reference("metrics", "inputs.safetensors"))


def values_of(repository, metric):
    path = reference("metrics_peers", f"{repository}.json")
    values = json.loads(path.read_text())["metrics"][metric]["values"]
    return {key: value for key, value in values.items() if "errors" not in value}


def scored(protocol, masks, case, with_overlap):
    """Our rows of a case by sample, as [samples, rows of the sample]."""

    def clip(name):
        labels = torch.from_numpy(np.asarray(masks[f"{case}.{name}"]))
        return labels[:, None] if labels.ndim == 3 else labels

    predicted, true = clip("pred"), clip("gt")
    overlap = clip("overlap").bool() if with_overlap and f"{case}.overlap" in masks else None
    results = Results(protocols.get(protocol))
    results.update([str(i) for i in range(len(true))], predicted, true, overlap)
    return [
        [row for row in results.rows if row["id"].partition("/")[0] == str(i)]
        for i in range(len(true))
    ]


def mean(values):
    defined = [value for value in values if not math.isnan(value)]
    return math.fsum(defined) / len(defined) if defined else math.nan


def faulty(metric, case):
    """The samples whose value, scored alone, is that code's fault."""
    kind = metric.removesuffix(".frames").removesuffix(".ignore_mask")
    return NO_OBJECT.get(case, []) if kind in ZERO_FOR_NOTHING else []


@pytest.mark.parametrize(
    ("protocol", "repository", "metric", "ours", "tolerance", "with_overlap"),
    [(*row, False) for row in PLAIN] + [(*row, True) for row in OVERLAPPING],
)
def test_protocol_against_its_codebase(
    masks, protocol, repository, metric, ours, tolerance, with_overlap
):
    """Every case, sample by sample and as one data set."""
    compared = 0
    for case, theirs in values_of(repository, metric).items():
        is_clip = masks[f"{case}.gt"].ndim == 4
        if is_clip and metric.startswith("image_"):
            continue  # of clips, those codes' image metrics are not these protocols' samples
        rows = scored(protocol, masks, case, with_overlap)
        found = [mean([row[ours] for row in sample]) for sample in rows]
        expected = [math.nan if v is None else v for v in theirs["per_sample"]]
        for i in faulty(metric, case):
            assert (found[i], expected[i]) == (pytest.approx(math.nan, nan_ok=True), 0.0)
            expected[i] = math.nan
        assert found == pytest.approx(expected, abs=tolerance, nan_ok=True), case
        batch = mean([row[ours] for sample in rows for row in sample])
        if not math.isnan(batch):
            assert batch == pytest.approx(theirs["batch"], abs=tolerance), case
        compared += len(found)
    assert compared >= 3


@pytest.mark.parametrize(("theirs", "ours"), [("ari", "frame_fg_ari"), ("mbo", "frame_mbo")])
def test_frames_of_clips_against_videosaur(masks, theirs, ours):
    values = values_of("videosaur", f"image_{theirs}.ignore_background")
    cases = [case for case in values if masks[f"{case}.gt"].ndim == 4]
    assert len(cases) >= 4
    for case in cases:
        found = [sample[0][ours] for sample in scored("videosaur", masks, case, False)]
        expected = [math.nan if v is None else v for v in values[case]["per_sample"]]
        assert found == pytest.approx(expected, abs=DOUBLE, nan_ok=True)


def test_savi_of_the_paper_leaves_out_the_first_frame(masks):
    """By SAVi's own code on the frames after the first, which the paper scores."""
    true = torch.from_numpy(masks["case38.gt"])
    predicted = torch.from_numpy(masks["case38.pred"])
    paper = protocols.get("savi-paper").score(predicted, true)
    code = protocols.get("savi-code").score(predicted[:, 1:], true[:, 1:])
    assert torch.equal(paper["fg_ari"], code["fg_ari"])
    assert not torch.equal(
        paper["fg_ari"], protocols.get("savi-code").score(predicted, true)["fg_ari"]
    )


def test_faults_of_codebases_that_are_not_reproduced(masks):
    """Where they show: nothing to score is 0 in OCLF; FG-ARI by the encoding in VideoSAUR."""
    assert values_of("oclf", "mbo_fg")["case42"]["batch"] == 0.0
    assert math.isnan(scored("dinosaur", masks, "case42", False)[0][0]["mbo"])
    one, other = (
        values_of("videosaur", f"image_ari.{encoding}")["case16"]["batch"]
        for encoding in ("ignore_background", "nobg")
    )
    assert one == pytest.approx(0.4988, abs=1e-4)
    assert other == pytest.approx(-0.0024, abs=1e-4)
    ours = [sample[0]["fg_ari"] for sample in scored("videosaur", masks, "case16", False)]
    assert mean(ours) == pytest.approx(one)
    # overlaps and the background cannot both be left out there
    path = reference("metrics_peers", "videosaur.json")
    metrics = json.loads(path.read_text())["metrics"]
    refused = metrics["image_ari.ignore_background.ignore_overlaps.multi"]["values"]["case30"]
    assert "errors" in refused
    assert not math.isnan(scored("videosaur", masks, "case30", True)[0][0]["fg_ari"])
