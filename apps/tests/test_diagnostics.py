"""The early warnings at their extremes."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from slot_data import Shapes
from support.diagnostics import busy_machine, diagnose, few_samples, few_slots


def attention_of(owner: Tensor, num_slots: int) -> Tensor:
    """Hard attention [B 1 K N] of a slot per position [B N]."""
    return F.one_hot(owner, num_slots).movedim(-1, 1)[:, None].float()


def test_slots_that_bind_to_nothing():
    found = diagnose(torch.full((2, 1, 4, 50), 0.25))
    assert found["attention_entropy"] == pytest.approx(1)


def test_slots_that_follow_their_own_picture():
    torch.manual_seed(0)
    found = diagnose(attention_of(torch.randint(4, (64, 400)), 4))
    assert found["attention_entropy"] == 0
    assert found["slots_in_use"] == 4
    assert abs(found["partition_similarity"]) < 0.01


def test_slots_that_cut_every_picture_alike_under_other_names():
    stripes = torch.arange(40).div(10, rounding_mode="floor")
    renamed = torch.tensor([2, 3, 0, 1])[stripes]
    found = diagnose(attention_of(torch.stack([stripes, renamed]), 4))
    assert found["partition_similarity"] == pytest.approx(1)


def test_a_slot_below_a_hundredth_of_the_frame_is_not_in_use():
    owner = torch.zeros(1, 1000, dtype=torch.long)
    owner[0, :9] = 1
    owner[0, 9:19] = 2
    assert diagnose(attention_of(owner, 5))["slots_in_use"] == 2


def test_one_sample_has_no_other_to_resemble():
    assert "partition_similarity" not in diagnose(attention_of(torch.zeros(1, 9).long(), 2))


class Model:
    def __init__(self, num_slots: int):
        self.num_slots = num_slots


def test_a_model_with_fewer_slots_than_objects_is_told():
    assert few_slots("shapes", Shapes(), Model(7)) == ""
    assert few_slots("shapes", Shapes(), object()) == ""
    assert few_slots("shapes", Shapes(max_objects=3), Model(4)) == ""
    warning = few_slots("shapes", Shapes(), Model(4))
    assert warning == (
        "warning: the model has 4 slots, but shapes shows up to 6 objects and a background; "
        "model.num_slots=7 has one for each"
    )


def test_a_batch_larger_than_the_dataset_is_told():
    assert few_samples(16, 16) == ""
    assert few_samples(12, 16) == (
        "warning: a step takes 16 samples, but there are 12 to train on, so some repeat within it; "
        "train.batch_size=12 takes each once"
    )


def test_a_machine_on_which_others_compute_is_told():
    assert busy_machine(2.0, 2, 2) == busy_machine(9.0, 2, 1) == ""
    assert busy_machine(2.44, 2, 2) == (
        "warning: others compute on this machine (load 2.4 on 2 cores), and the 2 threads of this "
        "run wait for one another; with fewer, as train.num_threads=1, both may be faster"
    )
