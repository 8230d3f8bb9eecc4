"""Draws by Gumbel noise follow the softmax, and their relaxation passes gradients."""

import pytest
import torch

from slot_decoders.gumbel import gumbel_noise, gumbel_of, gumbel_softmax


def test_the_largest_noisy_logit_is_a_draw_from_the_softmax():
    logits = torch.tensor([0.1, 0.2, 0.7]).log().expand(20_000, 3)
    drawn = (logits + gumbel_noise(logits)).argmax(-1).bincount() / len(logits)
    torch.testing.assert_close(drawn, torch.tensor([0.1, 0.2, 0.7]), atol=0.015, rtol=0)


def test_the_generator_decides_the_noise():
    logits = torch.zeros(2, 3)
    one, same = (gumbel_noise(logits, torch.Generator().manual_seed(1)) for _ in range(2))
    other = gumbel_noise(logits, torch.Generator().manual_seed(2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_a_draw_of_zero_stays_finite():
    assert gumbel_of(torch.zeros(1)).isfinite()


def test_the_softmax_worked_by_hand():
    """Logits 0 and ln 2, noise ln 3 and 0: weights 3 and 2, and their squares at half the heat."""
    logits, noise = torch.tensor([[0.0, 2.0]]), torch.tensor([[3.0, 0.0]])
    logits[0, 1], noise[0, 0] = logits[0, 1].log(), noise[0, 0].log()
    torch.testing.assert_close(gumbel_softmax(logits, noise, 1.0), torch.tensor([[0.6, 0.4]]))
    cold = gumbel_softmax(logits, noise, 0.5)
    torch.testing.assert_close(cold, torch.tensor([[9 / 13, 4 / 13]]))


@pytest.mark.parametrize("temperature", [0.1, 2.0])
def test_a_hard_draw_is_one_hot_and_has_the_gradients_of_the_soft_one(temperature: float):
    logits = torch.randn(4, 5, 2, requires_grad=True)
    noise, weights = gumbel_noise(logits.detach()), torch.randn(4, 5, 2)
    hard = gumbel_softmax(logits, noise, temperature, hard=True)
    assert torch.equal(hard.round(), hard.detach().round())
    torch.testing.assert_close(hard.sum(1), torch.ones(4, 2))
    assert torch.equal(hard.argmax(1), (logits + noise).argmax(1))
    (hard * weights).sum().backward()
    of_hard, logits.grad = logits.grad, None
    (gumbel_softmax(logits, noise, temperature) * weights).sum().backward()
    torch.testing.assert_close(of_hard, logits.grad)
