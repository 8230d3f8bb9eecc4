"""The truth that files are scored against: other files, or a data set, as samples in order."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from torch import Tensor

from slot_eval.errors import EvalError
from slot_eval.plugins import read_sample
from slot_eval.predictions import Predictions


@dataclass(frozen=True)
class TrueLabels:
    """What a truth says of one sample, each [T H W]; ``video`` [T 3 H W] is for reports."""

    id: str
    labels: Tensor
    overlap: Tensor | None = None
    void: Tensor | None = None
    class_labels: Tensor | None = None
    video: Tensor | None = None

    @property
    def content(self) -> Tensor:
        """What a prediction must be shaped as."""
        return self.labels

    @property
    def shapes(self) -> tuple[object, ...]:
        """What must be equal for two samples to be stacked."""
        marks = (self.overlap, self.void, self.class_labels)
        return (self.labels.shape, *(mark is None for mark in marks))


@dataclass(frozen=True)
class TruePictures:
    """The true pictures of one sample, uint8 [T 3 H W]."""

    id: str
    content: Tensor

    @property
    def shapes(self) -> tuple[object, ...]:
        """What must be equal for two samples to be stacked."""
        return (self.content.shape,)


S = TypeVar("S", TrueLabels, TruePictures)


def without_labels(name: str, source: str) -> str:
    """What is said of a sample that cannot be scored on its labels."""
    return (
        f"sample {name!r} of {source} has no labels to score against; reconstructions need none: "
        "slot-eval reconstruct"
    )


def pixels_of(sample: Mapping[str, Any], source: str) -> Tensor:
    """The video of a sample; raises EvalError where it has none, as slots on disk."""
    if sample.get("video") is None:
        raise EvalError(
            f"sample {sample['id']!r} of {source} has no pixels; a data set of slots gives them "
            "with --option pixels=true"
        )
    return sample["video"]


def labels_of(sample: Mapping[str, Any], source: str) -> TrueLabels:
    """What a sample says of labels; raises EvalError where it has none."""
    if "labels" not in sample:
        raise EvalError(without_labels(sample["id"], source))
    marks = (sample.get(name) for name in ("overlap", "void", "class_labels", "video"))
    return TrueLabels(sample["id"], sample["labels"], *marks)


def pictures_of(sample: Mapping[str, Any], source: str) -> TruePictures:
    """The pictures of a sample; raises EvalError where it has none."""
    return TruePictures(sample["id"], pixels_of(sample, source))


class Truth(Generic[S]):
    """True samples; ``source`` is what messages call it. ``make`` is ``labels_of`` or
    ``pictures_of``, and ``complete`` says whether there are no others."""

    source: str
    complete = True

    def __init__(self, make: Callable[[Mapping[str, Any], str], S]) -> None:
        self._make = make

    def samples(self) -> Iterator[S]:
        """Every sample in order."""
        raise NotImplementedError

    def sample(self, name: str) -> S:
        """One of those that ``samples`` has given."""
        raise NotImplementedError


class FileTruth(Truth[S]):
    """The truth in a file or folder."""

    def __init__(
        self, files: Predictions[Tensor], make: Callable[[Mapping[str, Any], str], S]
    ) -> None:
        super().__init__(make)
        self.source = files.source
        self._files = files

    def samples(self) -> Iterator[S]:
        """Every sample in order."""
        return map(self.sample, self._files.ids)

    def sample(self, name: str) -> S:
        """One of them."""
        return self._make(self._files.sample(name), self.source)


class DatasetTruth(Truth[S]):
    """The truth in the first ``limit`` samples of a data set."""

    def __init__(
        self,
        dataset: Any,
        source: str,
        limit: int | None,
        make: Callable[[Mapping[str, Any], str], S],
    ) -> None:
        super().__init__(make)
        self.source = source
        self._dataset = dataset
        self._count = len(dataset) if limit is None else min(limit, len(dataset))
        self.complete = self._count == len(dataset)
        self._index: dict[str, int] = {}

    def samples(self) -> Iterator[S]:
        """Every sample in order; raises EvalError on one that is none, or comes twice."""
        self._index.clear()
        for index in range(self._count):
            sample = read_sample(self._dataset, index, self.source)
            if sample["id"] in self._index:
                raise EvalError(f"the id {sample['id']!r} occurs more than once in {self.source}")
            self._index[sample["id"]] = index
            yield self._make(sample, self.source)

    def sample(self, name: str) -> S:
        """One of those that ``samples`` has given."""
        sample = read_sample(self._dataset, self._index[name], self.source)
        return self._make(sample, self.source)
