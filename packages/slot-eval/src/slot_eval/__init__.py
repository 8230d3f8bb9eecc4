"""Segmentation metrics of unsupervised object-centric learning, under named protocols.

``slot_eval.functional`` holds the metrics as pure functions of labels, ``slot_eval.protocols``
says what exactly a score means, ``Results`` gathers scores over batches and processes. Importing
this loads torch, numpy, scipy and jaxtyping only.
"""

from slot_eval.errors import EvalError
from slot_eval.functional import (
    ari,
    fg_ari,
    fg_miou,
    mbo,
    miou,
    segmentation_metrics,
    video_ari,
    video_fg_ari,
    video_fg_miou,
    video_mbo,
    video_miou,
)
from slot_eval.streaming import Results

__all__ = [
    "EvalError",
    "Results",
    "ari",
    "fg_ari",
    "fg_miou",
    "mbo",
    "miou",
    "segmentation_metrics",
    "video_ari",
    "video_fg_ari",
    "video_fg_miou",
    "video_mbo",
    "video_miou",
]
