"""Predictors: what they compute by hand, that slots are a set, and that state is the caller's."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slot_core import (
    InputError,
    RecurrentPredictor,
    RecurrentState,
    ResidualMLPPredictor,
    TransformerPredictor,
)

CLOSE = {"rtol": 0, "atol": 1e-6}
MAKERS: dict[str, Callable[[], nn.Module]] = {
    "transformer": lambda: TransformerPredictor(8, hidden_dim=12),
    "transformer, norm last": lambda: TransformerPredictor(8, num_layers=1, norm_first=False),
    "residual mlp": lambda: ResidualMLPPredictor(8),
    "residual mlp of the slot as it came": lambda: ResidualMLPPredictor(8, norm_first=False),
    "transformer, recurrent": lambda: RecurrentPredictor(TransformerPredictor(8), 8, 6),
    "twice recurrent": lambda: RecurrentPredictor(
        RecurrentPredictor(ResidualMLPPredictor(8), 8, 5), 8, 6
    ),
}


@pytest.fixture(params=MAKERS)
def predictor(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    return MAKERS[request.param]().eval()


@pytest.fixture
def slots() -> Tensor:
    """Three frames of two samples with four slots."""
    return torch.randn(3, 2, 4, 8, generator=torch.Generator().manual_seed(1))


def run(predictor: nn.Module, frames: Tensor) -> Tensor:
    """Predictions from a stream of slots, the state carried."""
    state, predicted = None, []
    for frame in frames:
        after, state = predictor(frame, state)
        predicted.append(after)
    return torch.stack(predicted)


def test_slots_are_a_set(predictor: nn.Module, slots: Tensor):
    order = torch.tensor([2, 0, 3, 1])
    expected = run(predictor, slots)[:, :, order]
    torch.testing.assert_close(run(predictor, slots[:, :, order]), expected, **CLOSE)
    assert (expected - run(predictor, slots)).abs().max() > 1e-2  # the order is seen at all


def test_a_transformer_may_begin_as_the_identity(slots: Tensor):
    predictor = TransformerPredictor(8, num_layers=2, dropout=0.0, identity_start=True)
    predicted, _ = predictor(slots[0])
    assert torch.equal(predicted, slots[0])
    optimizer = torch.optim.SGD(predictor.parameters(), lr=0.1)
    for _ in range(2):  # the layers that make the sum learn first, then all of them
        optimizer.zero_grad()
        F.mse_loss(predictor(slots[0])[0], slots[1]).backward()
        optimizer.step()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in predictor.parameters())
    with pytest.raises(InputError, match="norm_first"):
        TransformerPredictor(8, norm_first=False, identity_start=True)


def test_samples_do_not_meet(predictor: nn.Module, slots: Tensor):
    alone = torch.cat([run(predictor, slots[:, :1]), run(predictor, slots[:, 1:])], 1)
    torch.testing.assert_close(run(predictor, slots), alone, **CLOSE)


def test_the_module_keeps_no_history(predictor: nn.Module, slots: Tensor):
    first = run(predictor, slots)
    run(predictor, slots.flip(0))
    torch.testing.assert_close(run(predictor, slots), first, rtol=0, atol=0)


def test_gradients_reach_every_parameter(predictor: nn.Module, slots: Tensor):
    predicted = run(predictor.train(), slots)
    (predicted * torch.randn_like(predicted)).sum().backward()
    for name, parameter in predictor.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def attention_by_hand(layer: nn.TransformerEncoderLayer, x: Tensor) -> Tensor:
    """Scaled dot-product attention of Vaswani et al. (2017) among the slots, two heads."""
    query, key, value = (
        part.unflatten(-1, (2, 4)).transpose(1, 2)
        for part in F.linear(x, layer.self_attn.in_proj_weight, layer.self_attn.in_proj_bias).chunk(
            3, -1
        )
    )
    weights = (query @ key.mT / 4**0.5).softmax(-1)
    return layer.self_attn.out_proj((weights @ value).transpose(1, 2).flatten(2))


@pytest.mark.parametrize("norm_first", [True, False])
def test_a_transformer_layer_by_hand(slots: Tensor, norm_first: bool):
    predictor = TransformerPredictor(8, num_layers=1, num_heads=2, norm_first=norm_first).eval()
    layer = predictor.layers[0]
    assert isinstance(layer, nn.TransformerEncoderLayer)
    assert layer.linear1.out_features == 32

    def mlp(x: Tensor) -> Tensor:
        return layer.linear2(layer.linear1(x).relu())

    x = slots[0]
    if norm_first:
        x = x + attention_by_hand(layer, layer.norm1(x))
        x = x + mlp(layer.norm2(x))
    else:
        x = layer.norm1(x + attention_by_hand(layer, x))
        x = layer.norm2(x + mlp(x))
    predicted, state = predictor(slots[0])
    assert state is None
    torch.testing.assert_close(predicted, x, **CLOSE)


def test_layers_of_a_transformer_start_apart():
    first, second = TransformerPredictor(8).layers
    assert isinstance(first, nn.TransformerEncoderLayer)
    assert isinstance(second, nn.TransformerEncoderLayer)
    assert not torch.equal(first.linear1.weight, second.linear1.weight)


def test_dropout_acts_only_while_training(slots: Tensor):
    predictor = TransformerPredictor(8, dropout=0.5)
    assert not torch.equal(predictor(slots[0])[0], predictor(slots[0])[0])
    predictor.eval()
    assert torch.equal(predictor(slots[0])[0], predictor(slots[0])[0])
    still = TransformerPredictor(8, dropout=0.0)
    assert torch.equal(still(slots[0])[0], still(slots[0])[0])


def test_what_the_mlp_is_added_to(slots: Tensor):
    """With an MLP that gives a known constant, what remains is the residual."""
    for norm_first, expected in ((True, F.layer_norm(slots[0], (8,))), (False, slots[0])):
        predictor = ResidualMLPPredictor(8, norm_first=norm_first)
        last = predictor.mlp[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.constant_(last.bias, 3)
        torch.testing.assert_close(predictor(slots[0])[0], expected + 3, **CLOSE)


def test_the_mlp_sees_the_normalised_slot(slots: Tensor):
    for norm_first in (True, False):
        predictor = ResidualMLPPredictor(8, hidden_dim=5, norm_first=norm_first)
        normalised = F.layer_norm(slots[0], (8,))
        residual = normalised if norm_first else slots[0]
        torch.testing.assert_close(
            predictor(slots[0])[0], residual + predictor.mlp(normalised), **CLOSE
        )


def test_the_recurrent_cell_by_hand(slots: Tensor):
    """Hochreiter and Schmidhuber's cell, gates in the order input, forget, new, output."""
    predictor = RecurrentPredictor(ResidualMLPPredictor(8), 8, 6)
    cell = predictor.lstm
    hidden, memory, state = torch.zeros(2, 4, 6), torch.zeros(2, 4, 6), None
    for frame in slots:
        inputs, _ = predictor.base(frame)
        gates = F.linear(inputs, cell.weight_ih, cell.bias_ih)
        gates = gates + F.linear(hidden, cell.weight_hh, cell.bias_hh)
        enter, keep, new, leave = gates.chunk(4, -1)
        memory = keep.sigmoid() * memory + enter.sigmoid() * new.tanh()
        hidden = leave.sigmoid() * memory.tanh()
        predicted, state = predictor(frame, state)
        torch.testing.assert_close(predicted, predictor.output(hidden), **CLOSE)
        torch.testing.assert_close(state.hidden, hidden, **CLOSE)
        torch.testing.assert_close(state.cell, memory, **CLOSE)


