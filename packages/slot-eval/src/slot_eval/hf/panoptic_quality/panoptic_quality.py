"""``slot_eval.functional.panoptic_quality`` as a module of ``evaluate``."""

from slot_eval.hf import label_metric


class PanopticQuality(label_metric.LabelMetric):
    """``functional.panoptic_quality``; its options are those of ``compute``."""

    function = "panoptic_quality"
