"""How fast the five segmentation metrics are, against the two ways they are usually computed.

    uv run python tools/bench/metrics.py

* textbook: one-hot encodings, one sample and one metric at a time, as published evaluation code
  does it (float32 encodings; the counts go to float64, so that the values can be compared);
* joint histogram: one ``numpy.bincount`` per sample over (true, predicted), shared by the five
  formulas, which are then evaluated for that sample.

Each time is the best of several rounds in this process on one thread, the three taking turns, and
what counts is the ratio. The values must agree to 1e-6, or the benchmark fails.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn.functional import interpolate, one_hot

from slot_eval.functional import METRICS, segmentation_metrics

Scores = dict[str, Tensor]


def blobs(num_masks: int, size: int, num_ids: int, seed: int) -> tuple[Tensor, Tensor]:
    """True labels of smooth random regions, and predictions that follow them in part."""
    generator = torch.Generator().manual_seed(seed)

    def smooth() -> Tensor:
        coarse = torch.rand(num_masks, num_ids, 6, 6, generator=generator)
        return interpolate(coarse, (size, size), mode="bicubic", align_corners=False)

    shared = smooth()
    true = (shared + 0.6 * smooth()).argmax(1)
    renamed = torch.randperm(num_ids, generator=generator)
    predicted = renamed[(shared + 0.6 * smooth()).argmax(1)]
    return predicted, true


def textbook(predicted: Tensor, true: Tensor) -> Scores:
    """Every metric of every sample from its own one-hot encodings."""
    metrics: dict[str, Callable[[Tensor, Tensor], float]] = {
        "ari": lambda p, t: one_hot_ari(p, t, foreground=False),
        "fg_ari": lambda p, t: one_hot_ari(p, t, foreground=True),
        "miou": lambda p, t: one_hot_iou(p, t, foreground=False, hungarian=True),
        "fg_miou": lambda p, t: one_hot_iou(p, t, foreground=True, hungarian=True),
        "mbo": lambda p, t: one_hot_iou(p, t, foreground=True, hungarian=False),
    }
    return {
        name: torch.tensor(
            [metric(p, t) for p, t in zip(predicted, true, strict=True)], dtype=torch.float64
        )
        for name, metric in metrics.items()
    }


def one_hot_ari(predicted: Tensor, true: Tensor, foreground: bool) -> float:
    """(index - expected) / (maximum - expected) of one sample."""
    true_hot, predicted_hot = one_hot(true).float(), one_hot(predicted).float()
    if foreground:
        true_hot = true_hot[..., 1:]
    counts = torch.einsum("hwc,hwk->ck", true_hot, predicted_hot).double()
    a, b = counts.sum(1), counts.sum(0)
    n = a.sum()
    index = (counts * (counts - 1)).sum()
    a, b = (a * (a - 1)).sum(), (b * (b - 1)).sum()
    expected = a * b / (n * (n - 1)).clamp(min=1)
    denominator = (a + b) / 2 - expected
    return float((index - expected) / denominator) if denominator != 0 else 1.0


def one_hot_iou(predicted: Tensor, true: Tensor, foreground: bool, hungarian: bool) -> float:
    """Mean IoU of one sample under the Hungarian or the best matching."""
    true_hot, predicted_hot = one_hot(true).float(), one_hot(predicted).float()
    if foreground:
        true_hot = true_hot[..., 1:]
    intersection = torch.einsum("hwc,hwk->ck", true_hot, predicted_hot).double()
    union = true_hot.sum((0, 1))[:, None] + predicted_hot.sum((0, 1))[None] - intersection
    iou = intersection / (union + 1e-8)
    present = true_hot.sum((0, 1)) > 0
    if hungarian:
        rows, columns = linear_sum_assignment(iou.numpy(), maximize=True)
        return float(iou[rows, columns].sum() / present.sum())
    return float(iou.amax(1).sum() / present.sum())


def joint_histogram(predicted: Tensor, true: Tensor) -> Scores:
    """One table per sample, from which the five formulas are evaluated for that sample."""
    p_all, t_all = predicted.flatten(1).numpy(), true.flatten(1).numpy()
    rows = [table_scores(sample_table(p, t)) for p, t in zip(p_all, t_all, strict=True)]
    return {
        name: torch.tensor(column, dtype=torch.float64)
        for name, column in zip(METRICS, zip(*rows, strict=True), strict=True)
    }


def sample_table(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Joint counts [true predicted] of one sample."""
    c, k = int(true.max()) + 1, int(predicted.max()) + 1
    return np.bincount(true * k + predicted, minlength=c * k).reshape(c, k).astype(float)


def table_scores(table: np.ndarray) -> tuple[float, float, float, float, float]:
    """The five scores of one table, in the order of METRICS."""
    sizes = table.sum(1)
    present = sizes > 0
    iou = table / (sizes[:, None] + table.sum(0)[None] - table + 1e-8)
    matched = iou[linear_sum_assignment(iou, maximize=True)].sum()
    objects = iou[1:]
    matched_objects = objects[linear_sum_assignment(objects, maximize=True)].sum()
    num_objects = present[1:].sum()
    return (
        table_ari(table),
        table_ari(table[1:]),
        matched / present.sum(),
        matched_objects / num_objects,
        objects.max(1).sum() / num_objects,
    )


def table_ari(table: np.ndarray) -> float:
    """(index - expected) / (maximum - expected) of one table."""
    a, b = table.sum(1), table.sum(0)
    n = a.sum()
    index = (table * (table - 1)).sum()
    a, b = (a * (a - 1)).sum(), (b * (b - 1)).sum()
    expected = a * b / max(n * (n - 1), 1)
    denominator = (a + b) / 2 - expected
    return (index - expected) / denominator if denominator != 0 else 1.0


def compare(num_masks: int, size: int, num_ids: int, rounds: int) -> None:
    """Time the three ways in turns, check their values, print the ratios."""
    predicted, true = blobs(num_masks, size, num_ids, seed=0)
    ways: dict[str, Callable[[Tensor, Tensor], Scores]] = {
        "slot_eval": segmentation_metrics,
        "textbook": textbook,
        "histogram": joint_histogram,
    }
    scores = {name: way(predicted, true) for name, way in ways.items()}
    for name in ("textbook", "histogram"):
        for metric in METRICS:
            difference = (scores[name][metric] - scores["slot_eval"][metric]).abs().max()
            if not difference <= 1e-6:
                raise SystemExit(f"{metric}: slot_eval and {name} differ by {difference:.2e}")
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            way(predicted, true)
            best[name] = min(best[name], time.perf_counter() - start)
    ours = best["slot_eval"]
    print(
        f"{num_masks} masks of {size}x{size}, {num_ids} true and {num_ids} predicted ids: "
        f"{ours * 1e3:.1f} ms; textbook one-hot {best['textbook'] / ours:.1f} times as long, "
        f"joint histogram per sample {best['histogram'] / ours:.1f} times (values equal to 1e-6)"
    )


def main() -> None:
    """Print the ratios at the sizes of CLEVRTex and of MOVi-E."""
    parser = argparse.ArgumentParser(description="Time the metrics.")
    parser.add_argument("--rounds", type=int, default=5, help="rounds to take the best of")
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    compare(64, 128, 11, rounds)
    compare(512, 128, 24, rounds)


if __name__ == "__main__":
    main()
