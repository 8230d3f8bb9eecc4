"""Clips of the user's video files and of the masks that go with them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from slot_data.clips import ClipChoice
from slot_data.file_lists import files_below
from slot_data.image_files import sample_of
from slot_data.sample import DataError, Sample
from slot_data.video_files import VIDEO_SUFFIXES, FrameTimes, VideoFile, frame_times, require_av


@dataclass(frozen=True)
class VideoClip:
    """Some frames of a video file; masks are those of the same frames."""

    identity: str
    video: VideoFile
    frames: range
    masks: tuple[Path, ...] | None

    def read(self) -> Sample:
        pixels = self.video.read(self.frames)
        names = [f"frame {number} of {self.video.path}" for number in self.frames]
        return sample_of(self.identity, pixels, names, self.masks)

    def ids(self, root: Path) -> list[str]:
        """For each frame, the id of the clip that begins with it."""
        name = self.video.path.relative_to(root).as_posix()
        return [f"{name}/{frame}" for frame in self.frames]

    def part(self, frames: range) -> VideoClip:
        """Those of this clip's frames."""
        masks = tuple(self.masks[frame] for frame in frames) if self.masks else None
        chosen = self.frames[frames.start : frames.stop : frames.step]
        return replace(self, frames=chosen, masks=masks)


def video_clips(root: Path, section: Path, choice: ClipChoice) -> dict[str, list[VideoClip]]:
    """The clips of each file below `section`/videos, by its path below that.

    A file is looked through here, without being decoded, only where its number of frames is
    needed: for the clips "every", and to count its masks.

    Raises DataError if there are no videos, PyAV is missing, a video cannot be read or is too
    short, or masks are missing, too many, too few, or without a video.
    """
    folder = section / "videos"
    paths = files_below(folder, VIDEO_SUFFIXES)
    if not paths:
        raise DataError(f"no videos found in {folder} (looked for {_kinds()})")
    require_av()
    masks = _masks(section, paths)
    found = {}
    for path in paths:
        times = frame_times(path) if masks or choice.clips == "every" else None
        if times is not None and masks and len(masks[path]) != times.count:
            raise DataError(
                f"{_masks_of(section, path)} holds {len(masks[path])} masks, but video {path} has "
                f"{times.count} frames; expected one mask per frame"
            )
        found[path.relative_to(folder).as_posix()] = [
            VideoClip(
                f"{path.relative_to(root).as_posix()}/{frames.start}",
                VideoFile(path, times),
                frames,
                tuple(masks[path][number] for number in frames) if masks else None,
            )
            for frames in _clips(path, times, choice)
        ]
    return found


def _clips(path: Path, times: FrameTimes | None, choice: ClipChoice) -> list[range]:
    return [choice.first] if times is None else choice.of(f"video {path}", times.count)


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
