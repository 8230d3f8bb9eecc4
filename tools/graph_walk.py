"""``backward()`` of fake tensors of a GPU, without one.

PyTorch's engine asks the driver for the context of the device before it walks the graph, and there
is no driver. So the graph is walked here, in the same order and with what decides how much memory
is held: a node is done when all that needs its output is done, the latest of the forward pass
first; gradients of one tensor are added in place where nobody else holds the first of them; what a
node saved is let go with it; a parameter takes its gradient over as it is.

Hooks of tensors and nodes, and graphs of gradients, are not followed. Those of what nodes save are:
recomputing (``torch.utils.checkpoint``) asks for the number of the engine's task, so that what was
recomputed for one node is there for the next, and is given one.
"""

from __future__ import annotations

import heapq
import itertools
import sys
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

LEAF = "torch::autograd::AccumulateGrad"


def backward(loss: list[Tensor]) -> None:
    """Put the gradients of a loss into ``.grad`` of the parameters.

    Args:
        loss: the one tensor, which is taken out. Nobody else may hold it, or one of its graph:
            what nodes have saved is let go with the last one who could ask for it.
    """
    with torch.no_grad(), patch.object(torch._C, "_current_graph_task_id", return_value=0):
        _walk(loss)


def _walk(loss: list[Tensor]) -> None:
    total = loss.pop()
    root: Any = total.grad_fn
    gradients: dict[Any, list[Tensor | None]] = {root: [torch.ones_like(total)]}
    del total
    waits = _uses(root)
    order = itertools.count()
    ready = [(0, next(order), root)]
    del root
    while ready:
        _, _, node = heapq.heappop(ready)
        given = gradients.pop(node)
        if node.name() == LEAF:
            _accumulate(node.variable, given)
            continue
        edges = node.next_functions
        made = _called(node, given)
        del node, given
        for place, (following, index) in enumerate(edges):
            if following is None:
                continue
            _add(gradients, following, index, made, place)
            waits[following] -= 1
            if not waits[following]:
                del waits[following]
                first = following.name() == LEAF
                rank = -sys.maxsize if first else -following._sequence_nr()
                heapq.heappush(ready, (rank, next(order), following))
        del edges, following


def _uses(root: Any) -> dict[Any, int]:
    """How many edges lead to each node below ``root``."""
    uses: dict[Any, int] = {}
    seen, unseen = {root}, [root]
    while unseen:
        for following, _ in unseen.pop().next_functions:
            if following is None:
                continue
            uses[following] = uses.get(following, 0) + 1
            if following not in seen:
                seen.add(following)
                unseen.append(following)
    return uses


def _called(node: Any, given: list[Tensor | None]) -> list[Tensor | None]:
    """The gradients of what went into a node; of none there come none."""
    if all(one is None for one in given):
        return [None] * len(node.next_functions)
    made = node(*given)
    return list(made) if isinstance(made, tuple) else [made]


def _add(
    gradients: dict[Any, list[Tensor | None]],
    node: Any,
    index: int,
    made: list[Tensor | None],
    place: int,
) -> None:
    """Add ``made[place]``, which is taken out, to what has come to an input of ``node``."""
    expected = node._input_metadata
    sums = gradients.setdefault(node, [None] * len(expected))
    coming, made[place] = made[place], None
    if coming is None:
        return
    if coming.shape != expected[index].shape:
        coming = coming.sum_to_size(expected[index].shape)
    coming = coming.to(expected[index].dtype)
    if sums[index] is None:
        sums[index] = coming
        return
    both = [sums[index], coming]
    sums[index] = None
    del coming
    if _is_alone(both, 0):
        both[0] += both[1]
        sums[index] = both[0]
    else:
        sums[index] = both[0] + both[1]


def _is_alone(tensors: list[Any], index: int) -> bool:
    """Whether nobody else holds that tensor, or its memory, so that it can be added to."""
    storage = tensors[index].untyped_storage()
    once = torch._C._storage_Use_Count(storage._cdata) == 2  # the tensor, and ``storage``
    dense = storage.nbytes() == tensors[index].numel() * tensors[index].element_size()
    del storage
    alone = _references(tensors, index) == ALONE and tensors[index]._use_count() == 1
    return alone and once and dense


def _references(things: list[Any], index: int) -> int:
    """To one of a list; how many a single one has depends on the version of Python."""
    one = things[index]
    return sys.getrefcount(one)


ALONE = _references([object()], 0)


def _accumulate(parameter: Tensor, given: list[Tensor | None]) -> None:
    """Of parameters that are used more than once the sum has been made before."""
    (gradient,) = given
    if gradient is None:
        return
    if parameter.grad is not None:
        parameter.grad += gradient
    elif gradient.stride() == parameter.stride():
        parameter.grad = gradient
    else:
        parameter.grad = torch.empty_like(parameter).copy_(gradient)
