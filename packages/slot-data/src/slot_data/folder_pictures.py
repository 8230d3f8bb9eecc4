"""The user's pictures, or folders of frames, and of the masks that go with them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from slot_data.clips import ClipChoice
from slot_data.file_lists import files_below, later, path_below
from slot_data.image_files import PICTURE_SUFFIXES, read_sample, refuse_other_pictures
from slot_data.sample import DataError, Sample
from slot_data.video_files import VIDEO_SUFFIXES


@dataclass(frozen=True)
class PictureVideo:
    """A picture, or the pictures of one folder, in order. pictures, masks: paths below `root`, as
    texts, which take less room than paths."""

    root: str
    pictures: tuple[str, ...]
    masks: tuple[str, ...] | None

    def clips(self, choice: ClipChoice) -> int:
        """How many it gives. Raises DataError if it is too short for one."""
        folder = Path(self.root, self.pictures[0]).parent
        return choice.count(f"video {folder}", len(self.pictures))

    def read(self, frames: range) -> Sample:
        pictures, masks = (
            None if names is None else [Path(self.root, names[frame]) for frame in frames]
            for names in (self.pictures, self.masks)
        )
        return read_sample(self.pictures[frames.start], pictures or [], masks)

    def looked_through(self) -> PictureVideo:
        return self

    def ids(self) -> list[str]:
        """For each frame, the id of the clip that begins with it."""
        return list(self.pictures)


def picture_videos(root: Path, section: Path, choice: ClipChoice) -> dict[str, PictureVideo]:
    """What a hash may not tear apart, by its path below `section`/images: pictures, or whole
    folders of frames where a clip has more than one.

    Raises DataError if there are no pictures, the name of one is not UTF-8, or a picture or mask
    has no counterpart.
    """
    folder = section / "images"
    _refuse_videos(folder)
    refuse_other_pictures(folder)
    pictures = files_below(folder, PICTURE_SUFFIXES)
    if not pictures:
        kinds = ", ".join(sorted(PICTURE_SUFFIXES))
        raise DataError(f"no images found in {folder} (looked for {kinds})")
    masks = _masks(section, pictures)

    def below(paths: Iterable[Path]) -> tuple[str, ...]:
        return tuple(path_below(root, path) for path in paths)

    return {
        name: PictureVideo(
            str(root), below(frames), below(masks[frame] for frame in frames) if masks else None
        )
        for name, frames in _groups(folder, pictures, choice.num_frames).items()
    }


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
