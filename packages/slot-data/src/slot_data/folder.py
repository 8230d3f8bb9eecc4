"""Your own pictures and videos, with or without masks, in one layout:

    ROOT/images/**.{png,jpg,jpeg,webp,bmp}      pictures, in any subfolders
    ROOT/masks/<same relative path>.png         optional: palette or grey, a pixel = its object

or, for video files,

    ROOT/videos/**.{mp4,mov,avi,mkv,webm}       videos, in any subfolders
    ROOT/masks/<same relative path without suffix>/*.png    optional: one per frame, by name

or the same under ROOT/train, ROOT/validation and ROOT/test. With num_frames = 1 every picture is
a sample, and the first frame of every video file; with more, every video file is a video, and so
is every folder that holds pictures: these, in the order of their names (2 before 10), are its
frames. Names that begin with a dot are left out.

Where ROOT is not divided, a hash of each sample's path divides it: 80 % train, 10 % validation,
10 % test; adding files moves no others, and no video is torn. split="all" takes everything.
"""

from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Unpack

import numpy as np

from slot_data.clips import ClipChoice, Clips
from slot_data.folder_pictures import PictureVideo, picture_videos
from slot_data.folder_videos import FilmVideo, film_videos
from slot_data.framing import Framing, FramingOptions
from slot_data.packed_list import PackedList
from slot_data.raw_bits import key_of
from slot_data.sample import DataError, Sample

SPLITS = ("train", "validation", "test")
KINDS = {"images": picture_videos, "videos": film_videos}


class Folder:
    """The pictures or clips of one split, in the order of their paths.

    root: the folder that holds `images`, `videos` or the folders of the splits.
    split: "train", "validation", "test" or "all".
    num_frames, stride, clips: see `ClipChoice`.
    framing: see `Framing`.

    of_pictures: it has pictures, so that num_frames decides what a video is: with 1 each of them,
        with more each folder of them.

    A sample's id is its path from root; a clip's that of its first frame, which for a video file
    is the file's path and the frame's number. Labels are there where the split has masks: for all
    of its pictures or videos, or for none.

    Raises DataError if a folder, picture, video or mask is missing, too short, unreadable or of
    another size, or if there are video files but no PyAV to read them; files are read, and so
    judged, when their sample is.
    """

    default_framing: ClassVar[Framing] = Framing()

    def __init__(
        self,
        split: str,
        root: str | Path,
        num_frames: int = 1,
        stride: int = 1,
        clips: Clips = "first",
        **framing: Unpack[FramingOptions],
    ) -> None:
        self.root = Path(root).expanduser()
        self._framing = replace(self.default_framing, **framing)
        if split not in (*SPLITS, "all"):
            raise DataError(f"split {split!r} of folder is not one of {', '.join(SPLITS)}, all")
        self._choice = ClipChoice(num_frames, stride, clips)
        sections = _sections(self.root, split)
        videos = [
            video
            for section in sections
            for name, video in _videos_by_name(self.root, section, self._choice).items()
            if sections != [self.root] or split in ("all", _split_of(name))
        ]
        self.of_pictures = any((section / "images").is_dir() for section in sections)
        self._ends = np.cumsum([video.clips(self._choice) for video in videos])
        self._videos = PackedList(videos)
        if not videos:
            raise DataError(
                f"split {split!r} of {self.root} is empty: it has too few samples to divide by "
                "hash; use split 'all' or make folders train, validation and test"
            )
        _masks_in_all_or_none(self.root, sections)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {self.root}: there are {len(self)}")
        number = int(np.searchsorted(self._ends, index, side="right"))
        clip = index - (int(self._ends[number - 1]) if number else 0)
        return self._framing(self._videos[number].read(self._choice.frames(clip)))

    @property
    def num_videos(self) -> int:
        return len(self._videos)

    def clip_ids(self, number: int) -> list[str]:
        return self._videos[number].ids()

    def read_video(self, number: int, frames: range) -> Sample:
        """These frames as they are in the files. Raises DataError as reading a sample does."""
        return self._videos[number].looked_through().read(frames)


def _sections(root: Path, split: str) -> list[Path]:
    """The folders that hold `images` or `videos` for this split; [root] where a hash divides it."""
    if not root.is_dir():
        raise DataError(f"root {root} is not a folder")
    divided = [root / name for name in SPLITS if (root / name).is_dir()]
    undivided = [name for name in KINDS if (root / name).is_dir()]
    if divided and undivided:
        raise DataError(
            f"{root} holds both {undivided[0]} and {divided[0].name}; expected one of them"
        )
    if not divided and not undivided and root.absolute().name in (*KINDS, *SPLITS):
        raise DataError(
            f"{root} is a folder {root.absolute().name}; expected as root the one that it is in"
        )
    if not divided and not undivided:
        raise DataError(
            f"{root} holds none of {', '.join((*KINDS, *SPLITS))}; expected pictures in "
            f"{root / 'images'} or video files in {root / 'videos'}"
        )
    if undivided:
        return [root]
    if split == "all":
        return divided
    if root / split not in divided:
        raise DataError(f"{root} has no folder {split}; it is divided and has {divided[0].name}")
    return [root / split]


def _videos_by_name(
    root: Path, section: Path, choice: ClipChoice
) -> dict[str, PictureVideo] | dict[str, FilmVideo]:
    kinds = [name for name in KINDS if (section / name).is_dir()]
    if len(kinds) != 1:
        state = "both" if kinds else "neither"
        raise DataError(f"{section} holds {state} of images and videos; expected one of them")
    return KINDS[kinds[0]](root, section, choice)


def _masks_in_all_or_none(root: Path, sections: list[Path]) -> None:
    without = [section for section in sections if not (section / "masks").is_dir()]
    if without and len(without) < len(sections):
        raise DataError(
            f"{without[0]} has no masks, but another split of {root} has; load the splits one by "
            "one"
        )


def _split_of(name: str) -> str:
    """80 % train, 10 % validation, 10 % test, from a hash of the path alone."""
    return {0: "test", 1: "validation"}.get(key_of(name) % 10, "train")
