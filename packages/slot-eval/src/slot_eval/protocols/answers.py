"""The protocol of yes-or-no answers: the share that is right, a logit above 0 being a yes.

What a model is chosen by, and on which data, is said where answers are reported: see
``slot_eval.physion_vqa``.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from jaxtyping import Bool, Float, Float64
from torch import Tensor


@dataclass(frozen=True)
class AnswerProtocol:
    """One way to score answers."""

    id: str
    description: str

    @property
    def metrics(self) -> tuple[str, ...]:
        """What every row has."""
        return ("accuracy",)

    @property
    def clip_metrics(self) -> tuple[str, ...]:
        """The same: there is one answer for a video."""
        return self.metrics

    @property
    def optional_metrics(self) -> tuple[str, ...]:
        """Nothing."""
        return ()

    def row_ids(self, ids: Sequence[str], num_frames: int) -> list[str]:
        """One row per sample."""
        return list(ids)

    def score(
        self, predicted: Float[Tensor, "batch 1"], true: Bool[Tensor, "batch 1"]
    ) -> dict[str, Float64[Tensor, " batch"]]:
        """1 where the logit ``predicted`` says what is ``true``, else 0."""
        return {"accuracy": ((predicted > 0) == true).double()[:, 0]}

    def settings(self) -> dict[str, Any]:
        """Every field by name, for result files."""
        return asdict(self)


ANSWERS = AnswerProtocol(
    id="answers", description="the share of right answers; a logit above 0 is a yes"
)
