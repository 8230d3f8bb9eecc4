"""How fast Slot Attention is against its textbook form, forward and backward in one run.

    uv run python tools/bench/slot_attention.py

The textbook form is Algorithm 1 written down as it stands (Locatello et al. 2020): keys and
values of all positions, einsum, softmax over slots, GRU, residual MLP. Both have the same
weights, and their outputs and gradients are compared before anything is timed. The two take
turns, so that other work on the machine slows both; the ratio of each turn's processor times
is taken, and the median over the turns is printed.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from slot_core import SlotAttention

BATCH, POSITIONS, SLOTS, DIM = 16, 4096, 11, 192
NEEDED = 1.5
OUTPUT_TOLERANCE, GRADIENT_TOLERANCE = 1e-5, 1e-4  # of the largest value of the textbook form


def textbook(module: SlotAttention, features: Tensor, slots: Tensor) -> tuple[Tensor, Tensor]:
    """Algorithm 1 with the weights of ``module``: slots and the last attention."""
    assert module.gru is not None
    assert module.mlp is not None
    batch, num_slots, dim = slots.shape
    inputs = module.norm_features(features)
    keys, values = module.to_key(inputs), module.to_value(inputs)
    attention = torch.empty(0)
    for _ in range(module.num_iterations):
        previous = slots
        queries = module.to_query(module.norm_slots(slots))
        logits = torch.einsum("bnd,bkd->bnk", keys, queries) * dim**-0.5
        attention = F.softmax(logits, dim=-1)
        weights = attention + module.epsilon
        weights = weights / weights.sum(dim=1, keepdim=True)
        updates = torch.einsum("bnk,bnd->bkd", weights, values)
        slots = module.gru(updates.reshape(-1, dim), previous.reshape(-1, dim))
        slots = slots.reshape(batch, num_slots, dim)
        slots = slots + module.mlp(slots)
    return slots, attention.transpose(1, 2)


def gradients_of(
    forward: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    module: SlotAttention,
    features: Tensor,
    slots: Tensor,
    seed: Tensor,
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Slots, attention and the gradients of (slots * seed).sum() for all that can have one."""
    module.zero_grad()
    features, slots = features.clone().requires_grad_(), slots.clone().requires_grad_()
    out, attention = forward(features, slots)
    (out * seed).sum().backward()
    leaves = {"features": features, "slots": slots, **dict(module.named_parameters())}
    return out.detach(), attention.detach(), {n: v.grad for n, v in leaves.items()}  # pyright: ignore[reportReturnType]: backward has filled every one


def compare(ours: tuple, theirs: tuple) -> None:
    """Raise AssertionError unless the two give the same slots, attention and gradients."""
    for name, mine, reference in zip(("slots", "attention"), ours, theirs, strict=False):
        error = _difference(mine, reference) / reference.abs().max().item()
        print(f"{name:10} differs by {error:.1e} of its largest value")
        assert error < OUTPUT_TOLERANCE, name
    largest = max(gradient.abs().max().item() for gradient in theirs[2].values())
    worst = 0.0
    for name, reference in theirs[2].items():
        # Softmax over slots ignores what all queries share, so this one is zero but for noise.
        scale = largest if name == "norm_slots.bias" else reference.abs().max().item()
        error = _difference(ours[2][name], reference) / scale
        worst = max(worst, error)
        assert error < GRADIENT_TOLERANCE, f"gradient of {name}: {error:.1e}"
    print(f"{'gradients':10} differ by at most {worst:.1e} of their largest value")


def _difference(first: Tensor, second: Tensor) -> float:
    return (first - second).abs().max().item()


def cpu_seconds(call: Callable[[], object]) -> float:
    """Processor time of all threads, so that other work on the machine does not count."""
    start = time.process_time()
    call()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--turns", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)

    module = SlotAttention(DIM, DIM)
    features = torch.randn(BATCH, POSITIONS, DIM)
    slots = torch.randn(BATCH, SLOTS, DIM)
    seed = torch.randn(BATCH, SLOTS, DIM)

    def ours() -> tuple:
        return gradients_of(module, module, features, slots, seed)

    def theirs() -> tuple:
        return gradients_of(lambda x, s: textbook(module, x, s), module, features, slots, seed)

    print(f"B={BATCH} N={POSITIONS} K={SLOTS} D={DIM}, forward and backward, {options.threads=}")
    compare(ours(), theirs())
    times = [(cpu_seconds(ours), cpu_seconds(theirs)) for _ in range(options.turns)]
    ratio = statistics.median(textbook_time / own for own, textbook_time in times)
    for name, column in (("textbook", 1), ("slot_core", 0)):
        print(f"{name:10} {statistics.median(turn[column] for turn in times):.3f} CPU-seconds")
    print(f"ratio      {ratio:.2f} (median of {options.turns} turns; needed: {NEEDED})")


if __name__ == "__main__":
    main()
