"""Panoptic quality, CorLoc, recall, number of objects, boxes, outlines and IDF1, worked by hand
and against other codebases."""

import json
import math
import os
from pathlib import Path

import pytest
import torch

from slot_eval import functional, protocols, streaming
from slot_eval.functional.boxes import found_boxes
from slot_eval.protocols.further import FURTHER_METRICS

CLASSES = {
    "panoptic_quality": streaming.PanopticQuality,
    "corloc": streaming.CorLoc,
    "detection_recall": streaming.DetectionRecall,
    "object_count_error": streaming.ObjectCountError,
    "boundary_f": streaming.BoundaryF,
    "box_precision": streaming.BoxPrecision,
    "box_recall": streaming.BoxRecall,
}
NAN = math.nan
# Pictures of 2x2 with what each metric is: the cases in which evaluations go wrong.
CASES = {
    "perfect": ([[3, 1], [1, 1]], [[0, 1], [1, 1]], (1, 1, 1, 0, 1, 1 / 2, 1)),
    # nothing is an object; the segments of the background are false or, whole, the background
    "no foreground": ([[1, 1], [1, 2]], [[0, 0], [0, 0]], (3 / 4 / 1.5, NAN, NAN, 1, NAN, 0, NAN)),
    # one segment for everything: it matches the object of three pixels, and no pixel of its outline
    # is further than one from that of the object
    "empty prediction": ([[0, 0], [0, 0]], [[0, 1], [1, 1]], (3 / 4 / 1.5, 1, 1, 1, 1, 1, 1)),
    "one object": ([[5, 5], [5, 5]], [[2, 2], [2, 2]], (1, 1, 1, 0, 1, 1, 1)),
    # three objects and background for two segments, each half of one: not above 1/2, and at least
    # 1/2, which is enough for boxes; outlines a pixel apart still meet, so two objects have one
    "more objects than slots": (
        [[0, 0], [1, 1]],
        [[0, 1], [2, 3]],
        (0, 0, 0, 2, 2 / 3, 1, 2 / 3),
    ),
}


def clips_of(*grids):
    return [torch.tensor(grid)[None] for grid in grids]


@pytest.mark.parametrize("case", CASES)
def test_two_by_two_worked_by_hand(case):
    predicted, true, expected = CASES[case]
    predicted, true = clips_of(predicted, true)
    found = {name: getattr(functional, name)(predicted, true).item() for name in CLASSES}
    assert found == pytest.approx(dict(zip(CLASSES, expected, strict=True)), nan_ok=True)


def test_panoptic_quality_of_objects_alone_forgives_segments_of_the_background():
    predicted, true = clips_of([[3, 1], [2, 2]], [[0, 0], [1, 1]])
    # the object is found; two segments share the background, which as one more object is missed
    assert functional.panoptic_quality(predicted, true).item() == 1 / (1 + 1 / 2 + 2 / 2)
    assert functional.panoptic_quality(predicted, true, background=False).item() == 1
    # a segment half in the background is false
    predicted, true = clips_of([[3, 3], [2, 2]], [[0, 1], [1, 1]])
    alone = functional.panoptic_quality(predicted, true, background=False)
    assert alone.item() == pytest.approx(2 / 3 / 1.5)


def test_ignored_pixels_count_on_neither_side():
    predicted, true = clips_of([[1, 1], [2, 2]], [[0, 1], [2, 2]])
    ignore = torch.tensor([[[True, False], [False, False]]])
    for name in ("panoptic_quality", "detection_recall", "boundary_f", "box_recall"):
        assert getattr(functional, name)(predicted, true, ignore=ignore).item() == 1
    assert functional.object_count_error(predicted, true).item() == 1
    assert functional.object_count_error(predicted, true, ignore=ignore).item() == 0


