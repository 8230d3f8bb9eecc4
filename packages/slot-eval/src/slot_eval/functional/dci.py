"""Disentanglement and completeness of a representation (Eastwood and Williams, ICLR 2018, "A
Framework for the Quantitative Evaluation of Disentangled Representations", section 2).

Both are of a matrix of importances: how much each value of the representation matters for
predicting each property, by whichever model. Disentanglement of a value is 1 minus the entropy of
its importances over properties (log base: their number), averaged by the values' share of all
importance; completeness of a property is 1 minus the entropy of its importances over values,
averaged over properties. A property that nothing matters for is not complete: it counts 0.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from slot_eval.errors import EvalError

Importances = Float[Tensor, "values properties"]


def disentanglement(importances: Importances) -> float:
    """Whether each value is about one property: 0 to 1.

    Raises EvalError on no importance at all.
    """
    importances = checked(importances)
    of_values = importances.sum(1)
    return float((one_minus_entropy(importances) * of_values).sum() / of_values.sum())


def completeness(importances: Importances) -> float:
    """Whether each property is in one value: 0 to 1. Raises EvalError as ``disentanglement``."""
    return float(one_minus_entropy(checked(importances).T).mean())


def one_minus_entropy(importances: Float[Tensor, "rows columns"]) -> Float[Tensor, " rows"]:
    """Of each row's shares, in the base of how many there are; 0 for a row without any."""
    if importances.shape[1] == 1:
        return (importances[:, 0] > 0).double()
    shares = importances / importances.sum(1, keepdim=True).clamp(min=1e-300)
    entropy = -torch.xlogy(shares, shares).sum(1)
    certain = 1 - entropy / torch.log(torch.tensor(importances.shape[1], dtype=torch.float64))
    return torch.where(importances.sum(1) > 0, certain, 0.0)


def checked(importances: Importances) -> Float[Tensor, "values properties"]:
    """In float64; raises EvalError unless they are at least 0 and not all 0."""
    importances = importances.double()
    if not (importances >= 0).all() or not importances.sum() > 0:
        raise EvalError("importances must be at least 0, and one of them above")
    return importances
