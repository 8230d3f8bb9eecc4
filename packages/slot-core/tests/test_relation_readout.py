"""The readout: the numbers of the original code, and by hand.

data/relation_readout.safetensors holds weights, inputs and outputs of SlotDiffusion's
PhysionReadout (commit eacfc9a), run in float32 on the CPU with random weights.
"""

from itertools import combinations
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from slot_core import InputError, RelationReadout
from slot_core.relation_readout import Aggregation

CLOSE = {"rtol": 0, "atol": 1e-5}


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return load_file(Path(__file__).parent / "data" / "relation_readout.safetensors")


@pytest.mark.parametrize("aggregation", ["max", "mean", "sum"])
def test_the_logits_and_the_loss_are_the_original(
    golden: dict[str, Tensor], aggregation: Aggregation
):
    readout = RelationReadout(16, hidden_dim=24, aggregation=aggregation)
    names = {"relation.0": "linear1", "output": "linear2"}
    weights = {
        f"{ours}.{part}": golden[f"weights.{theirs}.{part}"].float()
        for ours, theirs in names.items()
        for part in ("weight", "bias")
    }
    readout.load_state_dict(weights, strict=True)
    logits = readout(golden["slots"])
    prefix = "" if aggregation == "max" else f"{aggregation}."
    torch.testing.assert_close(logits, golden[f"{prefix}logits"], **CLOSE)
    loss = F.binary_cross_entropy_with_logits(logits, golden["label"].float())
    torch.testing.assert_close(loss, golden[f"{prefix}vqa_loss"], **CLOSE)


def test_the_pairs_are_those_of_the_original(golden: dict[str, Tensor]):
    """Each pair once, the earlier slot first."""
    pairs = [pair for both in combinations(range(5), 2) for pair in both]
    assert golden["weights.comb_idx"].tolist() == pairs


def test_three_layers_by_hand():
    torch.manual_seed(0)
    readout = RelationReadout(2, hidden_dim=4, aggregation="mean", num_layers=2, both_orders=True)
    slots = torch.randn(1, 3, 3, 2)
    first, _, second = readout.relation
    assert isinstance(first, nn.Linear)
    assert isinstance(second, nn.Linear)
    answers = []
    for frame in slots[0]:
        relations = [
            second(first(torch.cat([frame[i], frame[j]])).relu())
            for i in range(3)
            for j in range(3)
            if i != j
        ]
        answers.append(readout.output(torch.stack(relations).mean(0)))
    torch.testing.assert_close(readout(slots), torch.stack(answers).max()[None], **CLOSE)


@pytest.mark.parametrize("aggregation", ["max", "mean", "sum"])
def test_slots_are_a_set_if_pairs_are_seen_both_ways(aggregation: Aggregation):
    torch.manual_seed(0)
    slots = torch.randn(2, 3, 4, 6)
    shuffled = slots[:, :, [3, 1, 0, 2]]
    both = RelationReadout(6, hidden_dim=8, aggregation=aggregation, both_orders=True)
    torch.testing.assert_close(both(shuffled), both(slots), **CLOSE)
    once = RelationReadout(6, hidden_dim=8, aggregation=aggregation)
    assert (once(shuffled) - once(slots)).abs().max() > 1e-3


def test_the_frame_that_says_yes_decides():
    torch.manual_seed(0)
    readout = RelationReadout(6, hidden_dim=8)
    slots = torch.randn(2, 5, 4, 6)
    each = torch.stack([readout(slots[:, time : time + 1]) for time in range(5)])
    torch.testing.assert_close(readout(slots), each.amax(0), **CLOSE)


def test_gradients_reach_every_parameter():
    readout = RelationReadout(6, hidden_dim=8, num_layers=3)
    readout(torch.randn(4, 3, 4, 6)).sum().backward()
    for name, parameter in readout.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_what_cannot_be_used_is_told_in_a_sentence(unchecked_types: None):
    with pytest.raises(InputError, match="aggregation is 'median'; expected one of max, mean, sum"):
        RelationReadout(6, aggregation="median")  # pyright: ignore[reportArgumentType]: no type
    with pytest.raises(InputError, match="num_layers is 0, expected at least 1"):
        RelationReadout(6, num_layers=0)
    readout = RelationReadout(6)
    with pytest.raises(InputError, match=r"there are 1 slots in 3 frames; .* at least 2 slots"):
        readout(torch.zeros(1, 3, 1, 6))
    with pytest.raises(InputError, match=r"\[1, 0, 4, 6\], expected at least one of each of"):
        readout(torch.zeros(1, 0, 4, 6))
    with pytest.raises(InputError, match=r"\[1, 3, 4, 5\], expected \[batch time slots 6\]"):
        readout(torch.zeros(1, 3, 4, 5))
