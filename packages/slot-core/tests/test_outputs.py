"""Outputs: the shapes they state are checked where the type checks are on, as in this run."""

import pytest
import torch
from jaxtyping import TypeCheckError

from slot_core import DecoderOutput, EncoderState, LossOutput, SlotOutput

STATE = EncoderState(torch.zeros(2, 3, 4))


def test_outputs_hold_what_they_are_given():
    slots, attention = torch.rand(2, 5, 3, 4), torch.rand(2, 5, 3, 6)
    output = SlotOutput(slots, attention, (2, 3), STATE)
    assert output.slots is slots
    assert output.attention is attention
    assert STATE.predictor is None
    decoded = DecoderOutput(torch.rand(2, 5, 3, 8, 8))
    assert decoded.masks is None
    assert decoded.components is None
    losses = LossOutput(torch.tensor(1.0), {"reconstruction": torch.tensor(1.0)}, decoded)
    assert losses.decoded is decoded
    assert losses.slots is None


def test_sizes_that_do_not_agree_are_refused():
    with pytest.raises(TypeCheckError):  # attention over another number of slots
        SlotOutput(torch.rand(2, 5, 3, 4), torch.rand(2, 5, 2, 6), (2, 3), STATE)
    with pytest.raises(TypeCheckError):  # masks of another size than the picture
        DecoderOutput(torch.rand(2, 5, 3, 8, 8), masks=torch.rand(2, 5, 4, 8, 9))
    with pytest.raises(TypeCheckError):  # masks with a channel axis
        DecoderOutput(torch.rand(2, 5, 3, 8, 8), masks=torch.rand(2, 5, 4, 1, 8, 8))
    with pytest.raises(TypeCheckError):  # a loss that is not a scalar
        LossOutput(torch.ones(2), {})


def test_outputs_are_frozen():
    with pytest.raises(AttributeError):
        STATE.slots = torch.zeros(1, 1, 1)  # pyright: ignore[reportAttributeAccessIssue]: tested
