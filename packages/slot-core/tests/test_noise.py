"""A sample's noise is its own: it depends on seed, step and id, and on no other sample."""

import pytest
import torch

from slot_core import InputError, sample_generators
from slot_core.noise import exponential, integers, standard_normal

IDS = ["a", "b", "c", "d"]


@pytest.mark.parametrize("draw", [standard_normal, exponential])
def test_half_a_batch_draws_its_half(draw):
    whole = draw(torch.empty(4, 3, 5), sample_generators(0, 7, IDS))
    half = draw(torch.empty(2, 3, 5), sample_generators(0, 7, IDS[2:]))
    assert torch.equal(whole[2:], half)
    assert not torch.equal(whole[0], whole[1])


def test_frames_of_a_video_share_its_generator():
    frames = standard_normal(torch.empty(4 * 6, 3), sample_generators(0, 7, IDS))
    again = standard_normal(torch.empty(6, 3), sample_generators(0, 7, ["b"]))
    assert torch.equal(frames[6:12], again)
    assert frames.unique().numel() == frames.numel()


def test_seed_step_and_id_all_count():
    def first(seed, step, name):
        return standard_normal(torch.empty(1, 4), sample_generators(seed, step, [name]))

    drawn = [first(0, 0, "a"), first(1, 0, "a"), first(0, 1, "a"), first(0, 0, "b")]
    assert torch.stack(drawn).unique().numel() == 16
    assert torch.equal(first(0, 0, "a"), drawn[0])


def test_integers_cover_their_range_and_one_generator_serves_a_batch():
    drawn = integers(5, torch.empty(400, dtype=torch.long), torch.Generator().manual_seed(0))
    assert drawn.unique().tolist() == [0, 1, 2, 3, 4]
    torch.manual_seed(0)
    assert torch.equal(drawn, integers(5, torch.empty(400, dtype=torch.long)))


def test_the_distributions_are_what_they_say():
    wide = torch.empty(4, 50_000)
    normal = standard_normal(wide, sample_generators(0, 0, IDS))
    assert abs(float(normal.mean())) < 0.01
    assert float(normal.var()) == pytest.approx(1, abs=0.02)
    waits = exponential(wide, sample_generators(0, 0, IDS))
    assert float(waits.min()) >= 0
    assert float(waits.mean()) == pytest.approx(1, abs=0.02)


def test_a_batch_that_cannot_be_shared_is_told():
    with pytest.raises(InputError, match="4 generators cannot share a batch of 6"):
        standard_normal(torch.empty(6, 2), sample_generators(0, 0, IDS))


def test_the_order_in_memory_draws_the_same():
    like = torch.empty(2, 3, 4, 5)
    drawn = standard_normal(like, sample_generators(0, 0, IDS[:2]))
    last = like.contiguous(memory_format=torch.channels_last)
    assert torch.equal(drawn, standard_normal(last, sample_generators(0, 0, IDS[:2])))
