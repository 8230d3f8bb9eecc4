"""Seeds of a clustering: well spread, and where somebody points, told."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from slot_core import ClusteredSlots, InputError, SlotAttention
from slot_core.clustered_slots import farthest_points, positions_of
from slot_core.conditioned_slots import ConditioningKind

CLOSE = {"rtol": 0, "atol": 1e-6}


def three_clusters() -> tuple[Tensor, Tensor]:
    """Features of two samples: three tight clusters of 5, 4 and 3 positions, in 8 dimensions."""
    generator = torch.Generator().manual_seed(3)
    centres = 4 * torch.eye(8)[:3]
    labels = torch.tensor([0] * 5 + [1] * 4 + [2] * 3)
    noise = 0.1 * torch.randn(2, 12, 8, generator=generator)
    return centres[labels] + noise, labels


def nearest_clusters(slots: Tensor, features: Tensor, labels: Tensor) -> Tensor:
    """The cluster of the position whose features are nearest to each slot."""
    return labels[torch.cdist(slots, F.layer_norm(features, (8,))).argmin(dim=-1)]


def test_seed_every_cluster_once():
    features, labels = three_clusters()
    slots = ClusteredSlots(3)(features)
    for sample in nearest_clusters(slots, features, labels):
        assert sorted(sample.tolist()) == [0, 1, 2]


def test_pass_gradients_to_the_features():
    features, _ = three_clusters()
    features.requires_grad_()
    ClusteredSlots(3)(features).square().sum().backward()
    assert features.grad is not None
    assert (features.grad.abs().sum(-1) > 0).sum() == 6  # three seeds in each of two samples


@pytest.mark.parametrize("on", [None, "points"])
def test_more_slots_than_positions_are_refused(on: ConditioningKind | None):
    with pytest.raises(InputError, match="7 slots"):
        ClusteredSlots(7, on=on)(torch.zeros(2, 5, 4))


def test_a_kmeans_start_finds_the_clusters_before_any_training():
    features, labels = three_clusters()
    corrector = SlotAttention(8, 8, gru=False, kmeans_start=True)
    _, attention = corrector(features, ClusteredSlots(3)(features))
    found = attention.argmax(dim=1)
    for sample in found:
        assert len({(a, b) for a, b in zip(sample.tolist(), labels.tolist(), strict=True)}) == 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_seeds_are_spread_in_single_precision(dtype: torch.dtype):
    # Much alike, as features of one frame are: half precision loses the differences in the lengths.
    generator = torch.Generator().manual_seed(5)
    common = 4 * torch.randn(1, 1, 64, generator=generator)
    points = (common + 0.2 * torch.randn(2, 256, 64, generator=generator)).to(dtype)
    taken, there = points[:, :2] + 0.1, torch.tensor([[True, False], [True, True]])
    expected = farthest_points(points.double().float(), 7, taken.float(), there)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(farthest_points(points, 7, taken, there), expected)
    assert torch.equal(farthest_points(points, 7, taken, there), expected)


def told_of(position: int) -> Tensor:
    """The point in the middle of a position of a grid of 3 rows and 4 columns."""
    row, column = divmod(position, 4)
    return torch.tensor([(row + 0.5) / 3, (column + 0.5) / 4])


def test_told_objects_come_first_and_the_others_are_spread_away_from_them():
    features, labels = three_clusters()
    absent = torch.full((2,), -1.0)
    # Position 10 is of cluster 2, position 6 of cluster 1.
    told = torch.stack([torch.stack([told_of(10), absent]), torch.stack([told_of(6), told_of(10)])])
    slots = ClusteredSlots(3, on="points")(features, conditioning=told, feature_size=(3, 4))
    normalised = F.layer_norm(features, (8,))
    torch.testing.assert_close(slots[0, 0], normalised[0, 10], **CLOSE)
    torch.testing.assert_close(slots[1, :2], normalised[1, [6, 10]], **CLOSE)
    for sample in nearest_clusters(slots, features, labels):
        assert sorted(sample.tolist()) == [0, 1, 2]


def test_nobody_pointed_at_is_nothing_told():
    features, _ = three_clusters()
    told = torch.full((2, 2, 4), -1.0)
    slots = ClusteredSlots(3, on="boxes")(features, conditioning=told, feature_size=(3, 4))
    assert torch.equal(slots, ClusteredSlots(3)(features))


def test_a_box_gives_the_mean_of_its_middle():
    boxes = torch.tensor([[[0.0, 0.0, 1.0, 1.0], [0.3, 0.3, 0.31, 0.31]]])
    shares, present = positions_of(boxes, "boxes", (4, 4))
    assert present.all()
    middle = torch.zeros(4, 4)
    middle[1:3, 1:3] = 0.25  # the middle half of the frame
    torch.testing.assert_close(shares[0, 0].view(4, 4), middle)
    assert shares[0, 1].view(4, 4)[1, 1] == 1  # a tiny box: the position that holds it


def test_a_mask_gives_the_mean_of_what_it_covers():
    masks = torch.zeros(1, 2, 8, 8, dtype=torch.bool)
    masks[0, 0, 2:6, 4:8] = True
    masks[0, 1, 7, 0] = True
    shares, _ = positions_of(masks, "masks", (4, 4))
    expected = torch.zeros(4, 4)
    expected[1:3, 2:4] = 0.25
    torch.testing.assert_close(shares[0, 0].view(4, 4), expected)
    assert shares[0, 1].view(4, 4)[3, 0] == 1


@pytest.mark.parametrize(("on", "axes"), [("boxes", (4,)), ("points", (2,)), ("masks", (6, 8))])
def test_told_of_no_object_the_seeds_are_those_of_nobody_telling(
    on: ConditioningKind, axes: tuple[int, ...]
):
    features, _ = three_clusters()
    free = ClusteredSlots(3)(features)
    told = ClusteredSlots(3, on=on)(
        features, conditioning=torch.zeros(len(features), 0, *axes), feature_size=(3, 4)
    )
    assert torch.equal(told, free)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (3, 5), (7, 9), (64, 48)])
def test_a_position_takes_the_pixel_in_which_its_middle_lies(size: tuple[int, int]):
    masks = torch.rand(2, 3, *size) > 0.3
    masks[:, :, 0, 0] = True
    shares, present = positions_of(masks, "masks", (3, 4))
    nearest = F.interpolate(masks.float(), (3, 4), mode="nearest-exact").flatten(2)
    some = nearest.sum(-1) > 0  # otherwise the middle of the mask is taken
    torch.testing.assert_close(shares[some], (nearest / nearest.sum(-1, keepdim=True))[some])
    assert present.all()


def test_another_kind_of_telling_is_refused(unchecked_types: None):
    with pytest.raises(InputError, match="told of 'names'; expected one of boxes, points, masks"):
        ClusteredSlots(3, on="names")  # pyright: ignore[reportArgumentType]: the test is of a word


def test_telling_and_listening_belong_together():
    features, _ = three_clusters()
    told = torch.rand(2, 2, 2)
    with pytest.raises(InputError, match="not conditioned"):
        ClusteredSlots(3)(features, conditioning=told)
    with pytest.raises(InputError, match="none were given"):
        ClusteredSlots(3, on="points")(features)
    with pytest.raises(InputError, match="2 points were given for 1 slots"):
        ClusteredSlots(1, on="points")(features, conditioning=told, feature_size=(3, 4))
