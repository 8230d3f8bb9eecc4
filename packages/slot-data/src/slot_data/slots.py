"""Slots instead of pixels: a dataset of what a model found in the videos of another dataset.

`apps/extract_slots.py` writes them (see `slot_files.py`), a folder for each split.
"""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np

from slot_data.clips import ClipChoice, Clips, take_frames
from slot_data.sample import DataError, Sample, SampleDataset
from slot_data.slot_files import (
    open_part,
    part_path,
    read_description,
    read_frames,
    read_outcomes,
    read_part,
)


class Slots:
    """Clips of the slots of videos: all of one video after those of another.

    split: the folder in `root` that holds it.
    root: what `apps/extract_slots.py` wrote.
    num_frames, stride, clips: see `ClipChoice`; without `num_frames`, whole videos.
    outcomes: samples have an `outcome`, as those of the dataset that the slots are of; or the
        path of a JSON file of id -> true or false, with one for each video and no other.
    pixels: samples have the `video` and its labels too, from the dataset that the slots are of.
    pixels_root: where that dataset is now, if it has moved.

    A sample has `slots`, float32 [T K D], and the id of its video; where there may be several
    clips of one, its first frame as well. Raises DataError if a part lacks, is damaged or is of
    another model, a video is shorter than a clip, an outcome lacks or is of an unknown video, or
    all outcomes are the same: no question can be learned or tested on one answer.
    """

    load_pixels: Callable[..., SampleDataset] | None = None
    """Opens the dataset that the slots are of, where that is another package's; called as
    `load_dataset_by_name`, which is used without it."""

    def __init__(
        self,
        split: str,
        root: str | Path,
        num_frames: int | None = None,
        stride: int = 1,
        clips: Clips = "first",
        outcomes: bool | str | Path = False,
        pixels: bool = False,
        pixels_root: str | Path | None = None,
    ) -> None:
        self.folder = Path(root).expanduser() / split
        self.description = read_description(self.folder)
        parts = [read_part(path, self.description) for path in self._paths()]
        self._known = [value for part in parts for value in part.outcomes or ()]
        self._ids = np.array([name for part in parts for name in part.ids], dtype=str)
        lengths = [length for part in parts for length in part.lengths]
        self._lengths = np.array(lengths)
        self._choice = ClipChoice(1 if num_frames is None else num_frames, stride, clips)
        self._whole = num_frames is None
        counts = [1] * len(lengths)
        if not self._whole:
            counts = [
                self._choice.count(f"video {str(name)!r} of {self.folder}", length)
                for name, length in zip(self._ids, lengths, strict=True)
            ]
        self._ends = np.cumsum(counts)  # arrays: loader workers share them
        self._outcomes = self._read_outcomes(outcomes) if outcomes else None
        self._pixels, self._pixels_root = pixels, pixels_root
        self._open: dict[int, Any] = {}

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {self.folder}: there are {len(self)}")
        video = int(np.searchsorted(self._ends, index, side="right"))
        clip = index - (int(self._ends[video - 1]) if video else 0)
        name = str(self._ids[video])
        frames = self._frames(video, clip)
        sample: dict[str, Any] = {"id": name, "slots": read_frames(self._part(video), name, frames)}
        if not self._whole and self._choice.clips != "first":
            sample["id"] = f"{name}/{frames.start}"
        if self._pixels:
            sample = {**self._video(video, name, frames), **sample}
        if self._outcomes is not None:
            sample["outcome"] = bool(self._outcomes[video])
        return cast(Sample, sample)

    def __getstate__(self) -> dict[str, Any]:
        """Without what is open: each loader worker maps the parts that it reads."""
        return {**self.__dict__, "_open": {}}

    @property
    def num_slots(self) -> int:
        return self.description.num_slots

    def outcomes_of(self, videos: range) -> list[bool] | None:
        """What was written with the slots of these videos, asked for or not; None for nothing."""
        whole = len(self._known) == len(self._ids)
        return self._known[videos.start : videos.stop] if whole else None

    @cached_property
    def pixels(self) -> SampleDataset:
        """The dataset that the slots are of. Raises DataError as it does."""
        from slot_data.catalog import load_dataset_by_name  # which knows this one, too

        options = dict(self.description.options)
        if self._pixels_root is not None:
            options["root"] = str(self._pixels_root)
        load = self.load_pixels or load_dataset_by_name
        return load(self.description.data, split=self.description.split, **options)

    def _paths(self) -> list[Path]:
        num_parts = self.description.num_parts
        there = {path.name for path in self.folder.iterdir()}
        paths: list[Path] = []  # never more than there are, however many are claimed
        for path in (part_path(self.folder, part) for part in range(num_parts)):
            if path.name not in there:
                raise DataError(
                    f"parts of {self.folder} are missing, {path.name} first of {num_parts:,}; the "
                    "same apps/extract_slots.py goes on with them"
                )
            paths.append(path)
        return paths

    def _frames(self, video: int, clip: int) -> range:
        if self._whole:
            return range(0, int(self._lengths[video]), self._choice.stride)
        return self._choice.frames(clip)

    def _part(self, video: int) -> Any:
        part = video // self.description.videos_per_part
        if part not in self._open:
            self._open[part] = open_part(part_path(self.folder, part))
        return self._open[part]

    def _video(self, video: int, name: str, frames: range) -> Sample:
        """The clip of pixels that belongs to a clip of slots."""
        sample = self.pixels[video]
        if sample["id"] != name:
            raise DataError(
                f"video {video} of {self.description.data} is {sample['id']!r}, but the slots in "
                f"{self.folder} are of {name!r}: the dataset has changed since"
            )
        return take_frames(sample, frames)

    def _read_outcomes(self, outcomes: bool | str | Path) -> np.ndarray:
        if isinstance(outcomes, bool):
            if len(self._known) < len(self._ids):
                raise DataError(
                    f"the slots in {self.folder} have no outcomes, as {self.description.data} had "
                    "none; expected a JSON file of them as option outcomes"
                )
            found = np.array(self._known, dtype=bool)
        else:
            found = read_outcomes(Path(outcomes).expanduser(), [str(name) for name in self._ids])
        if found.all() or not found.any():
            answer = "true" if found.all() else "false"
            raise DataError(
                f"the outcome of all {len(found)} videos of {self.folder} is {answer}; expected "
                "some of each answer"
            )
        return found
