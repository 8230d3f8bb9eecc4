"""How fast Slot Attention is against its textbook form, forward and backward in one run.

    uv run python tools/bench/slot_attention.py

The textbook form is Algorithm 1 written down as it stands (Locatello et al. 2020): keys and
values of all positions, einsum, softmax over slots, GRU, residual MLP. Both have the same
weights, and their outputs and gradients are compared before anything is timed. The two take
turns, so that other work on the machine slows both; the ratio of each turn's times is taken,
and the median over the turns is printed. On a machine that is not idle the processor's time
says more with one thread, and the wall's with several, since threads burn time waiting.
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


def seconds(call: Callable[[], object]) -> tuple[float, float]:
    """Processor time of all threads, and time on the wall."""
    cpu, wall = time.process_time(), time.perf_counter()
    call()
    return time.process_time() - cpu, time.perf_counter() - wall


def main() -> None:
    parser = argparse.ArgumentParser(description="Slot Attention against its textbook form.")
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
    turns = [(seconds(ours), seconds(theirs)) for _ in range(options.turns)]
    for clock, name in enumerate(("processor", "wall")):
        own = statistics.median(turn[0][clock] for turn in turns)
        reference = statistics.median(turn[1][clock] for turn in turns)
        ratio = statistics.median(turn[1][clock] / turn[0][clock] for turn in turns)
        print(f"{name:10} textbook {reference:.3f} s, slot_core {own:.3f} s, ratio {ratio:.2f}")
    print(f"medians of {options.turns} turns; needed is a ratio of {NEEDED}")


if __name__ == "__main__":
    main()
