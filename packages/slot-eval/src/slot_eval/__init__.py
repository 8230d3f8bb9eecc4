"""Metrics of unsupervised object-centric learning, under named protocols.

``slot_eval.functional`` holds the metrics as pure functions, ``slot_eval.protocols``
says what exactly a score means, ``Results`` gathers scores over batches and processes. Importing
this loads torch, numpy, scipy and jaxtyping only.
"""

import slot_eval.starting  # noqa: F401  (before the seconds that torch takes to import)

# isort: split

from slot_eval.errors import EvalError
from slot_eval.functional import (
    ari,
    boundary_f,
    box_precision,
    box_recall,
    clip_metrics,
    corloc,
    detection_recall,
    fg_ari,
    fg_miou,
    frame_ari,
    frame_fg_ari,
    frame_fg_miou,
    frame_mbo,
    frame_miou,
    identity_switch_rate,
    identity_switches,
    idf1,
    mbo,
    miou,
    mse,
    object_count_error,
    panoptic_quality,
    psnr,
    segmentation_metrics,
    ssim,
    video_ari,
    video_boundary_f,
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
    "boundary_f",
    "box_precision",
    "box_recall",
    "clip_metrics",
    "corloc",
    "detection_recall",
    "fg_ari",
    "fg_miou",
    "frame_ari",
    "frame_fg_ari",
    "frame_fg_miou",
    "frame_mbo",
    "frame_miou",
    "identity_switch_rate",
    "identity_switches",
    "idf1",
    "mbo",
    "miou",
    "mse",
    "object_count_error",
    "panoptic_quality",
    "psnr",
    "segmentation_metrics",
    "ssim",
    "video_ari",
    "video_boundary_f",
    "video_fg_ari",
    "video_fg_miou",
    "video_mbo",
    "video_miou",
]
