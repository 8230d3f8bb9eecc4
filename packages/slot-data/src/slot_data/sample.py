"""The sample every dataset gives and every model and metric takes: a picture is a video of
one frame, pixels are uint8 until `collate`, label 0 is the background."""

from typing import NotRequired, Protocol, TypedDict, runtime_checkable

from torch import Tensor


class DataError(ValueError):
    """What the user asked of a dataset cannot be had; the message is one sentence that names
    the file, option or value and what was expected."""

    def __init__(self, sentence: str) -> None:
        # A DataLoader's worker hands an error over by building it again from its whole
        # traceback; the sentence is what follows the name of the class in the last line.
        super().__init__(sentence.rpartition("sample.DataError: ")[2].strip())


class Sample(TypedDict):
    """One picture or one clip.

    video: uint8 [T 3 H W].
    id: unique within a split, the same on every machine and in every run.
    labels: integers [T H W]; 0 is the background, an object keeps its number through time.
    """

    video: Tensor
    id: str
    labels: NotRequired[Tensor]


@runtime_checkable
class SampleDataset(Protocol):
    """A map-style dataset: what `load_dataset_by_name` returns. Reading one index twice gives
    equal samples; nothing random happens in `__getitem__`."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Sample: ...
