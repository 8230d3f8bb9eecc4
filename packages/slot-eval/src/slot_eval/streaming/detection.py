"""The streaming forms of what says whether objects are found, outlined and followed.

Pictures [B H W]; ``PanopticQuality``, ``CorLoc``, ``DetectionRecall``, ``ObjectCountError`` and
``BoundaryF`` also take clips [B T H W], ``IDF1`` only those.
"""

from functools import partial

from torch import Tensor

from slot_eval.functional.ari import Empty
from slot_eval.functional.boundary import TOLERANCE, boundary_f, video_boundary_f
from slot_eval.functional.boxes import box_precision, box_recall
from slot_eval.functional.detection import corloc, detection_recall, object_count_error
from slot_eval.functional.identity import idf1
from slot_eval.functional.panoptic import panoptic_quality
from slot_eval.streaming.metric import StreamingMetric


class PanopticQuality(StreamingMetric):
    """Streaming ``functional.panoptic_quality``."""

    def __init__(self, *, background: bool = True, empty: Empty = "nan") -> None:
        super().__init__(partial(panoptic_quality, background=background, empty=empty))


class CorLoc(StreamingMetric):
    """Streaming ``functional.corloc``."""

    def __init__(self, *, threshold: float = 0.5, empty: Empty = "nan") -> None:
        super().__init__(partial(corloc, threshold=threshold, empty=empty))


class DetectionRecall(StreamingMetric):
    """Streaming ``functional.detection_recall``."""

    def __init__(self, *, threshold: float = 0.5, empty: Empty = "nan") -> None:
        super().__init__(partial(detection_recall, threshold=threshold, empty=empty))


class ObjectCountError(StreamingMetric):
    """Streaming ``functional.object_count_error``."""

    def __init__(self) -> None:
        super().__init__(object_count_error)


class BoxPrecision(StreamingMetric):
    """Streaming ``functional.box_precision``."""

    def __init__(self, *, threshold: float = 0.5, empty: Empty = "nan") -> None:
        super().__init__(partial(box_precision, threshold=threshold, empty=empty))


class BoxRecall(StreamingMetric):
    """Streaming ``functional.box_recall``."""

    def __init__(self, *, threshold: float = 0.5, empty: Empty = "nan") -> None:
        super().__init__(partial(box_recall, threshold=threshold, empty=empty))


class BoundaryF(StreamingMetric):
    """Streaming ``functional.boundary_f``, and ``functional.video_boundary_f`` of clips."""

    def __init__(
        self, *, tolerance: float = TOLERANCE, background: bool = False, empty: Empty = "nan"
    ) -> None:
        super().__init__(
            partial(any_boundary_f, tolerance=tolerance, background=background, empty=empty)
        )


class IDF1(StreamingMetric):
    """Streaming ``functional.idf1`` of clips."""

    def __init__(self, *, threshold: float = 0.5, empty: Empty = "nan") -> None:
        super().__init__(partial(idf1, threshold=threshold, empty=empty))


def any_boundary_f(
    predicted: Tensor, true: Tensor, *, tolerance: float, background: bool, empty: Empty
) -> Tensor:
    """Boundary F of pictures or clips; at the module's level, for pickle."""
    score = boundary_f if true.ndim == 3 else video_boundary_f
    return score(predicted, true, tolerance=tolerance, background=background, empty=empty)
