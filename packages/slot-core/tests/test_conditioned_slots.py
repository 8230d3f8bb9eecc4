"""Slots told of the first frame's objects: whose they are, by hand, and what cannot be told."""

import pytest
import torch
from torch import Tensor

from slot_core import ConditionedSlots, InputError
from slot_core.conditioned_slots import describe_boxes, describe_masks

FEATURES = torch.rand(2, 6, 5, generator=torch.Generator().manual_seed(0))
ABSENT = [-1.0] * 4


def boxes(*rows: list[float]) -> Tensor:
    """These boxes in one sample; the other sample has the last of them absent."""
    told = torch.tensor([rows, rows])
    told[1, -1] = -1
    return told


BOXES = boxes([0.0, 0.0, 0.5, 1.0], [0.25, 0.5, 0.75, 0.75])


@pytest.fixture(autouse=True)
def _same_weights() -> None:
    torch.manual_seed(0)


def test_slot_i_is_object_i_and_the_others_are_nothing():
    initializer = ConditionedSlots(4, 7, hidden_dim=9)
    slots = initializer(FEATURES, conditioning=BOXES)
    embedded = initializer.embedding(BOXES)
    torch.testing.assert_close(slots[0, :2], embedded[0])
    torch.testing.assert_close(slots[1, 0], embedded[1, 0])
    assert torch.equal(slots[0, 2:], initializer.nothing[2:])
    assert torch.equal(slots[1, 1:], initializer.nothing[1:])
    assert initializer.embedding[0].out_features == 9


def test_slots_without_an_object_differ():
    none = torch.zeros(2, 0, 4)
    slots = ConditionedSlots(4, 7)(FEATURES, conditioning=none)
    assert slots.shape == (2, 4, 7)
    assert torch.pdist(slots[0]).min() > 0.5


def test_objects_in_another_order_have_their_slots_in_that_order():
    initializer = ConditionedSlots(2, 7)
    told = torch.tensor([[[0.0, 0.0, 0.5, 1.0], [0.25, 0.5, 0.75, 0.75]]]).expand(2, -1, -1)
    swapped = initializer(FEATURES, conditioning=told.flip(1))
    torch.testing.assert_close(swapped, initializer(FEATURES, conditioning=told).flip(1))


def test_points_are_embedded_as_they_are():
    initializer = ConditionedSlots(3, 7, on="points")
    points = torch.tensor([[[0.1, 0.9], [0.5, 0.5]], [[0.2, 0.3], [-1.0, -1.0]]])
    slots = initializer(FEATURES, conditioning=points)
    torch.testing.assert_close(slots[:, 0], initializer.embedding(points)[:, 0])
    assert torch.equal(slots[1, 1], initializer.nothing[1])


def test_a_mask_in_numbers():
    """Rows 2 to 5 and columns 4 to 7 of 8x16 pixels without the corner at row 5, column 7."""
    masks = torch.zeros(1, 2, 8, 16)
    masks[0, 0, 2:6, 4:8] = 0.8
    masks[0, 0, 5, 7] = 0.3
    numbers, present = describe_masks(masks)
    assert present.tolist() == [[True, False]]
    rows = (4 * 2.5 + 4 * 3.5 + 4 * 4.5 + 3 * 5.5) / 15 / 8
    columns = (4 * 4.5 + 4 * 5.5 + 4 * 6.5 + 3 * 7.5) / 15 / 16
    expected = torch.tensor([2 / 8, 4 / 16, 6 / 8, 8 / 16, rows, columns, 15 / 128])
    torch.testing.assert_close(numbers[0, 0, :7], expected)
    pooled = numbers[0, 0, 7:].unflatten(0, (8, 8))  # each of a row and two columns
    assert pooled[4, 2:4].tolist() == [1, 1]
    assert pooled[5].tolist() == [0, 0, 1, 0.5, 0, 0, 0, 0]
    assert pooled.sum() == 7.5
    assert numbers[0, 1, 4:].abs().max() == 0


def test_boolean_masks_of_any_size_become_slots():
    initializer = ConditionedSlots(3, 7, on="masks")
    masks = torch.zeros(2, 2, 30, 20, dtype=torch.bool)
    masks[:, 0, 3:9, 4:10] = True
    masks[1, 1, 20:, :3] = True
    slots = initializer(FEATURES, conditioning=masks)
    assert torch.equal(slots, initializer(FEATURES, conditioning=masks.float()))
    assert torch.equal(slots[0, 1], initializer.nothing[1])
    assert (slots[1, 1] - slots[1, 0]).abs().max() > 1e-2
    doubled = masks.repeat_interleave(2, -1).repeat_interleave(2, -2)
    assert (initializer(FEATURES, conditioning=doubled) - slots).abs().max() < 0.05


