"""The first slots: who draws, from what, and that the Gaussian is reparametrised."""

import pytest
import torch

from slot_core import GaussianSlots, InputError, LearnedSlots, SlotAttention

FEATURES = torch.rand(1, 6, 5, generator=torch.Generator().manual_seed(0)).expand(2, -1, -1)


def test_learned_slots_are_the_same_for_every_sample():
    initializer = LearnedSlots(3, 4, std=1.0)
    slots = initializer(torch.rand(5, 6, 5))
    assert slots.shape == (5, 3, 4)
    assert all(torch.equal(sample, initializer.slots) for sample in slots)


def test_std_scales_the_learned_slots():
    torch.manual_seed(0)
    one = LearnedSlots(50, 40).slots
    torch.manual_seed(0)
    torch.testing.assert_close(LearnedSlots(50, 40, std=0.1).slots, one * 0.1)
    assert abs(one.std().item() - 1) < 0.05


def test_the_generator_alone_decides_the_draw():
    initializer = GaussianSlots(3, 4)
    first = initializer(FEATURES, generator=torch.Generator().manual_seed(7))
    torch.manual_seed(99)
    again = initializer(FEATURES, generator=torch.Generator().manual_seed(7))
    other = initializer(FEATURES, generator=torch.Generator().manual_seed(8))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first[0], first[1])  # each sample has its own


def test_draws_have_the_learned_mean_and_spread():
    initializer = GaussianSlots(100, 2)
    initializer.mean.data = torch.tensor([3.0, -1.0])
    initializer.log_std.data = torch.tensor([0.5, 2.0]).log()
    drawn = (
        initializer(torch.rand(100, 6, 5), generator=torch.Generator().manual_seed(0))
        .detach()
        .flatten(0, 1)
    )
    torch.testing.assert_close(drawn.mean(0), initializer.mean.detach(), atol=0.06, rtol=0)
    torch.testing.assert_close(drawn.std(0), torch.tensor([0.5, 2.0]), atol=0.06, rtol=0)


def test_gradients_of_mean_and_spread_are_those_of_the_reparametrisation():
    initializer = GaussianSlots(3, 4)
    slots = initializer(FEATURES, generator=torch.Generator().manual_seed(0))
    slots.square().sum().backward()
    noise = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    spread = initializer.log_std.exp()
    expected_mean = (2 * (initializer.mean + spread * noise)).sum((0, 1))
    expected_log_std = (2 * (initializer.mean + spread * noise) * spread * noise).sum((0, 1))
    torch.testing.assert_close(initializer.mean.grad, expected_mean.detach())
    torch.testing.assert_close(initializer.log_std.grad, expected_log_std.detach())


def test_the_number_of_gaussian_slots_can_change():
    initializer = GaussianSlots(3, 4)
    initializer.num_slots = 7
    assert initializer(FEATURES).shape == (2, 7, 4)


@pytest.mark.parametrize("options", [{"gru": True}, {"gru": False, "slot_dim": 6}])
def test_a_kmeans_start_needs_equal_widths_and_no_gru(options):
    with pytest.raises(InputError, match="kmeans_start"):
        SlotAttention(8, **{"slot_dim": 8, "kmeans_start": True, **options})


def test_the_gaussian_begins_within_glorots_bounds():
    torch.manual_seed(0)
    for parameter in GaussianSlots(3, 1_000).parameters():
        assert parameter.abs().max().item() == pytest.approx((6 / 1_001) ** 0.5, rel=0.01)
    drawn = torch.cat([GaussianSlots(3, 1).mean for _ in range(200)])  # where it shows most
    assert 1.6 < drawn.abs().max() <= 3**0.5
