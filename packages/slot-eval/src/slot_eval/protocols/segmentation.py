"""Protocols: what exactly a score means, as an object with a name that every result carries.

Nobody in this field computes quite the same metric: what a picture without objects counts, whether
labels that do not occur count, what happens where annotations overlap. A protocol fixes each such
choice by a named switch. ``get("slotdiffusion")`` is the evaluation of the SlotDiffusion code
(Wu et al., NeurIPS 2023), value for value, on the labels it is given. That code's data loaders
also renumber each picture's labels to 0, 1, ... after resizing; that is the data's business and
not done here.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Float64, Int64, Integer
from torch import Tensor
from torch.nn.functional import interpolate

from slot_eval.functional import CLIP_METRICS, METRICS, clip_metrics, segmentation_metrics
from slot_eval.functional.ari import Empty
from slot_eval.functional.contingency import countable
from slot_eval.functional.iou import AbsentIds


@dataclass(frozen=True)
class Protocol:
    """One way to score segmentations; every field but the first two is a switch.

    A clip is one sample. The five scores take all its frames as one point set, so ids must hold
    still through time. Of clips of more than one frame ``score`` also gives the five for single
    frames (``frame_*``, means over the clip's frames) and the identity switches. The switches hold
    for single frames too, except ``absent_ids``: an object out of sight is no error, so a frame
    is judged by the objects that are in it.
    """

    id: str
    description: str
    empty_ari: Empty
    """FG-ARI of a sample without foreground."""
    empty_iou: Empty
    """FG-mIoU and mBO of a sample without foreground; "nan" is undefined, left out of means."""
    absent_ids: AbsentIds
    """Whether labels between 0 and the sample's largest that do not occur count as IoU 0."""
    epsilon: float
    """Added to the union of every IoU."""
    mbo_background: bool
    """Whether mBO averages over the background too."""
    overlap: Literal["new_segment"]
    """Pixels where annotated objects overlap: "new_segment" makes them background in the truth
    and one segment of their own in the prediction."""
    upsampling: Literal["bilinear"]
    """How soft masks reach the labels' size, before each pixel takes its largest mask."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names that ``score`` returns for pictures, and clips of one frame."""
        return METRICS

    @property
    def clip_metrics(self) -> tuple[str, ...]:
        """The names that ``score`` returns for longer clips; they begin with ``metrics``."""
        return CLIP_METRICS

    @property
    def optional_metrics(self) -> tuple[str, ...]:
        """What is scored where a sample knows more."""
        return ()

    def row_ids(self, ids: Sequence[str], num_frames: int) -> list[str]:
        """One row per sample."""
        return list(ids)

    def score(
        self,
        predicted: Integer[Tensor, "batch time height width"],
        true: Integer[Tensor, "batch time height width"],
        overlap: Bool[Tensor, "batch time height width"] | None = None,
    ) -> dict[str, Float64[Tensor, " batch"]]:
        """Score clips (pictures have one frame): metric name -> one value per sample, on the CPU.

        ``overlap`` marks pixels where several annotated objects lie on top of one another.
        Raises EvalError on labels that differ in shape, are negative or not integers.
        """
        if overlap is not None:
            predicted, true = overlap_as_new_segment(predicted, true, overlap)
        score = clip_metrics if true.shape[1] > 1 else segmentation_metrics
        return score(
            predicted,
            true,
            empty_ari=self.empty_ari,
            empty_iou=self.empty_iou,
            absent_ids=self.absent_ids,
            epsilon=self.epsilon,
            mbo_background=self.mbo_background,
        )

    def labels(
        self, masks: Float[Tensor, "batch time slots height0 width0"], height: int, width: int
    ) -> Int64[Tensor, "batch time {height} {width}"]:
        """Hard labels of soft masks at the size of the truth: upsample, then take the largest.

        In this order, as the borders differ: an argmax at the features' size, enlarged, is blocky.
        """
        batch, time, _, height0, width0 = masks.shape
        if (height0, width0) != (height, width):
            # half precision would make ties between slots
            flat = masks.flatten(0, 1).float()
            flat = interpolate(flat, (height, width), mode=self.upsampling, align_corners=False)
            masks = flat.unflatten(0, (batch, time))
        return masks.argmax(2)

    def settings(self) -> dict[str, Any]:
        """Every field by name, for result files."""
        return asdict(self)


def overlap_as_new_segment(
    predicted: Integer[Tensor, "batch *space"],
    true: Integer[Tensor, "batch *space"],
    overlap: Bool[Tensor, "batch *space"],
) -> tuple[Int64[Tensor, "batch *space"], Int64[Tensor, "batch *space"]]:
    """Overlap pixels become background in the truth, a new segment in the prediction.

    The new segment matches the background well, which raises the scores that count background.
    """
    predicted, true = countable(predicted).long(), countable(true).long()
    new_segment = predicted.max() + 1 if predicted.numel() else 0
    return torch.where(overlap, new_segment, predicted), torch.where(overlap, 0, true)
