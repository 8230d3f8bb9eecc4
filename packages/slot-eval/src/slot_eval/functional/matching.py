"""Which predicted segment stands for which true segment.

``optimal_assignment`` gives each prediction to at most one true segment so that the summed
overlap is largest (the Hungarian method; Kuhn, 1955). ``best_overlap`` lets every true segment
take the prediction it overlaps most, so one prediction may serve several.
"""

import torch
from jaxtyping import Float64
from scipy.optimize import linear_sum_assignment
from torch import Tensor


def best_overlap(
    overlap: Float64[Tensor, "batch true predicted"],
) -> Float64[Tensor, "batch true"]:
    """Each true segment's largest overlap with any predicted segment."""
    return overlap.amax(2)


def optimal_assignment(
    overlap: Float64[Tensor, "batch true predicted"],
) -> Float64[Tensor, "batch true"]:
    """Each true segment's overlap with the prediction assigned to it; 0 where none is left.

    Where the best overlaps of a sample already fall on different predictions they are an upper
    bound that is reached, hence the optimum; only the other samples need the Hungarian method.
    """
    assigned, choice = overlap.max(2)
    unsettled = has_conflict(choice, assigned > 0, overlap.shape[2])
    costs = overlap[unsettled].numpy()
    for sample, cost in zip(unsettled.tolist(), costs, strict=True):
        rows, columns = linear_sum_assignment(cost, maximize=True)
        row = torch.zeros_like(assigned[sample])
        row[torch.from_numpy(rows)] = torch.from_numpy(cost[rows, columns])
        assigned[sample] = row
    return assigned


def has_conflict(choice: Tensor, wanted: Tensor, num_predicted: int) -> Tensor:
    """Indices [samples] of the samples in which two true segments want the same prediction.

    ``choice`` and ``wanted`` are [batch true]; a true segment that overlaps nothing wants none.
    """
    demand = torch.zeros(choice.shape[0], num_predicted, dtype=torch.int64)
    demand.scatter_add_(1, choice, wanted.long())
    return (demand > 1).any(1).nonzero().squeeze(1)
