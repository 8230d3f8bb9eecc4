"""``slot_eval.functional.miou`` as a module of ``evaluate``."""

from slot_eval.hf import label_metric


class MIoU(label_metric.LabelMetric):
    """``functional.miou``; its options are those of ``compute``."""

    function = "miou"
