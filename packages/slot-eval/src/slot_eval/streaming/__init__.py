"""Metrics over a stream of batches, each the class of a function, and ``Results``, one row per
sample id."""

from slot_eval.streaming.detection import (
    IDF1,
    BoundaryF,
    BoxPrecision,
    BoxRecall,
    CorLoc,
    DetectionRecall,
    ObjectCountError,
    PanopticQuality,
)
from slot_eval.streaming.frechet import FrechetDistance, Moments
from slot_eval.streaming.metric import StreamingMetric, mean_of_defined
from slot_eval.streaming.reconstruction import MSE, PSNR, SSIM
from slot_eval.streaming.results import Results
from slot_eval.streaming.segmentation import (
    ARI,
    FGARI,
    MBO,
    FGMIoU,
    IdentitySwitches,
    IdentitySwitchRate,
    MIoU,
    PerFrame,
)

__all__ = [
    "ARI",
    "FGARI",
    "IDF1",
    "MBO",
    "MSE",
    "PSNR",
    "SSIM",
    "BoundaryF",
    "BoxPrecision",
    "BoxRecall",
    "CorLoc",
    "DetectionRecall",
    "FGMIoU",
    "FrechetDistance",
    "IdentitySwitchRate",
    "IdentitySwitches",
    "MIoU",
    "Moments",
    "ObjectCountError",
    "PanopticQuality",
    "PerFrame",
    "Results",
    "StreamingMetric",
    "mean_of_defined",
]
