"""Slot Attention against two outside witnesses: the authors' lineage of code, and the formulas.

data/slot_attention.safetensors holds weights, inputs, outputs and gradients of the class
SlotAttentionWMask of SlotDiffusion (commit eacfc9a), run in float32 on the CPU with random
weights. The NumPy version below is written from Algorithm 1 of arXiv 2006.15055 and the GRU's
equations in float64.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from slot_core import SlotAttention

# SlotDiffusion's names of the weights, and ours.
OUR_NAMES = {
    "norm_inputs": "norm_features",
    "project_q.0": "norm_slots",
    "project_q.1": "to_query",
    "project_k": "to_key",
    "project_v": "to_value",
    "gru": "gru",
    "mlp": "mlp",
}
OUTPUT_TOLERANCE, GRADIENT_TOLERANCE = 1e-5, 1e-4  # of the largest reference value


class Golden:
    """The reference's tensors, by our names."""

    def __init__(self, path: Path):
        tensors = {name: value.float() for name, value in load_file(path).items()}
        self.weights = self._renamed(tensors, "weights.")
        self.gradients = self._renamed(tensors, "outputs.grad_param.")
        self.gradients["features"] = tensors["outputs.grad_inputs"]
        self.gradients["slots"] = tensors["outputs.grad_slots"]
        self.features = tensors["inputs.inputs"]
        self.slots = tensors["inputs.slots"]
        self.seed = tensors["inputs.grad_weight"]  # the loss is (slots * seed).sum()
        self.after = {
            count: (tensors[f"outputs.slots_iter{count}"], tensors[f"outputs.masks_iter{count}"])
            for count in (1, 2, 3)
        }

    @staticmethod
    def _renamed(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
        renamed = {}
        for name, value in tensors.items():
            if name.startswith(prefix):
                old = name.removeprefix(prefix)
                start = next(start for start in OUR_NAMES if old.startswith(start))
                renamed[OUR_NAMES[start] + old.removeprefix(start)] = value
        return renamed


@pytest.fixture(scope="module")
def golden() -> Golden:
    return Golden(Path(__file__).parent / "data" / "slot_attention.safetensors")


@pytest.fixture
def module(golden: Golden) -> SlotAttention:
    module = SlotAttention(24, 32, hidden_dim=48, num_iterations=3, epsilon=1e-6)
    module.load_state_dict(golden.weights, strict=True)
    return module


def assert_close(ours: Tensor, reference: Tensor, tolerance: float, scale: float | None = None):
    scale = reference.abs().max().item() if scale is None else scale
    assert ours.shape == reference.shape
    assert (ours - reference).abs().max().item() <= tolerance * scale


@pytest.mark.parametrize("count", [1, 2, 3])
def test_slots_and_attention_after_each_iteration(
    golden: Golden, module: SlotAttention, count: int
):
    slots, attention = module(golden.features, golden.slots, num_iterations=count)
    assert_close(slots, golden.after[count][0], OUTPUT_TOLERANCE)
    assert_close(attention, golden.after[count][1], OUTPUT_TOLERANCE)


def test_gradients_of_inputs_slots_and_every_parameter(golden: Golden, module: SlotAttention):
    features, first = golden.features.requires_grad_(), golden.slots.requires_grad_()
    slots, _ = module(features, first)
    (slots * golden.seed).sum().backward()
    leaves = {"features": features, "slots": first, **dict(module.named_parameters())}
    assert leaves.keys() == golden.gradients.keys()
    largest = max(gradient.abs().max().item() for gradient in golden.gradients.values())
    for name, leaf in leaves.items():
        assert leaf.grad is not None, name
        # The query norm's bias shifts all queries alike, which softmax over slots ignores: its
        # gradient is zero but for rounding, so it is measured by the largest of the others.
        scale = largest if name == "norm_slots.bias" else None
        assert_close(leaf.grad, golden.gradients[name], GRADIENT_TOLERANCE, scale)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def layer_norm(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * weight + bias


def gru_cell(w: dict[str, np.ndarray], update: np.ndarray, state: np.ndarray) -> np.ndarray:
    """The equations in the documentation of torch.nn.GRUCell."""
    from_update = update @ w["gru.weight_ih"].T + w["gru.bias_ih"]
    from_state = state @ w["gru.weight_hh"].T + w["gru.bias_hh"]
    reset_u, keep_u, new_u = np.split(from_update, 3, axis=-1)
    reset_s, keep_s, new_s = np.split(from_state, 3, axis=-1)
    keep = sigmoid(keep_u + keep_s)
    candidate = np.tanh(new_u + sigmoid(reset_u + reset_s) * new_s)
    return (1 - keep) * candidate + keep * state


def numpy_slot_attention(
    w: dict[str, np.ndarray], features: np.ndarray, slots: np.ndarray, count: int, epsilon: float
) -> tuple[np.ndarray, np.ndarray]:
    """Algorithm 1: slots [B K D] and the last attention [B K N]."""
    inputs = layer_norm(features, w["norm_features.weight"], w["norm_features.bias"])
    keys, values = inputs @ w["to_key.weight"].T, inputs @ w["to_value.weight"].T
    attention = np.empty(0)
    for _ in range(count):
        queries = layer_norm(slots, w["norm_slots.weight"], w["norm_slots.bias"])
        queries = queries @ w["to_query.weight"].T
        logits = np.einsum("bkd,bnd->bkn", queries, keys) / np.sqrt(slots.shape[-1])
        attention = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        weights = (attention + epsilon) / (attention + epsilon).sum(axis=2, keepdims=True)
        update = np.einsum("bkn,bnd->bkd", weights, values)
        slots = gru_cell(w, update, slots) if "gru.weight_ih" in w else update
        if "mlp.0.weight" in w:
            hidden = layer_norm(slots, w["mlp.0.weight"], w["mlp.0.bias"])
            hidden = np.maximum(hidden @ w["mlp.1.weight"].T + w["mlp.1.bias"], 0)
            slots = slots + hidden @ w["mlp.3.weight"].T + w["mlp.3.bias"]
    return slots, attention


@pytest.mark.parametrize(
    "variant",
    [
        {},
        {"num_iterations": 1},
        {"num_iterations": 5, "epsilon": 1e-2},
        {"gru": False},
        {"hidden_dim": 0},
        {"gru": False, "hidden_dim": 0},
        {"differentiation": "implicit"},
        {"differentiation": "straight_through"},
    ],
    ids=str,
)
def test_every_variant_follows_the_formulas(variant: dict):
    torch.manual_seed(0)
    module = SlotAttention(6, 8, **variant).double()
    for parameter in module.parameters():  # biases and norms start where they hide mistakes
        parameter.data = torch.randn_like(parameter)
    features, first = torch.randn(3, 20, 6).double(), torch.randn(3, 4, 8).double()
    slots, attention = module(features, first)
    expected = numpy_slot_attention(
        {name: value.numpy() for name, value in module.state_dict().items()},
        features.numpy(),
        first.numpy(),
        module.num_iterations,
        module.epsilon,
    )
    np.testing.assert_allclose(slots.detach().numpy(), expected[0], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(attention.numpy(), expected[1], rtol=1e-9, atol=1e-12)


def test_gradients_are_those_of_finite_differences():
    torch.manual_seed(0)
    module = SlotAttention(4, 4).double()
    features = torch.randn(1, 5, 4).double().requires_grad_()
    first = torch.randn(1, 2, 4).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x, s: module(x, s)[0], (features, first))
