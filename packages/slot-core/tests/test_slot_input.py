"""What are no slots, or no video of theirs, is told in one sentence, under autocast as well."""

import pytest
import torch

from slot_core import InputError, RelationReadout, SlotFormer
from slot_core.slot_input import check_codes, check_slots, check_target

SLOTS = torch.rand(2, 3, 4, 6)
WEIGHT = torch.rand(5, 6)


@pytest.mark.parametrize(
    ("slots", "sentence"),
    [
        (SLOTS.numpy(), "of the type ndarray, expected a tensor [batch time slots 6] of floats"),
        (SLOTS[:, 0], "[2, 4, 6], expected [batch time slots 6]; those of pictures are of videos"),
        (SLOTS[0, 0], "the slots have the shape [4, 6], expected [batch time slots 6]"),
        (SLOTS[..., 1:], "the slots have the shape [2, 3, 4, 5], expected [batch time slots 6]"),
        (SLOTS[:, :, :0], "[2, 3, 0, 6], expected at least one of each of [batch time slots 6]"),
        (SLOTS[:, :0], "[2, 0, 4, 6], expected at least one of each of [batch time slots 6]"),
        (SLOTS.long(), "the slots are torch.int64, expected floats"),
        (SLOTS.double(), "the slots are torch.float64, expected torch.float32 as the weights that"),
        (
            SLOTS.half(),
            "torch.float16, expected torch.float32 as the weights that read them; slots",
        ),
    ],
)
def test_what_are_no_slots_is_told(slots: object, sentence: str):
    with pytest.raises(InputError) as caught:
        check_slots(slots, 6, WEIGHT)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_types_that_fit_are_fine():
    check_slots(SLOTS, 6, WEIGHT)
    check_slots(SLOTS[:, 0][:, None], 6, WEIGHT)
    check_slots(SLOTS.bfloat16(), 6, WEIGHT.bfloat16())
    check_slots(SLOTS.half(), 6)
    with torch.autocast("cpu", torch.bfloat16):
        check_slots(SLOTS.bfloat16(), 6, WEIGHT)
        check_slots(SLOTS, 6, WEIGHT.bfloat16())
        with pytest.raises(InputError, match=r"torch\.float64, expected torch\.float32"):
            check_slots(SLOTS.double(), 6, WEIGHT)


@pytest.mark.parametrize(
    ("shape", "found"),
    [
        ((1, 3, 3, 16, 8), "[1, 3, 3, 16, 8]"),  # one video would be repeated
        ((3, 2, 3, 16, 8), "[3, 2, 3, 16, 8]"),  # as many frames, of other videos
        ((2, 3, 3, 8, 16), "[2, 3, 3, 8, 16]"),
        ((2, 3, 1, 16, 8), "[2, 3, 1, 16, 8]"),
        ((2, 3, 16, 8), "[2, 3, 16, 8]"),
    ],
)
def test_the_video_of_other_slots_is_told(shape: tuple[int, ...], found: str):
    with pytest.raises(InputError) as caught:
        check_target(torch.rand(shape), SLOTS, (16, 8))
    assert f"the video has the shape {found}, expected [2, 3, 3, 16, 8]" in str(caught.value)
    assert str(caught.value).endswith("which have the shape [2, 3, 4, 6]")


def test_a_target_is_a_tensor_of_floats_and_codes_are_of_its_frames():
    video = torch.rand(2, 3, 3, 16, 8)
    check_target(video, SLOTS, (16, 8))
    check_target(video.double()[:, :, :1], SLOTS, (16, 8), channels=1)
    check_codes(torch.zeros(2, 3, 4, 2, dtype=torch.long), SLOTS, (4, 2))
    with pytest.raises(InputError, match=r"the video is torch\.uint8, expected normalised floats"):
        check_target(video.byte(), SLOTS, (16, 8))
    with pytest.raises(InputError, match="of the type ndarray, expected a tensor"):
        check_target(video.numpy(), SLOTS, (16, 8))
    with pytest.raises(
        InputError, match=r"the codes have the shape \[2, 3, 2, 4\], expected \[2, "
    ):
        check_codes(torch.zeros(2, 3, 2, 4), SLOTS, (4, 2))


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("slots", [SLOTS[:, 0], SLOTS[..., 1:], SLOTS.double(), SLOTS.long()])
def test_whatever_is_given_slots_alone_says_so_too(slots: torch.Tensor):
    former = SlotFormer(6, burn_in=2, model_dim=8, num_layers=1, num_heads=2)
    for take in (RelationReadout(6), lambda given: former(given, 1)):
        with pytest.raises(InputError, match=r"the slots (have the shape|are torch)"):
            take(slots)
