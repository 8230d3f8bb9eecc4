"""``slot_eval.functional.fg_ari`` as a module of ``evaluate``."""

from slot_eval.hf import label_metric


class FgAri(label_metric.LabelMetric):
    """``functional.fg_ari``; its options are those of ``compute``."""

    function = "fg_ari"