def test_idf1_worked_by_hand():
    true = torch.tensor([[[[1, 1, 0]], [[1, 1, 0]], [[1, 1, 0]]]])
    predicted = torch.tensor([[[[4, 4, 0]], [[4, 4, 0]], [[5, 5, 0]]]])
    # segment 4 follows for two frames of three; the object is seen in 3, segments 4 and 5 in 3
    assert functional.idf1(predicted, true).item() == pytest.approx(2 * 2 / (3 + 3))
    assert functional.idf1(true, true).item() == 1
    # one segment for everything meets the object, and mostly covers it
    assert functional.idf1(torch.zeros_like(true), true).item() == 1
    # nothing to follow, and nothing seen outside of the background
    assert functional.idf1(predicted, torch.zeros_like(true)).isnan().all()
    assert functional.idf1(predicted, torch.zeros_like(true), empty="zero").item() == 0


@pytest.mark.parametrize("name", [*CLASSES, "idf1"])
def test_what_no_metric_may_depend_on(draw, name):
    """Names of labels, neighbours in the batch; perfect predictions are perfect."""
    predicted, true = draw(6, 12, 12, true=6, predicted=5, agree=0.6)
    if name == "idf1":
        predicted, true = predicted.unflatten(0, (2, 3)), true.unflatten(0, (2, 3))
    metric = getattr(functional, name)
    whole = metric(predicted, true)
    singles = torch.cat([metric(p[None], t[None]) for p, t in zip(predicted, true, strict=True)])
    torch.testing.assert_close(singles, whole, rtol=0, atol=0, equal_nan=True)
    renamed = torch.tensor([3, 0, 4, 1, 2])[predicted]
    objects = torch.tensor([0, 4, 2, 5, 1, 3])[true]
    if not name.startswith("box_"):  # where boxes compete, the first object takes its own
        torch.testing.assert_close(metric(renamed, objects), whole, rtol=0, atol=1e-12)
    perfect = metric(true + 2, true)
    if name == "object_count_error":
        assert (perfect == 0).all()
    elif not name.startswith("box_"):  # noise of labels has equal boxes
        assert (perfect == 1).all()


@pytest.mark.parametrize("name", [*CLASSES, "idf1"])
def test_class_streams_the_function_of_its_name(draw, name):
    predicted, true = draw(5, 2, 8, 8)
    if name != "idf1":
        predicted, true = predicted[:, 0], true[:, 0]
    expected = getattr(functional, name)(predicted, true)
    metric, other = ({**CLASSES, "idf1": streaming.IDF1}[name]() for _ in range(2))
    metric.update(predicted[:2], true[:2])
    other.update(predicted[2:], true[2:])
    metric.merge(other)
    assert metric.values == expected.tolist()


def test_a_protocol_gives_them_where_they_are_asked_for(draw):
    predicted, true = draw(2, 3, 8, 8)
    protocol = protocols.get("dinosaur")
    scores = protocol.score(predicted, true, also=FURTHER_METRICS)
    for name in ("panoptic_quality", "corloc", "detection_recall", "object_count_error", "idf1"):
        assert torch.equal(scores[name], getattr(functional, name)(predicted, true))
    assert torch.equal(scores["boundary_f"], functional.video_boundary_f(predicted, true))
    frames = functional.box_recall(predicted.flatten(0, 1), true.flatten(0, 1)).view(2, 3)
    assert torch.equal(scores["box_recall"], frames.mean(1))
    picture = protocol.score(predicted[:, :1], true[:, :1], also=FURTHER_METRICS)
    assert set(picture) == {*protocol.metrics, *FURTHER_METRICS} - {"idf1"}


# ------------------------------------------------------------------ other people's code


def reference(*parts: str) -> Path:
    """A path in the reference data; skips the test where there is none."""
    if "SLOT_REFERENCE_DATA" not in os.environ:
        pytest.skip("SLOT_REFERENCE_DATA is not set")
    return Path(os.environ["SLOT_REFERENCE_DATA"]).joinpath("golden", *parts)


