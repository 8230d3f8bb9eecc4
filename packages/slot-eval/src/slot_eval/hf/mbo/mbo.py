"""``slot_eval.functional.mbo`` as a module of ``evaluate``."""

from slot_eval.hf import label_metric


class MBO(label_metric.LabelMetric):
    """``functional.mbo``; its options are those of ``compute``."""

    function = "mbo"
