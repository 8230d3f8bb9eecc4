"""Which predicted segment stands for which true segment.

``optimal_assignment`` gives each prediction to at most one true segment so that the summed
overlap is largest (the Hungarian method; Kuhn, 1955). ``best_overlap`` lets every true segment
take the prediction it overlaps most, so one prediction may serve several.
"""

import numpy as np
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

    Empty predictions are added until every true segment can have one of its own, so that all
    samples share one layout.
    """
    batch, num_true, num_predicted = overlap.shape
    spare = max(0, num_true - num_predicted)
    gains = torch.nn.functional.pad(overlap, (0, spare)).numpy()
    chosen = np.empty((batch, num_true), dtype=np.int64)
    for sample, gain in enumerate(gains):
        chosen[sample] = linear_sum_assignment(gain, maximize=True)[1]
    return torch.from_numpy(np.take_along_axis(gains, chosen[:, :, None], axis=2)[:, :, 0])
