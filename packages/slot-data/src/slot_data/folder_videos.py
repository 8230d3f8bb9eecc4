"""The user's video files and the masks that go with them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from slot_data.clips import ClipChoice
from slot_data.file_lists import files_below, path_below
from slot_data.image_files import sample_of
from slot_data.sample import DataError, Sample
from slot_data.video_files import (
    VIDEO_SUFFIXES,
    FrameTimes,
    VideoFile,
    frame_times,
    may_be_shorter,
    require_av,
)

_recent_times = lru_cache(4)(frame_times)  # a video is read whole in several parts


@dataclass(frozen=True)
class FilmVideo:
    """A video file below `root`. times: where its frames are; None where nobody looked. masks: one
    for each frame, below `root`."""

    root: str
    name: str
    times: FrameTimes | None
    masks: tuple[str, ...] | None

    @property
    def path(self) -> Path:
        return Path(self.root, self.name)

    def clips(self, choice: ClipChoice) -> int:
        """How many it gives. Raises DataError if it is too short for one."""
        return 1 if self.times is None else choice.count(f"video {self.path}", self.times.count)

    def read(self, frames: range) -> Sample:
        pixels = VideoFile(self.path, self.times).read(frames)
        names = [f"frame {number} of {self.path}" for number in frames]
        masks = None
        if self.masks is not None:
            masks = [Path(self.root, self.masks[frame]) for frame in frames]
        return sample_of(f"{self.name}/{frames.start}", pixels, names, masks)

    def looked_through(self) -> FilmVideo:
        """With its times. Raises DataError if the file cannot be looked through."""
        return replace(self, times=self.times or _recent_times(self.path))

    def ids(self) -> list[str]:
        """For each frame, the id of the clip that begins with it. Raises DataError if nobody has
        looked the file through yet, and it cannot be."""
        times = self.times or _recent_times(self.path)
        return [f"{self.name}/{frame}" for frame in range(times.count)]


def film_videos(root: Path, section: Path, choice: ClipChoice) -> dict[str, FilmVideo]:
    """The files below `section`/videos, by their paths below that.

    A file is looked through here, without being decoded, only where its number of frames is
    needed: for all clips but the "first", to count its masks, and where its header says that it is
    too short for a clip, which a training would else meet when it reads it.

    Raises DataError if there are no videos, PyAV is missing, a video cannot be read or has a name
    that is not UTF-8, or masks are missing, too many, too few, or without a video.
    """
    folder = section / "videos"
    paths = files_below(folder, VIDEO_SUFFIXES)
    if not paths:
        raise DataError(f"no videos found in {folder} (looked for {_kinds()})")
    require_av()
    masks = _masks(section, paths)
    found = {}
    for path in paths:
        times = frame_times(path) if masks or _needs_count(path, choice) else None
        if times is not None and masks and len(masks[path]) != times.count:
            raise DataError(
                f"{_masks_of(section, path)} holds {len(masks[path])} masks, but video {path} has "
                f"{times.count} frames; expected one mask per frame"
            )
        found[path.relative_to(folder).as_posix()] = FilmVideo(
            str(root),
            path_below(root, path),
            times,
            tuple(mask.relative_to(root).as_posix() for mask in masks[path]) if masks else None,
        )
    return found


def _needs_count(path: Path, choice: ClipChoice) -> bool:
    if choice.clips != "first":
        return True
    return choice.num_frames > 1 and may_be_shorter(path, choice.first[-1] + 1)


def _masks_of(section: Path, video: Path) -> Path:
    return section / "masks" / video.relative_to(section / "videos").with_suffix("")


def _masks(section: Path, videos: list[Path]) -> dict[Path, list[Path]]:
    """Video -> its masks, in the order of their names; empty where there is no folder `masks`."""
    if not (section / "masks").is_dir():
        return {}
    owners: dict[Path, Path] = {}
    for video in videos:
        folder = _masks_of(section, video)
        if folder in owners:
            raise DataError(f"videos {owners[folder]} and {video} would share the masks {folder}")
        owners[folder] = video
    masks: dict[Path, list[Path]] = {video: [] for video in videos}
    for mask in files_below(section / "masks", {".png"}):
        if mask.parent not in owners:
            raise DataError(f"mask {mask} belongs to no video in {section / 'videos'}")
        masks[owners[mask.parent]].append(mask)
    for folder, video in owners.items():
        if not masks[video]:
            raise DataError(f"video {video} has no masks: expected one .png per frame in {folder}")
    return masks


def _kinds() -> str:
    return ", ".join(sorted(VIDEO_SUFFIXES))
