"""Metrics as pure functions of a batch: (predicted, true) -> float64 [B].

Those of segmentation take integer labels, those of reconstruction videos in [0, 1].

``ari`` and its like take pictures [B H W]; of clips [B T H W], ``video_*`` score all frames as one
point set, ``frame_*`` average over single frames, and ``identity_switches`` follows the objects.
"""

from slot_eval.functional.ari import ari, fg_ari, video_ari, video_fg_ari
from slot_eval.functional.boundary import boundary_f, video_boundary_f
from slot_eval.functional.boxes import box_precision, box_recall
from slot_eval.functional.composition import compose_slots
from slot_eval.functional.detection import corloc, detection_recall, object_count_error
from slot_eval.functional.frames import (
    frame_ari,
    frame_fg_ari,
    frame_fg_miou,
    frame_mbo,
    frame_miou,
)
from slot_eval.functional.frechet import frechet_distance, gaussian_distance
from slot_eval.functional.identity import idf1
from slot_eval.functional.iou import (
    fg_miou,
    mbo,
    miou,
    video_fg_miou,
    video_mbo,
    video_miou,
)
from slot_eval.functional.panoptic import panoptic_quality
from slot_eval.functional.reconstruction import mse, psnr, reconstruction_metrics, ssim
from slot_eval.functional.segmentation import (
    CLIP_METRICS,
    METRICS,
    clip_metrics,
    segmentation_metrics,
)
from slot_eval.functional.tracking import identity_switch_rate, identity_switches

__all__ = [
    "CLIP_METRICS",
    "METRICS",
    "ari",
    "boundary_f",
    "box_precision",
    "box_recall",
    "clip_metrics",
    "compose_slots",
    "corloc",
    "detection_recall",
    "fg_ari",
    "fg_miou",
    "frame_ari",
    "frame_fg_ari",
    "frame_fg_miou",
    "frame_mbo",
    "frame_miou",
    "frechet_distance",
    "gaussian_distance",
    "identity_switch_rate",
    "identity_switches",
    "idf1",
    "mbo",
    "miou",
    "mse",
    "object_count_error",
    "panoptic_quality",
    "psnr",
    "reconstruction_metrics",
    "segmentation_metrics",
    "ssim",
    "video_ari",
    "video_boundary_f",
    "video_fg_ari",
    "video_fg_miou",
    "video_mbo",
    "video_miou",
]
