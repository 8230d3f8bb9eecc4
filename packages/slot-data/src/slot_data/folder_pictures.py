"""Clips of the user's pictures, or of folders of frames, and of the masks that go with them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

from slot_data.clips import ClipChoice
from slot_data.file_lists import files_below, later
from slot_data.image_files import PICTURE_SUFFIXES, read_sample
from slot_data.sample import DataError, Sample
from slot_data.video_files import VIDEO_SUFFIXES


@dataclass(frozen=True)
class PictureClip:
    """A picture, or some of the pictures of one folder; masks are those of the same ones."""

    identity: str
    pictures: tuple[Path, ...]
    masks: tuple[Path, ...] | None

    def read(self) -> Sample:
        return read_sample(self.identity, self.pictures, self.masks)

    def ids(self, root: Path) -> list[str]:
        """For each frame, the id of the clip that begins with it."""
        return [picture.relative_to(root).as_posix() for picture in self.pictures]

    def part(self, frames: range) -> PictureClip:
        chosen = slice(frames.start, frames.stop, frames.step)
        masks = self.masks[chosen] if self.masks else None
        return replace(self, pictures=self.pictures[chosen], masks=masks)


def picture_clips(root: Path, section: Path, choice: ClipChoice) -> dict[str, list[PictureClip]]:
    """The clips of what a hash may not tear apart, by its path below `section`/images: pictures,
    or whole folders of frames.

    Raises DataError if there are no pictures, a folder of frames is too short, or a picture or
    mask has no counterpart.
    """
    folder = section / "images"
    _refuse_videos(folder)
    pictures = files_below(folder, PICTURE_SUFFIXES)
    if not pictures:
        kinds = ", ".join(sorted(PICTURE_SUFFIXES))
        raise DataError(f"no images found in {folder} (looked for {kinds})")
    masks = _masks(section, pictures)
    found = {}
    for name, frames in _groups(folder, pictures, choice.num_frames).items():
        clips = [
            tuple(frames[number] for number in numbers)
            for numbers in choice.of(f"video {frames[0].parent}", len(frames))
        ]
        found[name] = [
            PictureClip(
                clip[0].relative_to(root).as_posix(),
                clip,
                tuple(masks[picture] for picture in clip) if masks else None,
            )
            for clip in clips
        ]
    return found


def _refuse_videos(images: Path) -> None:
    videos = files_below(images, VIDEO_SUFFIXES)
    if videos:
        raise DataError(
            f"{videos[0]} is a video file; {images} is for pictures and {images.parent / 'videos'} "
            "for videos"
        )


def _masks(section: Path, pictures: list[Path]) -> dict[Path, Path]:
    """Picture -> mask; empty where there is no folder `masks`."""
    folder = section / "masks"
    if not folder.is_dir():
        return {}
    present = set(files_below(folder, {".png"}))
    wanted = {
        picture: (folder / picture.relative_to(section / "images")).with_suffix(".png")
        for picture in pictures
    }
    for picture, mask in wanted.items():
        if mask not in present and not later():
            raise DataError(f"picture {picture} has no mask: expected {mask}")
    strays = present - set(wanted.values())
    if strays:
        raise DataError(f"mask {min(strays)} belongs to no picture in {section / 'images'}")
    return wanted


def _groups(images: Path, pictures: list[Path], num_frames: int) -> dict[str, list[Path]]:
    groups: dict[str, list[Path]] = defaultdict(list)
    for picture in pictures:
        place = picture.relative_to(images)
        if num_frames > 1 and place.parent == Path():
            raise DataError(
                f"{picture} lies in no video: with num_frames {num_frames}, {images} must hold one "
                "folder of frames per video"
            )
        groups[(place.parent if num_frames > 1 else place).as_posix()].append(picture)
    return groups
