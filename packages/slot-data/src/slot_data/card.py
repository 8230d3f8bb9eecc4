"""What a dataset says of itself: what is in it, how it is divided, what it asks of a model, and
under which terms it may be used."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from slot_data.sample import SampleDataset


@dataclass(frozen=True)
class Card:
    """splits: number of samples per split, None where the files decide it.
    objects: how many per picture, and whether that is computed or documented by the authors.
    num_slots: a suggestion: the most objects and one for the background, or what published models
        take where nobody can count them; None where the user knows better.
    """

    name: str
    description: str
    splits: Mapping[str, int | None]
    image_size: str
    objects: str
    num_slots: int | None
    preprocessing: str
    licence: str
    citation: str
    loader: Callable[..., SampleDataset]
