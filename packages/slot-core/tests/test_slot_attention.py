"""How Slot Attention behaves: symmetry, where gradients go, precision, what it refuses."""

import pytest
import torch
from torch import Tensor

from slot_core import GaussianSlots, InputError, LearnedSlots, SlotAttention

FEATURE_DIM, SLOT_DIM = 8, 16


def inputs(batch: int = 2, slots: int = 3, positions: int = 40) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(batch, positions, FEATURE_DIM, generator=generator),
        torch.randn(batch, slots, SLOT_DIM, generator=generator),
    )


def make(**options) -> SlotAttention:
    torch.manual_seed(0)
    return SlotAttention(FEATURE_DIM, SLOT_DIM, **options)


def weighted_sum(slots: Tensor) -> Tensor:
    """A loss that no symmetry makes blind."""
    seed = torch.randn(slots.shape, generator=torch.Generator().manual_seed(2))
    return (slots.float() * seed).sum()


def gradients(module: SlotAttention, autocast: torch.dtype | None = None) -> dict[str, Tensor]:
    """By name; zeros where autograd gave none."""
    features, slots = inputs()
    features.requires_grad_()
    with torch.autocast("cpu", autocast, enabled=autocast is not None):
        out, _ = module(features, slots)
    weighted_sum(out).backward()
    leaves = {"features": features, **dict(module.named_parameters())}
    return {n: torch.zeros_like(v) if v.grad is None else v.grad for n, v in leaves.items()}


def test_permuted_slots_give_permuted_results():
    module, (features, slots) = make(), inputs(slots=5)
    order = torch.tensor([3, 0, 4, 1, 2])
    out, attention = module(features, slots)
    permuted, permuted_attention = module(features, slots[:, order])
    torch.testing.assert_close(permuted, out[:, order])
    torch.testing.assert_close(permuted_attention, attention[:, order])


def test_permuted_positions_leave_the_slots_alone():
    module, (features, slots) = make(), inputs()
    order = torch.randperm(40, generator=torch.Generator().manual_seed(3))
    out, attention = module(features, slots)
    permuted, permuted_attention = module(features[:, order], slots)
    torch.testing.assert_close(permuted, out)
    torch.testing.assert_close(permuted_attention, attention[:, :, order])


def test_attention_sums_to_one_over_slots_and_carries_no_graph():
    _, attention = make()(*inputs())
    torch.testing.assert_close(attention.sum(dim=1), torch.ones(2, 40))
    assert not attention.requires_grad


def test_number_of_iterations_is_that_of_the_module_or_of_the_call():
    features, slots = inputs()
    once, thrice = make(num_iterations=1), make(num_iterations=3)
    torch.testing.assert_close(once(features, slots)[0], thrice(features, slots, 1)[0])
    step_by_step = slots
    for _ in range(3):
        step_by_step, _ = once(features, step_by_step)
    torch.testing.assert_close(step_by_step, thrice(features, slots)[0])
    assert not torch.allclose(once(features, slots)[0], thrice(features, slots)[0])


@pytest.mark.parametrize("count", [0, -1])
def test_less_than_one_iteration_is_refused(count: int):
    with pytest.raises(InputError, match=f"num_iterations is {count}"):
        make()(*inputs(), count)


@pytest.mark.parametrize(
    ("features", "slots", "sentence"),
    [
        ((2, FEATURE_DIM, 4, 4), (2, 3, SLOT_DIM), r"the features have .*map\.flatten\(2\)"),
        ((2, 40, FEATURE_DIM + 1), (2, 3, SLOT_DIM), "the features have the shape"),
        ((40, FEATURE_DIM), (3, SLOT_DIM), "the features have the shape"),
        ((2, 40, FEATURE_DIM), (2, 3, SLOT_DIM + 1), "the slots have the shape"),
        ((2, 40, FEATURE_DIM), (1, 3, SLOT_DIM), r"expected \[2 slots"),
    ],
)
@pytest.mark.usefixtures("unchecked_types")
def test_other_shapes_are_refused(features: tuple, slots: tuple, sentence: str):
    with pytest.raises(InputError, match=sentence):
        make()(torch.rand(features), torch.rand(slots))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.long])
@pytest.mark.usefixtures("unchecked_types")
def test_other_types_are_refused(dtype: torch.dtype):
    features, slots = torch.rand(2, 40, FEATURE_DIM), torch.rand(2, 3, SLOT_DIM)
    with pytest.raises(InputError, match=rf"the features are {dtype}, expected torch\.float32 as"):
        make()(features.to(dtype), slots)
    with pytest.raises(InputError, match=rf"the slots are {dtype}, expected torch\.float32 as the"):
        make()(features, slots.to(dtype))


