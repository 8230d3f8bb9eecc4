"""Training steps of compiled models, for test_compile.py: in a process of its own, as the hook that
checks shapes in tests does not compile.

    python compiled_steps.py BACKEND FAMILY...

Prints a line of JSON for each family: how many graphs there are after each step, and how far
losses and gradients are from those of the same model that is not compiled.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from families import BATCH, FAMILIES, gradients, inputs, loss_of, prepared
from torch._dynamo.backends.registry import lookup_backend

from slot_core import HubModel

sys.path.append(str(Path(__file__).parents[1]))
from support.scoring import as_it_is

ROWS = range(BATCH)


class Counted:
    """A backend of torch.compile that counts the graphs."""

    def __init__(self, name: str) -> None:
        self.count = 0
        self.backend: Callable[..., Any] = lookup_backend(name)

    def __call__(self, graph: Any, examples: Any) -> Any:
        self.count += 1
        return self.backend(graph, examples)


def looked_at(model: HubModel, family: str, rows: range) -> None:
    """Whatever a validation asks of such a model."""
    for name in ("segment", "reconstruct", "rollout", "answer"):
        if name == "reconstruct" and not getattr(model, "paints", True):
            continue
        if (method := getattr(model, name, None)) is not None:
            first = inputs(family)[0][rows.start : rows.stop]
            method(first, **({"num_steps": 2, "stride": 1} if name == "rollout" else {}))


def compared(family: str, backend: str) -> dict[str, Any]:
    """Four steps, with a validation after the second, and steps of smaller batches."""
    torch._dynamo.reset()
    plain, model, counted = prepared(family), prepared(family), Counted(backend)
    model.compile(backend=counted, fullgraph=True)
    graphs, losses, slopes = [], [], []
    for step in range(2, 6):
        found = []
        for each in (plain, model):
            each.zero_grad()
            loss = loss_of(each, family, ROWS, step)
            loss.backward()
            found.append((float(loss.detach()), gradients(each)))
        (loss, gradient), (again, other) = found
        assert gradient.keys() == other.keys()
        losses.append(abs(again - loss) / abs(loss))
        largest = max(float(value.abs().max()) for value in gradient.values())
        slopes += [float((other[n] - gradient[n]).abs().max()) / largest for n in gradient]
        graphs.append(counted.count)
        if step == 3:
            with as_it_is():
                looked_at(model, family, ROWS)
                looked_at(model, family, ROWS[: BATCH // 2])
    smaller = []
    for count in (3, 2):
        loss_of(model, family, ROWS[:count], 6)
        smaller.append(counted.count)
    return {
        "family": family,
        "graphs": graphs,
        "smaller": smaller,
        "loss": max(losses),
        "gradient": max(slopes),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in sys.argv[2:] or FAMILIES:
        print(json.dumps(compared(name, sys.argv[1])), flush=True)
