"""What slots know of objects: their properties predicted from single slots (extra ``probes``).

As in Dittadi et al. (ICML 2022, "Generalization and Robustness Implications in Object-Centric
Learning", section 3): each object is given the slot whose mask overlaps it most among one-to-one
matchings, and a linear model or an MLP learns from the slots of some samples to predict a property
on others. A continuous property is scored by R^2, a categorical one by accuracy. For DCI (see
``functional.dci``) the importances are those of gradient-boosted trees, one model per property, and
informativeness is their mean score.
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int64, Integer
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from slot_eval.errors import EvalError
from slot_eval.functional.contingency import contingency
from slot_eval.functional.dci import completeness, disentanglement
from slot_eval.functional.iou import pairwise_iou

Kind = Literal["linear", "mlp"]
Features = Float[Tensor, "objects dim"]


def matched_slots(
    predicted: Integer[Tensor, "batch *space"], true: Integer[Tensor, "batch *space"], num: int
) -> Int64[Tensor, "batch {num}"]:
    """The slot of each object 1 .. num, by the largest sum of IoU; -1 where there is none.

    ``predicted`` labels are numbers of slots. An object that no slot overlaps has none.
    """
    slots = torch.full((len(true), num), -1, dtype=torch.int64)
    for sample, (p, t) in enumerate(zip(predicted, true, strict=True)):
        numbers, found = p.unique(return_inverse=True)  # large true labels renumber both
        table = contingency(found[None], t[None].long())
        iou = pairwise_iou(table, 0.0)[0]
        rows = (table.true_ids[0] > 0).nonzero()[:, 0]
        for row, slot in zip(*linear_sum_assignment(iou[rows].numpy(), maximize=True), strict=True):
            label = int(table.true_ids[0, rows[row]])
            if iou[rows[row], slot] > 0 and label <= num:
                slots[sample, label - 1] = int(numbers[slot])
    return slots


class PropertyProbe:
    """Streaming: gather slots and properties of objects, then fit on some and score the others.

    Properties are float (continuous) or integer (categorical) by their tensors' types.
    """

    def __init__(self, kind: Kind = "linear", seed: int = 0) -> None:
        if kind not in ("linear", "mlp"):
            raise EvalError(f"a probe is linear or mlp, not {kind!r}")
        self.kind: Kind = kind
        self.seed = seed
        self.train: list[tuple[Tensor, dict[str, Tensor]]] = []
        self.test: list[tuple[Tensor, dict[str, Tensor]]] = []

    def update(self, slots: Features, properties: Mapping[str, Tensor], *, training: bool) -> None:
        """Add objects, each with its slot [objects dim] and properties [objects]."""
        for name, values in properties.items():
            if values.shape != slots.shape[:1]:
                raise EvalError(
                    f"the property {name} is of shape {list(values.shape)}, expected one value for "
                    f"each of {len(slots)} objects"
                )
        (self.train if training else self.test).append((slots.cpu(), dict(properties)))

    def merge(self, other: "PropertyProbe") -> None:
        """Take over the objects of another one."""
        self.train += other.train
        self.test += other.test

    def compute(self) -> dict[str, float]:
        """R^2 or accuracy of each property on the objects that were not trained on."""
        return property_prediction(*joined(self.train), *joined(self.test), self.kind, self.seed)


class DCI(PropertyProbe):
    """Streaming ``dci``: gathers as ``PropertyProbe`` does."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed=seed)

    def compute(self) -> dict[str, float]:
        """Disentanglement, completeness and informativeness."""
        return dci(*joined(self.train), *joined(self.test), self.seed)


def property_prediction(
    train: Features,
    train_properties: Mapping[str, Tensor],
    test: Float[Tensor, "others dim"],
    test_properties: Mapping[str, Tensor],
    kind: Kind = "linear",
    seed: int = 0,
) -> dict[str, float]:
    """R^2 (at most 1) or accuracy of each property, from standardised slots.

    Raises EvalError on no objects to learn from or to score, and where the extra is missing.
    """
    scores = {}
    for name, values in train_properties.items():
        model = probe_model(kind, continuous=values.is_floating_point(), seed=seed)
        scores[name] = fitted(model, train, values).score(test.numpy(), test_properties[name])
    return {name: float(score) for name, score in scores.items()}


def dci(
    train: Features,
    train_properties: Mapping[str, Tensor],
    test: Float[Tensor, "others dim"],
    test_properties: Mapping[str, Tensor],
    seed: int = 0,
) -> dict[str, float]:
    """Disentanglement, completeness and informativeness (mean R^2 or accuracy) of slots."""
    ensemble = sklearn_part("ensemble")
    importances, scores = [], []
    for name, values in train_properties.items():
        kind = "Regressor" if values.is_floating_point() else "Classifier"
        model = getattr(ensemble, f"GradientBoosting{kind}")(random_state=seed)
        model = fitted(model, train, values)
        importances.append(model.feature_importances_)
        scores.append(float(model.score(test.numpy(), test_properties[name])))
    matrix = torch.from_numpy(np.stack(importances, axis=1))
    return {
        "disentanglement": disentanglement(matrix),
        "completeness": completeness(matrix),
        "informativeness": float(np.mean(scores)),
    }


def probe_model(kind: Kind, *, continuous: bool, seed: int) -> Any:
    """A scikit-learn model of slots that are standardised first."""
    linear, network = sklearn_part("linear_model"), sklearn_part("neural_network")
    pipeline, preprocessing = sklearn_part("pipeline"), sklearn_part("preprocessing")
    if kind == "linear":
        model = linear.Ridge() if continuous else linear.LogisticRegression(max_iter=1000)
    else:
        chosen = network.MLPRegressor if continuous else network.MLPClassifier
        model = chosen(hidden_layer_sizes=(256,), max_iter=500, random_state=seed)
    return pipeline.make_pipeline(preprocessing.StandardScaler(), model)


def fitted(model: Any, slots: Features, values: Tensor) -> Any:
    """The model after it has learned one property."""
    if not len(slots):
        raise EvalError("a probe needs objects to learn from, there is none")
    return model.fit(slots.numpy(), values.numpy())


def joined(parts: list[tuple[Tensor, dict[str, Tensor]]]) -> tuple[Tensor, dict[str, Tensor]]:
    """All objects of a stream; raises EvalError where there is none."""
    if not parts:
        raise EvalError("a probe needs objects to learn from and others to score")
    names = parts[0][1]
    return (
        torch.cat([slots for slots, _ in parts]),
        {name: torch.cat([properties[name] for _, properties in parts]) for name in names},
    )


def sklearn_part(name: str) -> Any:
    """A module of scikit-learn; raises EvalError that names the extra where it is missing."""
    from importlib import import_module

    try:
        return import_module(f"sklearn.{name}")
    except ImportError as error:
        raise EvalError("probes need an extra: pip install 'slot-eval[probes]'") from error
