"""``slot_eval.functional.fg_miou`` as a module of ``evaluate``."""

from slot_eval.hf import label_metric


class FgMIoU(label_metric.LabelMetric):
    """``functional.fg_miou``; its options are those of ``compute``."""

    function = "fg_miou"
