"""Datasets of unsupervised object-centric learning in their real layouts."""

import slot_data.starting  # noqa: F401  (before the seconds that torch takes to import)

# isort: split

from slot_data import catalog
from slot_data.augmentations import AugmentedDataset
from slot_data.catalog import load_dataset_by_name
from slot_data.collate import collate
from slot_data.order import StepBatches
from slot_data.sample import DataError, Sample
from slot_data.shapes import Shapes

__all__ = [
    "AugmentedDataset",
    "DataError",
    "Sample",
    "Shapes",
    "StepBatches",
    "catalog",
    "collate",
    "load_dataset_by_name",
]