def test_a_box_is_found_from_the_threshold_on():
    """The SlotDiffusion code says `best_iou >= ovthresh`: twice the object's box is enough."""
    true, predicted = torch.zeros(2, 1, 8, 8, dtype=torch.int64)
    true[0, :4, :4], predicted[0, :4, :] = 1, 1
    assert functional.box_recall(predicted, true).item() == 1
    assert functional.box_precision(predicted, true).item() == 1 / 2
    assert functional.box_recall(predicted, true, threshold=0.51).item() == 0


def test_boxes_of_the_slotdiffusion_code():
    load_file = pytest.importorskip("safetensors.torch").load_file
    inputs = load_file(reference("metrics", "inputs.safetensors"))
    cases = json.loads(reference("metrics", "config.json").read_text())["bbox"]
    assert len(cases) >= 2
    for case in cases:
        found = num_predicted = num_true = 0
        arrays = [inputs[f"{case['key']}.{name}"] for name in ("pred_bbox", "gt_bbox", "gt_pres")]
        for predicted, true, present in zip(*arrays, strict=True):
            kept = predicted[(predicted >= 0).all(1)]  # -1 pads
            found += found_boxes(kept, true[present])
            num_predicted, num_true = num_predicted + len(kept), num_true + int(present.sum())
        assert found / num_predicted == pytest.approx(case["precision"])
        assert found / num_true == pytest.approx(case["recall"])


@pytest.mark.parametrize(
    ("repository", "theirs", "metric", "options", "clips"),
    [
        ("oclf", "corloc_fg", "corloc", {}, None),
        ("oclf", "recovery_fg", "detection_recall", {}, None),
        *(
            ("videosaur", f"{kind}_jandf_match_f_measure{which}.boundary_f_measure", name, o, clips)
            for kind, name, clips in [
                ("image", "boundary_f", False),
                ("video", "video_boundary_f", True),
            ]
            for which, o in [
                (".ignore_background", {"tolerance": 0.0}),
                ("", {"tolerance": 0.0, "background": True}),
            ]
        ),
    ],
)
def test_against_other_codebases(repository, theirs, metric, options, clips):
    """OCLF counts a data set without objects 0, where we have no value."""
    load_file = pytest.importorskip("safetensors.torch").load_file
    masks = load_file(reference("metrics", "inputs.safetensors"))
    path = reference("metrics_peers", f"{repository}.json")
    values = json.loads(path.read_text())["metrics"][theirs]["values"]
    compared = 0
    for case, value in values.items():
        predicted, true = masks[f"{case}.pred"], masks[f"{case}.gt"]
        if clips is not None and clips != (true.ndim == 4):
            continue
        found = getattr(functional, metric)(predicted, true, **options).tolist()
        expected = [math.nan if one is None else one for one in value["per_sample"]]
        for i, picture in enumerate(true):
            if repository == "oclf" and not picture.any():
                assert (case, expected[i]) in (("case16", 0.0), ("case42", 0.0))
                expected[i] = math.nan
        assert found == pytest.approx(expected, abs=1e-7, nan_ok=True), case
        compared += len(found)
    assert compared >= 4


def test_an_outline_that_is_in_neither_frame_is_drawn_perfectly():
    true = torch.tensor([[[[0, 1], [0, 1]], [[0, 0], [0, 0]]]])  # the object leaves
    assert functional.video_boundary_f(true, true).item() == 1


def test_idf1_meets_at_the_threshold_and_sees_what_lies_half_on_objects():
    predicted, true = torch.tensor([[[[4, 5]]]]), torch.tensor([[[[1, 1]]]])  # an IoU of a half
    assert functional.idf1(predicted, true).item() == pytest.approx(2 / (1 + 2))
    predicted, true = torch.tensor([[[[4, 4]]]]), torch.tensor([[[[0, 1]]]])  # half background
    assert functional.idf1(predicted, true).item() == 1
