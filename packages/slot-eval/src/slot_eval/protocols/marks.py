"""What becomes of pixels that a data set marks: where objects overlap, and where nobody decided."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Integer
from torch import Tensor

from slot_eval.functional.contingency import countable

Labels = Integer[Tensor, "batch *space"]
Mark = Bool[Tensor, "batch *space"]


@dataclass(frozen=True)
class Marks:
    """Marked pixels by what is done with them; None where there are none of a kind.

    ``ignore``: left out of every count. ``new_segment``: background in the truth and one segment
    of their own in the prediction, which matches the background well and raises the scores that
    count it. ``as_background``: background in the truth, whatever is predicted.
    """

    ignore: Mark | None
    new_segment: Mark | None
    as_background: Mark | None

    @classmethod
    def under(
        cls,
        overlap_is: Literal["new_segment", "ignore", "as_labelled"],
        void_is: Literal["new_segment", "ignore", "background"],
        overlap: Mark | None,
        void: Mark | None,
    ) -> "Marks":
        """The marks of a batch under a protocol's two switches."""
        kinds: dict[str, Mark | None] = {}
        for kind, mark in ((overlap_is, overlap), (void_is, void)):
            if mark is not None:
                before = kinds.get(kind)
                kinds[kind] = mark if before is None else before | mark
        return cls(kinds.get("ignore"), kinds.get("new_segment"), kinds.get("background"))

    def true(self, labels: Labels) -> Labels:
        """True labels, of objects or of classes, under the marks."""
        for mark in (self.new_segment, self.as_background):
            labels = labels if mark is None else torch.where(mark, 0, countable(labels))
        return labels

    def predicted(self, labels: Labels) -> Labels:
        """Predicted labels under the marks."""
        if self.new_segment is None:
            return labels
        labels = countable(labels).long()
        number = labels.max() + 1 if labels.numel() else 0
        return torch.where(self.new_segment, number, labels)