def test_the_state_matters(slots: Tensor):
    predictor = RecurrentPredictor(ResidualMLPPredictor(8), 8, 6)
    remembered, state = predictor(slots[1], predictor(slots[0])[1])
    fresh, _ = predictor(slots[1])
    assert isinstance(state, RecurrentState)
    assert (remembered - fresh).abs().max() > 1e-3


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(InputError, match="slots of width 10 cannot be split among 4 heads"):
        TransformerPredictor(10)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_predictors_run_in_other_dtypes(predictor: nn.Module, slots: Tensor, dtype: torch.dtype):
    expected = run(predictor, slots)
    got = run(predictor.to(dtype), slots.to(dtype))
    assert got.dtype == dtype
    assert (got.float() - expected).norm() < 0.05 * expected.norm()


def test_predictors_run_under_autocast(predictor: nn.Module, slots: Tensor):
    expected = run(predictor, slots)
    with torch.autocast("cpu", torch.bfloat16):
        got = run(predictor, slots)
    assert (got.float() - expected).norm() < 0.05 * expected.norm()


def test_layers_may_add_to_normalised_slots():
    torch.manual_seed(0)
    slots = torch.randn(2, 3, 8)
    predictor = TransformerPredictor(8, num_layers=2, num_heads=2, normed_sum=True).eval()
    usual = TransformerPredictor(8, num_layers=2, num_heads=2).eval()
    assert predictor.norm is not None
    states = {k: v for k, v in predictor.state_dict().items() if not k.startswith("norm.")}
    usual.load_state_dict(states)
    first: Any = predictor.layers[0]
    # A layer that normalises twice, whose first norm leaves normalised slots as they are.
    expected = predictor.norm(usual(first.norm1(slots))[0])
    torch.testing.assert_close(predictor(slots)[0], expected, atol=1e-4, rtol=0)
    with pytest.raises(InputError, match="normed_sum needs norm_first"):
        TransformerPredictor(8, num_heads=2, norm_first=False, normed_sum=True)


def test_dropout_is_a_tenth_unless_told_otherwise():
    layer = TransformerPredictor(8).layers[0]
    assert isinstance(layer, nn.TransformerEncoderLayer)
    rates = layer.self_attn.dropout, layer.dropout.p, layer.dropout1.p, layer.dropout2.p
    assert rates == (0.1,) * 4
