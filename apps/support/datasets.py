"""Datasets by name: slot-data's, and as PROVIDER:NAME those of other installed packages.

Other packages offer them where slot-eval finds them too (``slot_eval.plugins``), so that a dataset
of one's own is trained on and scored under one name. No file that is read names code to run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from slot_core import ConfigError
from slot_data import catalog, collate, load_dataset_by_name
from slot_data.slots import Slots
from slot_eval import plugins
from slot_eval.commands.common import parse_options


def load_dataset(name: str, *, split: str, **options: Any) -> Any:
    """The dataset, whose ``settings`` say what it is.

    Raises:
        ConfigError: if another package's is empty.
        DataError: as ``load_dataset_by_name`` does, or if another package's gives no samples.
        EvalError: if no installed package offers it, or the one that does refuses.
    """
    if ":" not in name:
        found = load_dataset_by_name(name, split=split, **options)
        if isinstance(found, Slots):
            found.load_pixels = load_dataset  # they may be of another package's videos
        return found
    dataset = plugins.load_dataset(name, split, options)
    if not len(dataset):
        raise ConfigError(f"the split {split} of {name} is empty")
    collate([dataset[0]])
    if not hasattr(dataset, "settings"):
        dataset.settings = {"name": name, "split": split, **options}
    return dataset


def read_options(name: str, texts: Sequence[str]) -> dict[str, Any]:
    """Options of a dataset from "key=value" of a command line.

    Those of slot-data are read as the dataset wants them; another package's, of which nothing is
    known, as ``slot-eval run`` reads them.

    Raises:
        DataError, EvalError: if one cannot be read, or slot-data has no such dataset.
    """
    if ":" in name:
        return parse_options(texts)
    return dict(catalog.parse_option(name, text) for text in texts)
