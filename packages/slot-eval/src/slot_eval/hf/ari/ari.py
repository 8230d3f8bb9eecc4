"""``slot_eval.functional.ari`` as a module of ``evaluate``."""

from slot_eval.hf import label_metric


class Ari(label_metric.LabelMetric):
    """``functional.ari``; its options are those of ``compute``."""

    function = "ari"