@pytest.mark.parametrize("on", ["boxes", "points", "masks"])
def test_absent_objects_give_no_gradient_to_the_embedding(on):
    told = (
        torch.zeros(2, 1, 6, 6) if on == "masks" else -torch.ones(2, 1, 4 if on == "boxes" else 2)
    )
    initializer = ConditionedSlots(2, 7, on=on)
    initializer(FEATURES, conditioning=told).sum().backward()
    assert all(p.grad is not None and not p.grad.any() for p in initializer.embedding.parameters())
    assert initializer.nothing.grad is not None
    assert torch.equal(initializer.nothing.grad, torch.full((2, 7), 2.0))


def test_a_half_precision_model_takes_boxes_in_single_precision():
    initializer = ConditionedSlots(3, 7).bfloat16()
    assert initializer(FEATURES.bfloat16(), conditioning=BOXES).dtype == torch.bfloat16


WRONG = {
    "outside": (
        boxes([0.5, 0.5, 1.2, 0.9], ABSENT),
        r"box 0 of sample 0 is \(0.5, 0.5, 1.2, 0.9\), expected fractions of the frame from "
        r"0 to 1, or -1 throughout where there is no object",
    ),
    "pixels": (boxes(ABSENT, [3.0, 4.0, 20.0, 30.0]), r"box 1 of sample 0 is \(3, 4, 20, 30\)"),
    "half absent": (boxes([-1.0, -1.0, 0.5, 0.5], ABSENT), r"box 0 of sample 0 is \(-1, -1,"),
    "no number": (boxes([0.0, 0.0, torch.nan, 1.0], ABSENT), r"is \(0, 0, nan, 1\)"),
    "upside down": (
        boxes([0.8, 0.1, 0.2, 0.9], ABSENT),
        r"is \(0.8, 0.1, 0.2, 0.9\), expected top <= bottom and left <= right",
    ),
    "mirrored": (boxes([0.1, 0.8, 0.2, 0.3], ABSENT), "expected top <= bottom and left <= right"),
    "too many": (
        boxes(ABSENT, ABSENT, ABSENT, ABSENT),
        "4 boxes were given for 3 slots, expected at most one for each slot",
    ),
    "of other videos": (BOXES[:1], "boxes of 1 videos were given for 2"),
    "no objects axis": (BOXES[:, 0], r"have the shape \[2, 4\], expected \[batch objects 4\]"),
    "points": (BOXES[..., :2], r"have the shape \[2, 2, 2\], expected \[batch objects 4\]"),
    "integers": (BOXES.long(), "the boxes are torch.int64, expected fractions from 0 to 1"),
    "numbers": (
        BOXES.tolist(),
        r"the boxes are of the type list, expected a tensor \[batch objects 4\]",
    ),
    "nothing": (None, "the first slots are conditioned on boxes, but none were given"),
}


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("case", WRONG)
def test_boxes_that_cannot_be_are_refused(case: str):
    conditioning, sentence = WRONG[case]
    with pytest.raises(InputError, match=sentence):
        ConditionedSlots(3, 7)(FEATURES, conditioning=conditioning)


@pytest.mark.usefixtures("unchecked_types")
def test_points_and_masks_that_cannot_be_are_refused():
    with pytest.raises(InputError, match=r"point 0 of sample 1 is \(0.5, 7\), expected fractions"):
        ConditionedSlots(3, 7, on="points")(
            FEATURES, conditioning=torch.tensor([[[0.5, 0.7]], [[0.5, 7.0]]])
        )
    masks = ConditionedSlots(3, 7, on="masks")
    with pytest.raises(InputError, match="the masks hold values outside 0 to 1"):
        masks(FEATURES, conditioning=torch.full((2, 1, 4, 4), 255.0))
    with pytest.raises(InputError, match=r"expected \[batch objects height width\]"):
        masks(FEATURES, conditioning=torch.ones(2, 4, 4))
    with pytest.raises(InputError, match=r"the masks are torch.uint8, expected fractions"):
        masks(FEATURES, conditioning=torch.ones(2, 1, 4, 4, dtype=torch.uint8))
    with pytest.raises(InputError, match=r"the masks have the shape \[2, 1, 0, 4\], expected \[b"):
        masks(FEATURES, conditioning=torch.ones(2, 1, 0, 4))


def test_rounding_at_the_edge_of_the_frame_is_no_error():
    edge = torch.tensor([[[0.0, 0.0, 1.0 + 1e-6, 1.0]]]).expand(2, -1, -1)
    assert ConditionedSlots(3, 7)(FEATURES, conditioning=edge).isfinite().all()


@pytest.mark.usefixtures("unchecked_types")
def test_another_kind_of_conditioning_is_refused():
    with pytest.raises(InputError, match="conditioned on 'names'; expected one of boxes, points"):
        ConditionedSlots(3, 7, on="names")  # pyright: ignore[reportArgumentType]


def test_a_training_step_does_not_wait_for_a_gpu_to_say_that_all_is_right():
    wrong = torch.full((1, 1, 4), 7.0)
    with pytest.raises(InputError, match="expected fractions"), torch.no_grad():
        describe_boxes(wrong)
    describe_boxes(wrong.to("meta"))  # where nothing can be looked at
    describe_masks(torch.full((1, 1, 4, 4), 7.0, device="meta"))
