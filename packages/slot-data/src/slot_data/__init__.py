"""Datasets of unsupervised object-centric learning in their real layouts."""

from slot_data.sample import DataError, Sample
from slot_data.shapes import Shapes

__all__ = ["DataError", "Sample", "Shapes"]
