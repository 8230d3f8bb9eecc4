"""The videos that ``predict.py`` looks at: video files, and folders of frames.

Which of the two a folder is, nobody can see: one of pictures is one of pictures unless the user
says ``--frames``; then the pictures of each folder are the frames of one video, in the order of
their names (2 before 10). A video file is a video always.

A video is read from its beginning to its end, one frame in memory at a time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import islice
from pathlib import Path

from slot_core import InputError
from slot_data import DataError
from slot_data.file_lists import files_below
from slot_data.image_files import PICTURE_SUFFIXES, read_picture, size_of
from slot_data.video_files import VIDEO_SUFFIXES, VideoFile, frame_times, require_av
from support.pictures import Picture

# Masks are made at the pictures' own size: with 11 slots, 4 megapixels of them take 185 MB.
MAX_BATCH_PIXELS = 2**22


class Video(ABC):
    """Frames, all of one size; ``source`` is what messages call it."""

    source: Path

    @abstractmethod
    def __len__(self) -> int:
        """How many frames there are."""

    @abstractmethod
    def frames(self) -> Iterator[Picture]:
        """Every frame in order. Raises DataError if one lacks, is damaged, or of another size."""

    @abstractmethod
    def name(self, number: int) -> str:
        """What to call a frame in names of files."""

    @abstractmethod
    def seconds(self, number: int) -> Fraction:
        """When a frame is shown, from the first one on."""


class FileVideo(Video):
    """A video file; frames are called by their number.

    Raises:
        DataError: if it cannot be read, is cut off, or has no frames.
    """

    def __init__(self, path: Path) -> None:
        require_av()
        self.source = path
        self._times = frame_times(path)

    def __len__(self) -> int:
        return self._times.count

    def frames(self) -> Iterator[Picture]:
        return VideoFile(self.source, self._times).frames()

    def name(self, number: int) -> str:
        return f"{number:06d}"

    def seconds(self, number: int) -> Fraction:
        return self._times.seconds(number)


class FolderVideo(Video):
    """Pictures of one folder at a constant rate; frames are called as their files.

    Args:
        paths: of the frames in order, at least one.
        rate: frames a second.
    """

    def __init__(self, paths: Sequence[Path], rate: Fraction) -> None:
        self.source = paths[0].parent
        self._paths, self._rate = paths, rate

    def __len__(self) -> int:
        return len(self._paths)

    def frames(self) -> Iterator[Picture]:
        shape = None
        for path in self._paths:
            picture = read_picture(path)
            shape = shape or picture.shape
            if picture.shape != shape:
                raise DataError(
                    f"frame {path} is {size_of(picture.shape)}, but {self._paths[0].name} of the "
                    f"same video is {size_of(shape)}"
                )
            yield picture

    def name(self, number: int) -> str:
        return self._paths[number].stem

    def seconds(self, number: int) -> Fraction:
        return number / self._rate


def open_video(place: Path | Sequence[Path], rate: Fraction) -> Video:
    """A file, or the frames of a folder in order, as ``find_videos`` gives them."""
    return FileVideo(place) if isinstance(place, Path) else FolderVideo(place, rate)


def find_videos(place: Path, *, frames: bool) -> dict[str, Path | list[Path]]:
    """Videos by name: the path below ``place``, of a file without its suffix.

    Args:
        place: a video file, or a folder that is searched with all its subfolders; hidden ones
            are left out.
        frames: take every folder that holds pictures as a video too.

    Raises:
        InputError: if two videos or two frames of one have one name. There may be none at all.
    """
    if place.is_file():
        return {place.stem: place}
    found: dict[str, Path | list[Path]] = {}
    for path in files_below(place, VIDEO_SUFFIXES):
        add(found, path.relative_to(place).with_suffix("").as_posix(), path)
    folders: dict[Path, list[Path]] = {}
    for path in files_below(place, PICTURE_SUFFIXES) if frames else ():
        folders.setdefault(path.parent, []).append(path)
    for folder, paths in folders.items():
        stems: dict[str, Path] = {}
        for path in paths:
            if path.stem in stems:
                raise InputError(
                    f"{path}: would be written to the same file as {stems[path.stem].name}; "
                    "rename one"
                )
            stems[path.stem] = path
        name = place.resolve().name if folder == place else folder.relative_to(place).as_posix()
        add(found, name, paths)
    return dict(sorted(found.items()))


def add(found: dict[str, Path | list[Path]], name: str, place: Path | list[Path]) -> None:
    """Keep a video under its name; raises InputError if there is one of that name."""
    if name in found:
        one, other = (p if isinstance(p, Path) else p[0].parent for p in (place, found[name]))
        raise InputError(f"{one}: would be written to the same files as {other.name}; rename one")
    found[name] = place


def chunks(frames: Iterable[Picture], size: int, max_pixels: int) -> Iterator[list[Picture]]:
    """All frames in order, at most ``size`` at once, and fewer where they are large."""
    rest = iter(frames)
    for first in rest:
        at_once = max(1, min(size, max_pixels // (first.shape[0] * first.shape[1])))
        yield [first, *islice(rest, at_once - 1)]
