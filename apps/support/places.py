"""What lies at the place that ``predict.py`` is pointed to: pictures or videos, by name.

Either is searched in all subfolders, and named by its path below the place. Pictures are read into
batches of one size, since nothing is resized before the model does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from slot_core import InputError
from slot_data.file_lists import files_below
from slot_data.image_files import PICTURE_SUFFIXES, read_picture, refuse_other_pictures
from slot_data.video_files import VIDEO_SUFFIXES
from support.pictures import Picture
from support.videos import find_videos

MAX_WAITING_PIXELS = 2**26  # 200 MB of pictures that wait for others of their size


def find(place: Path, *, frames: bool) -> tuple[dict[str, Path], dict[str, Path | list[Path]]]:
    """Pictures and videos by name; one of the two is empty.

    Raises:
        InputError: if there is no such place, nothing in it, both kinds, or two of one name.
        DataError: if a picture in it is of a kind that is not read.
    """
    kinds = ", ".join(sorted(PICTURE_SUFFIXES | VIDEO_SUFFIXES))
    if not place.exists():
        raise InputError(f"{place}: there is no such picture, video or folder")
    if place.is_file():
        suffix = place.suffix.lower()
        if suffix not in PICTURE_SUFFIXES | VIDEO_SUFFIXES:
            raise InputError(
                f"{place}: is no picture and no video; expected a file ending in {kinds}"
            )
        if frames:
            raise InputError(f"{place}: is a file; --frames is for a folder of frames")
        if suffix in PICTURE_SUFFIXES:
            return {place.stem: place}, {}
    if place.is_dir():
        refuse_other_pictures(place)
    videos = find_videos(place, frames=frames)
    pictures = {} if frames or place.is_file() else find_pictures(place)
    if not pictures and not videos:
        raise InputError(
            f"{place}: holds no picture and no video; expected files ending in {kinds}"
        )
    if pictures and videos:
        raise InputError(
            f"{place}: holds pictures ({next(iter(pictures))}) and videos ({next(iter(videos))}); "
            "give them one after the other, or --frames if the pictures are a video's frames"
        )
    return pictures, videos


def find_pictures(folder: Path) -> dict[str, Path]:
    """Pictures by name: the path below the folder without its suffix, in the order of the paths.

    Raises:
        InputError: if two have one name.
    """
    found: dict[str, Path] = {}
    for path in files_below(folder, PICTURE_SUFFIXES):
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in found:
            raise InputError(
                f"{path}: would be written to the same files as {found[name].name}; rename one"
            )
        found[name] = path
    return found


def batches(
    paths: Mapping[str, Path], batch_size: int, max_pixels: int
) -> Iterator[dict[str, Picture]]:
    """Pictures of one size at a time, by name; each size waits until it fills a batch.

    Args:
        paths: of the pictures, by name.
        batch_size: how many make a batch, fewer where they are large.
        max_pixels: that a batch has at most, unless a single picture has more.

    Raises:
        DataError: if a picture cannot be read.
    """
    waiting: dict[tuple[int, int], dict[str, Picture]] = {}
    for name, path in paths.items():
        picture = read_picture(path)
        size = (picture.shape[0], picture.shape[1])
        waiting.setdefault(size, {})[name] = picture
        limit = min(batch_size, max_pixels // (size[0] * size[1]))
        if len(waiting[size]) >= limit:
            yield waiting.pop(size)
        elif sum(held[0] * held[1] * len(waiting[held]) for held in waiting) > MAX_WAITING_PIXELS:
            yield waiting.pop(next(iter(waiting)))
    yield from waiting.values()
