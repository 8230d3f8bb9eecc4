"""The segmentation metrics as modules of Hugging Face's ``evaluate`` (extra ``evaluate``).

``evaluate.load("packages/slot-eval/src/slot_eval/hf/fg_ari")``, or of an installed package
``evaluate.load(slot_eval.hf.path("fg_ari"))``; each is also a class to import, such as
``slot_eval.hf.fg_ari.fg_ari.FgAri``. They are for reports: training and the command line use the
functions themselves.
"""

from pathlib import Path

from slot_eval.errors import EvalError

MODULES = ("ari", "fg_ari", "miou", "fg_miou", "mbo", "panoptic_quality")


def path(name: str) -> str:
    """The folder of a module, for ``evaluate.load``; raises EvalError on an unknown one."""
    if name not in MODULES:
        raise EvalError(f"there is no module {name!r}; there are {', '.join(MODULES)}")
    return str(Path(__file__).parent / name)
