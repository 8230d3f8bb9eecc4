"""Your own pictures and videos, with or without masks, in one layout:

    ROOT/images/**.{png,jpg,jpeg,webp,bmp}      the pictures, in any subfolders
    ROOT/masks/<same relative path>.png         optional: palette or grey, a pixel = its object

or the same under ROOT/train, ROOT/validation and ROOT/test. With num_frames = 1 every picture is
a sample; with more, every folder that holds pictures is a video and its pictures, in the order of
their names (2 before 10), are its frames. Names that begin with a dot are left out.

Where ROOT is not divided, a hash of each sample's path divides it: 80 % train, 10 % validation,
10 % test; adding files moves no others. split="all" takes everything.
"""

import os
import re
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path
from typing import Literal, get_args

from slot_data.clips import clip_frames, num_clips
from slot_data.framing import Framing
from slot_data.image_files import PICTURE_SUFFIXES, read_sample
from slot_data.raw_bits import key_of
from slot_data.sample import DataError, Sample
from slot_data.transforms import LabelResize

SPLITS = ("train", "validation", "test")
Clips = Literal["first", "every"]


class Folder:
    """The pictures or clips of one split, in the order of their paths.

    root: the folder that holds `images` or the folders of the splits.
    split: "train", "validation", "test" or "all".
    num_frames, stride: a clip is so many frames of a video, so far apart.
    clips: "first" takes the clip at the beginning of each video, "every" one for each first frame.
    image_size, centre_crop, antialias, label_resize, relabel: see `Framing`.

    A sample's id is its path from root; a clip's that of its first frame. Labels are there where
    the split has masks: for all of its pictures, or for none.

    Raises DataError if a folder, picture or mask is missing, too short, unreadable or of another
    size; files are read, and so judged, when their sample is.
    """

    def __init__(
        self,
        split: str,
        root: str | Path,
        image_size: int = 128,
        centre_crop: int | None = None,
        num_frames: int = 1,
        stride: int = 1,
        clips: Clips = "first",
        antialias: bool = True,
        label_resize: LabelResize = "nearest-exact",
        relabel: bool = True,
    ) -> None:
        self.root = Path(root).expanduser()
        self._framing = Framing(image_size, centre_crop, antialias, label_resize, relabel)
        if split not in (*SPLITS, "all"):
            raise DataError(f"split {split!r} of folder is not one of {', '.join(SPLITS)}, all")
        if clips not in get_args(Clips):
            raise DataError(f"clips {clips!r} is not one of {', '.join(get_args(Clips))}")
        if num_frames < 1 or stride < 1:
            raise DataError(f"num_frames {num_frames} and stride {stride} must be at least 1")
        sections = _sections(self.root, split)
        self._masks: dict[Path, Path] = {}
        self._clips: list[list[Path]] = []
        for section in sections:
            pictures = _files(section / "images", PICTURE_SUFFIXES)
            if not pictures:
                kinds = ", ".join(sorted(PICTURE_SUFFIXES))
                raise DataError(f"no images found in {section / 'images'} (looked for {kinds})")
            self._masks |= _masks(section, pictures)
            for name, frames in _groups(section / "images", pictures, num_frames).items():
                if sections != [self.root] or split in ("all", _split_of(name)):
                    self._clips += _clips(frames, num_frames, stride, clips)
        if not self._clips:
            raise DataError(
                f"split {split!r} of {self.root} is empty: it has too few samples to divide by "
                "hash; use split 'all' or make folders train, validation and test"
            )
        if self._masks and len(sections) > 1:
            _all_or_none(self.root, sections, self._masks)

    def __len__(self) -> int:
        return len(self._clips)

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {self.root}: there are {len(self)}")
        pictures = self._clips[index]
        masks = [self._masks[picture] for picture in pictures] if self._masks else None
        identity = pictures[0].relative_to(self.root).as_posix()
        return self._framing(read_sample(identity, pictures, masks))


def _sections(root: Path, split: str) -> list[Path]:
    """The folders that hold `images` for this split; [root] where a hash divides it."""
    if not root.is_dir():
        raise DataError(f"root {root} is not a folder")
    divided = [root / name for name in SPLITS if (root / name).is_dir()]
    undivided = (root / "images").is_dir()
    if divided and undivided:
        raise DataError(f"{root} holds both images and {divided[0].name}; expected one of them")
    if not divided and not undivided:
        raise DataError(f"{root} holds neither images nor {', '.join(SPLITS)}")
    if undivided:
        return [root]
    if split == "all":
        return divided
    if root / split not in divided:
        raise DataError(f"{root} has no folder {split}; it is divided and has {divided[0].name}")
    return [root / split]


def _files(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """All files below `folder` of these kinds, in the order of their paths, 2 before 10."""
    found = [
        Path(place, name)
        for place, _, names in os.walk(folder, followlinks=True)
        for name in names
        if Path(name).suffix.lower() in suffixes and not name.startswith(".")
    ]
    return sorted(found, key=lambda path: (_natural(path.as_posix()), path))


def _natural(text: str) -> list[str | int]:
    return [int(part) if part.isdecimal() else part for part in re.split(r"([0-9]+)", text)]


def _masks(section: Path, pictures: list[Path]) -> dict[Path, Path]:
    """Picture -> mask; empty where there is no folder `masks`. A picture without a mask is an
    error, and so is a mask without a picture."""
    folder = section / "masks"
    if not folder.is_dir():
        return {}
    present = set(_files(folder, {".png"}))
    wanted = {
        picture: (folder / picture.relative_to(section / "images")).with_suffix(".png")
        for picture in pictures
    }
    for picture, mask in wanted.items():
        if mask not in present:
            raise DataError(f"picture {picture} has no mask: expected {mask}")
    strays = present - set(wanted.values())
    if strays:
        raise DataError(f"mask {min(strays)} belongs to no picture in {section / 'images'}")
    return wanted


def _all_or_none(root: Path, sections: list[Path], masks: dict[Path, Path]) -> None:
    for section in sections:
        if not any(section in mask.parents for mask in masks.values()):
            raise DataError(
                f"{section} has no masks, but another split of {root} has; load the splits one "
                "by one"
            )


def _groups(images: Path, pictures: list[Path], num_frames: int) -> dict[str, list[Path]]:
    """What a hash may not tear apart, by its path below `images`: pictures, or whole videos."""
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


def _clips(frames: list[Path], num_frames: int, stride: int, clips: Clips) -> list[list[Path]]:
    starts = num_clips(len(frames), num_frames, stride)
    if not starts:
        raise DataError(
            f"video {frames[0].parent} has {len(frames)} frames; a clip of {num_frames} frames "
            f"{stride} apart needs {clip_frames(0, num_frames, stride)[-1] + 1}"
        )
    return [
        [frames[place] for place in clip_frames(start, num_frames, stride)]
        for start in range(starts if clips == "every" else 1)
    ]


def _split_of(name: str) -> str:
    """80 % train, 10 % validation, 10 % test, from a hash of the path alone."""
    return {0: "test", 1: "validation"}.get(key_of(name) % 10, "train")
