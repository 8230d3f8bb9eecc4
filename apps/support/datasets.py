"""Datasets by name: slot-data's, and as PROVIDER:NAME those of other installed packages.

Other packages offer them where slot-eval finds them too (``slot_eval.plugins``), so that a dataset
of one's own is trained on and scored under one name. No file that is read names code to run.
"""

from __future__ import annotations

from typing import Any

from slot_core import ConfigError
from slot_data import collate, load_dataset_by_name
from slot_eval import plugins


def load_dataset(name: str, *, split: str, **options: Any) -> Any:
    """The dataset, whose ``settings`` say what it is.

    Raises:
        ConfigError: if another package's is empty.
        DataError: as ``load_dataset_by_name`` does, or if another package's gives no samples.
        EvalError: if no installed package offers it, or the one that does refuses.
    """
    if ":" not in name:
        return load_dataset_by_name(name, split=split, **options)
    dataset = plugins.load_dataset(name, split, options)
    if not len(dataset):
        raise ConfigError(f"the split {split} of {name} is empty")
    collate([dataset[0]])
    if not hasattr(dataset, "settings"):
        dataset.settings = {"name": name, "split": split, **options}
    return dataset
