"""Boxes, points and masks of objects, worked by hand."""

import pytest
import torch

from slot_data import DataError, Shapes
from slot_data.boxes import boxes_from_labels, masks_from_labels, points_from_labels

FRAME = torch.tensor(  # 4 rows, 5 columns
    [
        [0, 0, 3, 3, 3],
        [1, 0, 3, 0, 3],
        [1, 1, 3, 3, 3],
        [0, 0, 0, 0, 0],
    ]
)


def test_boxes_are_edges_as_fractions_of_the_frame():
    boxes = boxes_from_labels(FRAME, 4)
    expected = [
        [1 / 4, 0, 3 / 4, 2 / 5],
        [-1, -1, -1, -1],
        [0, 2 / 5, 3 / 4, 1],
        [-1, -1, -1, -1],
    ]
    assert boxes.dtype == torch.float32
    assert torch.allclose(boxes, torch.tensor(expected))


def test_points_lie_on_their_object():
    """Object 1 has the centre (5/3, 1/3): its corner pixel is nearest. Object 3 is a ring, its
    centre is a hole, and the first of the nearest pixels lies above it."""
    points = points_from_labels(FRAME, 3)
    expected = [[2.5 / 4, 0.5 / 5], [-1, -1], [0.5 / 4, 3.5 / 5]]
    assert points.dtype == torch.float32
    assert torch.allclose(points, torch.tensor(expected))


def test_masks_are_in_the_order_of_the_labels():
    masks = masks_from_labels(FRAME, 3)
    assert masks.dtype == torch.bool
    assert torch.equal(masks[0].nonzero(), torch.tensor([[1, 0], [2, 0], [2, 1]]))
    assert not masks[1].any()
    assert torch.equal(masks[2], FRAME == 3)


def test_one_pixel_and_the_whole_frame():
    corner = torch.zeros(3, 4, dtype=torch.uint8)
    corner[2, 3] = 1
    assert boxes_from_labels(corner, 1).tolist() == [pytest.approx([2 / 3, 3 / 4, 1, 1])]
    assert boxes_from_labels(torch.ones_like(corner), 1).tolist() == [[0, 0, 1, 1]]


@pytest.mark.parametrize("function", [boxes_from_labels, points_from_labels, masks_from_labels])
def test_frames_are_treated_one_by_one(function):
    labels = Shapes(num_frames=3)[0].get("labels")
    assert labels is not None
    together = function(labels.expand(2, -1, -1, -1), 6)
    assert together.shape[:3] == (2, 3, 6)
    for time in range(3):
        assert torch.equal(together[1, time], function(labels[time], 6))


def test_an_object_keeps_its_row_while_it_is_hidden():
    labels = torch.stack([FRAME, torch.where(FRAME == 1, 0, FRAME)])
    boxes = boxes_from_labels(labels, 3)
    assert boxes[1, 0].tolist() == [-1] * 4
    assert torch.equal(boxes[0, 2], boxes[1, 2])


def test_points_and_boxes_agree_on_real_shapes():
    labels = Shapes(num_samples=20, num_frames=2)[7].get("labels")
    assert labels is not None
    boxes, points = boxes_from_labels(labels, 6), points_from_labels(labels, 6)
    present = boxes[..., 0] >= 0
    assert torch.equal(present, points[..., 0] >= 0)
    assert present.sum() == sum(len(frame.unique()) - 1 for frame in labels)
    assert (points[present] > boxes[present][:, :2]).all()
    assert (points[present] < boxes[present][:, 2:]).all()
    rows, columns = (points[0, present[0]] * 64).long().unbind(-1)
    assert labels[0, rows, columns].tolist() == (present[0].nonzero()[:, 0] + 1).tolist()


@pytest.mark.parametrize(
    ("labels", "max_objects", "sentence"),
    [
        (FRAME, 2, r"labels go from 0 to 3; with max_objects 2 they may go from 0 to 2"),
        (FRAME - 1, 3, r"labels go from -1 to 2; with max_objects 3"),
        (FRAME, 0, r"max_objects is 0, not at least 1"),
        (FRAME.float(), 3, r"labels are torch.float32 of shape \[4, 5\]; expected integers"),
        (FRAME[0], 3, r"labels are torch.int64 of shape \[5\]; expected integers"),
    ],
)
def test_faults_are_named(labels, max_objects, sentence):
    with pytest.raises(DataError, match=sentence):
        boxes_from_labels(labels, max_objects)
