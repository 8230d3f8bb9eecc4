"""Segmentation metrics as pure functions of integer labels: (predicted, true) -> float64 [B]."""

from slot_eval.functional.ari import ari, fg_ari, video_ari, video_fg_ari
from slot_eval.functional.iou import (
    fg_miou,
    mbo,
    miou,
    video_fg_miou,
    video_mbo,
    video_miou,
)
from slot_eval.functional.segmentation import METRICS, segmentation_metrics

__all__ = [
    "METRICS",
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