@pytest.mark.parametrize("options", [{}, {"gru": False}, {"hidden_dim": 0}])
@pytest.mark.parametrize("differentiation", ["unrolled", "implicit", "straight_through"])
def test_gradients_reach_every_parameter(options: dict, differentiation: str):
    got = gradients(make(differentiation=differentiation, **options))
    largest = max(gradient.abs().max().item() for gradient in got.values())
    for name, gradient in got.items():
        if name == "norm_slots.bias":  # softmax over slots ignores what all queries share
            assert gradient.abs().max() < 1e-5 * largest
        else:
            assert gradient.abs().max() > 1e-4 * largest, name


@pytest.mark.parametrize("initializer", [GaussianSlots(3, SLOT_DIM), LearnedSlots(3, SLOT_DIM)])
@pytest.mark.parametrize(
    ("differentiation", "reached"),
    [("unrolled", True), ("straight_through", True), ("implicit", False)],
)
def test_gradients_of_the_first_slots(
    initializer: torch.nn.Module, differentiation: str, reached: bool
):
    initializer.zero_grad()
    out, _ = make(differentiation=differentiation)(inputs()[0], initializer(inputs()[0]))
    weighted_sum(out).backward()
    for name, parameter in initializer.named_parameters():
        got = parameter.grad is not None and bool((parameter.grad != 0).all())
        assert got == reached, name


def test_implicit_is_autograd_through_the_last_iteration_alone():
    module, (features, slots) = make(differentiation="implicit"), inputs()
    with torch.no_grad():
        before_last, _ = module(features, slots, 2)
    one = make(num_iterations=1)  # with the same weights
    weighted_sum(one(features, before_last)[0]).backward()
    weighted_sum(module(features, slots)[0]).backward()
    expected = dict(one.named_parameters())
    for name, parameter in module.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name].grad, msg=name)


def test_straight_through_hands_the_last_iterations_gradient_to_the_first_slots():
    module, (features, slots) = make(differentiation="straight_through"), inputs()
    with torch.no_grad():
        last_input, _ = module(features, slots, 2)
    last_input.requires_grad_()
    weighted_sum(make(num_iterations=1)(features, last_input)[0]).backward()
    slots.requires_grad_()
    out, _ = module(features, slots)
    weighted_sum(out).backward()
    torch.testing.assert_close(slots.grad, last_input.grad)


@pytest.mark.parametrize("differentiation", ["implicit", "straight_through"])
def test_autocast_keeps_the_gradients(differentiation: str):
    # In torch 2.9 iterations without gradients leave copies of the weights without a graph in
    # autocast's cache, and the gradients of the last iteration are lost (pytorch#112583).
    expected = gradients(make(differentiation=differentiation))
    got = gradients(make(differentiation=differentiation), torch.bfloat16)
    largest = max(gradient.norm().item() for gradient in expected.values())
    for name, gradient in expected.items():
        if name == "norm_slots.bias":
            assert got[name].norm() < 0.01 * largest
        else:
            assert (got[name] - gradient).norm() < 0.05 * gradient.norm(), name


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_model_in_half_precision_stays_close(dtype: torch.dtype):
    features, slots = inputs()
    expected, _ = make()(features, slots)
    got, attention = make().to(dtype)(features.to(dtype), slots.to(dtype))
    assert got.dtype == dtype
    assert (got.float() - expected).norm() < 0.05 * expected.norm()
    torch.testing.assert_close(attention.sum(dim=1), torch.ones(2, 40))


def test_half_precision_does_not_overflow_on_many_positions():
    module = make().half()
    module.norm_features.bias.data.fill_(20)  # 4096 positions of 20 add up to more than 65504
    features, slots = inputs(positions=4096)
    out, _ = module(features.half(), slots.half())
    assert out.isfinite().all()


@pytest.mark.usefixtures("unchecked_types")
def test_an_unknown_differentiation_is_refused():
    with pytest.raises(InputError, match="'implict'; expected one of unrolled, implicit"):
        make(differentiation="implict")


def test_the_mlp_may_leave_out_the_last_iteration():
    torch.manual_seed(0)
    usual = SlotAttention(6, 8)
    without = SlotAttention(6, 8, final_mlp=False)
    without.load_state_dict(usual.state_dict())
    features, slots = torch.randn(2, 9, 6), torch.randn(2, 3, 8)
    updated, attention = without(features, slots, 1)
    assert usual.mlp is not None
    expected, other = usual(features, slots, 1)
    torch.testing.assert_close(updated + usual.mlp(updated), expected)
    assert torch.equal(attention, other)
    once, _ = usual(features, slots, 1)
    assert torch.equal(without(features, slots, 2)[0], without(features, once, 1)[0])
