"""Clips of the videos of a dataset, lined up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np

from slot_data.clips import ClipChoice
from slot_data.framing import Framing
from slot_data.sample import Sample


@runtime_checkable
class Video(Protocol):
    """length: number of frames. name: unique within a split. Its text is what to call it in
    errors."""

    @property
    def length(self) -> int: ...

    @property
    def name(self) -> str: ...

    def read(self, identity: str, frames: range) -> Sample:
        """These frames and the maps over them."""
        ...


class VideoClips:
    """Clips of videos: sample i is clip i when the videos' clips are lined up.

    choice: None takes each video as one clip, from its first frame to its last.
    """

    default_framing: ClassVar[Framing] = Framing()

    def __init__(
        self, videos: Sequence[Video], choice: ClipChoice | None, framing: Framing
    ) -> None:
        self._videos, self._choice, self._framing = videos, choice, framing
        counts = (choice.count(str(v), v.length) if choice else 1 for v in videos)
        self._ends = np.cumsum(np.fromiter(counts, dtype=np.int64))

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index}: there are {len(self)}")
        number = int(np.searchsorted(self._ends, index, side="right"))
        video = self._videos[number]
        clip = index - (int(self._ends[number - 1]) if number else 0)
        frames = self._choice.frames(clip) if self._choice else range(video.length)
        return self._framing(video.read(f"{video.name}/{frames.start}", frames))

    def shortest(self) -> tuple[str, int]:
        if self._choice is not None:
            return "every sample", self._choice.num_frames
        video = min(self._videos, key=lambda video: video.length)
        return str(video), video.length

    @property
    def num_videos(self) -> int:
        return len(self._videos)

    def clip_ids(self, number: int) -> list[str]:
        video = self._videos[number]
        return [f"{video.name}/{start}" for start in range(video.length)]

    def read_video(self, number: int, frames: range) -> Sample:
        """These frames as they are in the files. Raises DataError as reading a sample does."""
        video = self._videos[number]
        return video.read(f"{video.name}/{frames.start}", frames)
