"""What the modules share: pictures of labels in, the mean over pictures out."""

from typing import Any, ClassVar

import numpy as np
import torch

from slot_eval import functional
from slot_eval.errors import EvalError
from slot_eval.streaming.metric import mean_of_defined

try:
    import datasets
    import evaluate
except ImportError as error:
    raise EvalError("this needs an extra: pip install 'slot-eval[evaluate]'") from error

CITATION = "Scored by slot-eval; see the module's function for the paper of the metric."
INPUTS = "predictions, references: pictures of integer labels [height width], 0 = background"


class LabelMetric(evaluate.Metric):
    """A function of ``slot_eval.functional`` as an evaluate.Metric; ``compute`` takes its options.

    Gives the mean over pictures by the metric's name, over how many (``n``) and for how many it is
    ``undefined``.
    """

    function: ClassVar[str]

    def _info(self) -> Any:
        description = getattr(functional, self.function).__doc__
        labels = datasets.Sequence(datasets.Sequence(datasets.Value("int64")))
        return evaluate.MetricInfo(
            description=description,
            citation=CITATION,
            inputs_description=INPUTS,
            features=datasets.Features({"predictions": labels, "references": labels}),
        )

    def _compute(self, predictions: Any, references: Any, **options: Any) -> dict[str, Any]:
        score = getattr(functional, self.function)
        values = [
            score(picture(predicted), picture(true), **options).item()
            for predicted, true in zip(predictions, references, strict=True)
        ]
        mean, n = mean_of_defined(values)
        return {self.function: mean, "n": n, "undefined": len(values) - n}


def picture(labels: Any) -> torch.Tensor:
    """Nested lists of labels as a batch of one picture."""
    return torch.from_numpy(np.asarray(labels, dtype=np.int64))[None]
