"""The sample every dataset gives and every model and metric takes: a picture is a video of
one frame, pixels are uint8 until `collate`, label 0 is the background."""

from collections.abc import Mapping
from typing import Any, NotRequired, Protocol, TypedDict, cast, runtime_checkable

import numpy as np
import torch
from torch import Tensor


class DataError(ValueError):
    """What the user asked of a dataset cannot be had; the message is one sentence that names
    the file, option or value and what was expected."""

    def __init__(self, sentence: str) -> None:
        # A DataLoader's worker hands an error over by building it again from its whole
        # traceback; the sentence is what follows the name of the class in the last line.
        super().__init__(sentence.rpartition("sample.DataError: ")[2].strip())


class Sample(TypedDict):
    """One picture or one clip. A dataset gives the keys that it has the annotation for.

    video: uint8 [T 3 H W].
    id: unique within a split, the same on every machine and in every run.
    labels: integers [T H W]; 0 is the background, an object keeps its number through time.
    class_labels: integers [T H W]: the kind of object at each pixel, 0 for the background.
    void: bool [T H W]: pixels that nobody decided on (the borders of VOC, the crowds of COCO),
        to be left out of scores; labels are 0 there.
    overlap: bool [T H W]: pixels that several annotated objects cover; a policy of the dataset
        says whose label they have.
    depth: float32 [T H W]: how far each pixel is from the camera, in the dataset's units.
    flow: float32 [T 2 H W]: how far what each pixel shows moves down and to the right, in pixels,
        from this frame of the video to the one next to it, on the side that was asked for.
    scenario: which part of the dataset the sample belongs to (Physion).
    slots: float32 [T K D]: what a model found in each frame. A dataset of slots gives them, and
        the video only when it is asked for it.
    outcome: what a question about the sample has for an answer (Physion: do the two touch?).
    """

    video: Tensor
    id: str
    labels: NotRequired[Tensor]
    class_labels: NotRequired[Tensor]
    void: NotRequired[Tensor]
    overlap: NotRequired[Tensor]
    depth: NotRequired[Tensor]
    flow: NotRequired[Tensor]
    slots: NotRequired[Tensor]
    scenario: NotRequired[str]
    outcome: NotRequired[bool]


NUMBERED_MAPS = ("labels", "class_labels")
PIXEL_MAPS = (*NUMBERED_MAPS, "void", "overlap", "depth", "flow")
"""The keys of [T .. H W] that lie over the video: cut, resized and mirrored with it."""


def pixel_maps(sample: Sample) -> dict[str, Tensor]:
    """Those of PIXEL_MAPS that the sample has."""
    entries = cast(dict[str, Any], sample)
    return {name: entries[name] for name in PIXEL_MAPS if name in entries}


def with_pixels(sample: Sample, video: Tensor, maps: Mapping[str, Tensor]) -> Sample:
    """A copy of the sample with another video and other maps over it, each contiguous."""
    changed = {name: tensor.contiguous() for name, tensor in maps.items()}
    return cast(Sample, {**sample, "video": video.contiguous(), **changed})


def with_maps(sample: Sample, maps: Mapping[str, np.ndarray]) -> Sample:
    """A copy of the sample with these maps [T .. H W] over its video."""
    return cast(Sample, {**sample, **{name: torch.from_numpy(maps[name]) for name in maps}})


@runtime_checkable
class SampleDataset(Protocol):
    """A map-style dataset: what `load_dataset_by_name` returns. Reading one index twice gives
    equal samples; nothing random happens in `__getitem__`."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Sample: ...


@runtime_checkable
class VideoDataset(SampleDataset, Protocol):
    """A dataset whose samples are clips of videos, and which also gives the videos as they are in
    their files, before anything is cut or resized."""

    @property
    def num_videos(self) -> int: ...

    def clip_ids(self, number: int, /) -> list[str]:
        """For each frame of a video, the id of the clip that begins with it."""
        ...

    def read_video(self, number: int, frames: range, /) -> Sample: ...


class Configured(Protocol):
    """settings: name, split, preset and all options of a dataset that was loaded by name."""

    settings: Mapping[str, Any]
