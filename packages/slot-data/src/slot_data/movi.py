"""MOVi-A to E (Greff et al. 2022, Kubric) and MOVi-Solid and MOVi-Tex (Singh, Wu, Ahn 2022, STEVE)
in the layouts in which they are passed on. For MOVi-D, beneath ROOT:

    slotdiffusion    MOVi-D/<split>/<video>/<frame>.jpg, <frame>_mask.png
    spot             MOVi/d/<split>/<video>/<frame>_image.png, <frame>_mask_<object>.png
    steve            <video>/<frame>_image.png, <frame>_mask_<object>.png
    tfrecord         movi_d/<resolution>/<version>/movi_d-<split>.tfrecord-<number>-of-<count>

and for MOVi-Solid MOVi-Solid/{train,val,test}/<video>/<frame>_image.png, <frame>_mask_<object>.png.
See `movi_folders` for the files of a video and `movi_tfrecord` for what a record holds.

The layout steve is undivided: as STEVE does, the first 70 % of the videos by name are for training,
the next 15 % for validation, the rest for testing; the others keep Kubric's own splits. Videos that
were extracted into folders are numbered in the order in which TFDS happened to read them, so one
number is not the same video in two layouts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal, Unpack, get_args

from slot_data.clips import ClipChoice, Clips
from slot_data.framing import FramingOptions
from slot_data.movi_folders import (
    NUMBERED,
    PER_OBJECT,
    PER_OBJECT_AND_BACKGROUND,
    VideoFolder,
    video_folders,
)
from slot_data.movi_tfrecord import Flow, RecordVideo, Wanted, record_videos
from slot_data.packed_list import PackedList
from slot_data.sample import DataError
from slot_data.video_clips import VideoClips

Layout = Literal["auto", "slotdiffusion", "spot", "steve", "tfrecord"]
Resolution = Literal["128x128", "256x256"]
SPLITS = ("train", "validation", "test")
STEVE_BOUNDS = {"train": (0, 0.7), "validation": (0.7, 0.85), "test": (0.85, 1), "all": (0, 1)}
NUM_FRAMES = 24  # of every published video: 2 seconds


class Movi(VideoClips):
    """MOVi-A to E: clips of the videos of one split.

    root: the folder that holds one of the layouts above.
    split: "train", "validation" or "test" (MOVi-A and B have none); with the layout steve also
        "all".
    num_frames, stride, clips: see `ClipChoice`. A video has 24 frames.
    masks: False does not read the labels, nor ask for them. Without it, samples have labels where
        the files have masks, which those of SPOT for training have not.
    layout: which one to read; "auto" is the one that is there.
    resolution, flow, depth, checksums: of TFRecord files: which of the two renderings; motion to
        the next frame of the video ("forward") or to the last ("backward", which SAVi predicts),
        whatever the stride; depth; and whether to verify each record's checksum before it is used,
        which takes about as long as reading it.
    framing: see `Framing`.

    A sample's id is its video's name or number and the number of its first frame.

    Raises DataError if the layout, the split, a frame, a mask or a file is missing, or a video too
    short; pictures are read, and so judged, when their sample is.
    """

    level: ClassVar[str]

    def __init__(
        self,
        split: str,
        root: str | Path,
        num_frames: int = NUM_FRAMES,
        stride: int = 1,
        clips: Clips = "first",
        masks: bool = True,
        layout: Layout = "auto",
        resolution: Resolution = "128x128",
        flow: Flow | None = None,
        depth: bool = False,
        checksums: bool = False,
        **framing: Unpack[FramingOptions],
    ) -> None:
        _one_of("layout", layout, get_args(Layout))
        self.root = Path(root).expanduser()
        self.layout = self._layout(layout)
        if self.layout != "tfrecord" and (flow or depth):
            raise DataError(
                f"flow and depth are in TFRecord files alone; {self.root} has the layout "
                f"{self.layout}"
            )
        wanted = Wanted(masks, flow, depth, checksums)
        videos = self._of_split(split, resolution, wanted)
        choice = ClipChoice(num_frames, stride, clips)
        super().__init__(PackedList(videos), choice, replace(self.default_framing, **framing))

    def _place(self, layout: str) -> Path:
        """What has to be there for a layout."""
        names = {
            "slotdiffusion": f"MOVi-{self.level.upper()}",
            "spot": f"MOVi/{self.level}",
            "steve": "[0-9]" * 8,
            "tfrecord": f"movi_{self.level}",
        }
        return self.root / names[layout]

    def _layout(self, asked: str) -> str:
        if not self.root.is_dir():
            raise DataError(f"root {self.root} is not a folder")
        name = f"MOVi-{self.level.upper()}"
        possible = [layout for layout in get_args(Layout)[1:] if asked in ("auto", layout)]
        looked = [self._place(layout).relative_to(self.root).as_posix() for layout in possible]
        there = [
            layout
            for layout, pattern in zip(possible, looked, strict=True)
            if any(path.is_dir() for path in self.root.glob(pattern))
        ]
        if not there:
            raise DataError(
                f"root {self.root} holds no {name}; looked for folders {', '.join(looked)}"
            )
        if len(there) > 1:
            raise DataError(
                f"root {self.root} holds {name} in {len(there)} layouts; name one of them by "
                f"layout: {', '.join(there)}"
            )
        return there[0]

    def _of_split(
        self, split: str, resolution: str, wanted: Wanted
    ) -> list[VideoFolder] | list[RecordVideo]:
        if self.layout == "steve":
            _one_of("split", split, tuple(STEVE_BOUNDS))
            videos = video_folders(self.root, PER_OBJECT_AND_BACKGROUND, wanted.masks)
            first, last = (int(len(videos) * bound) for bound in STEVE_BOUNDS[split])
            if first == last:
                raise DataError(f"split {split!r} of {self.root} is empty: {len(videos)} videos")
            return videos[first:last]
        _one_of("split", split, SPLITS)
        place = self._place(self.layout)
        if self.layout == "tfrecord":
            folder = _version(_inside(place, resolution))
            return record_videos(folder, place.name, split, wanted)
        naming = NUMBERED if self.layout == "slotdiffusion" else PER_OBJECT_AND_BACKGROUND
        return video_folders(_inside(place, split), naming, wanted.masks)


class MoviA(Movi):
    level = "a"


class MoviB(Movi):
    level = "b"


class MoviC(Movi):
    level = "c"


class MoviD(Movi):
    level = "d"


class MoviE(Movi):
    level = "e"


class SteveMovi(VideoClips):
    """MOVi-Solid or MOVi-Tex: clips of the videos of one split.

    root: the folder that holds MOVi-Solid or MOVi-Tex.
    split: "train", "validation" or "test".
    num_frames, stride, clips: see `ClipChoice`. Frames after the 24th are not used.
    masks: False does not read the labels, nor ask for them. Without it, samples have labels where
        the files have masks, which those of the split "validation" have not.
    framing: see `Framing`.

    A sample's id is its video's name and the number of its first frame.

    Raises DataError if the folder, the split, a frame or a mask is missing, or a video too short;
    pictures are read, and so judged, when their sample is.
    """

    folder: ClassVar[str]

    def __init__(
        self,
        split: str,
        root: str | Path,
        num_frames: int = NUM_FRAMES,
        stride: int = 1,
        clips: Clips = "first",
        masks: bool = True,
        **framing: Unpack[FramingOptions],
    ) -> None:
        _one_of("split", split, SPLITS)
        place = _inside(Path(root).expanduser(), self.folder)
        videos = _inside(place, "val" if split == "validation" else split)
        super().__init__(
            PackedList(
                replace(video, length=min(video.length, NUM_FRAMES))
                for video in video_folders(videos, PER_OBJECT, masks)
            ),
            ClipChoice(num_frames, stride, clips),
            replace(self.default_framing, **framing),
        )


class MoviSolid(SteveMovi):
    folder = "MOVi-Solid"


class MoviTex(SteveMovi):
    folder = "MOVi-Tex"


def _one_of(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise DataError(f"{name} {value!r} of MOVi is not one of {', '.join(known)}")


def _inside(folder: Path, name: str) -> Path:
    if not (folder / name).is_dir():
        others = sorted(path.name for path in folder.iterdir() if path.is_dir())
        has = f"it has {', '.join(others)}" if others else "it has none"
        raise DataError(f"{folder} has no folder {name}; {has}")
    return folder / name


def _version(folder: Path) -> Path:
    versions = [path for path in folder.iterdir() if path.is_dir() and path.name[0] != "."]
    if len(versions) != 1:
        raise DataError(f"{folder} holds {len(versions)} folders; expected one, such as 1.0.0")
    return versions[0]
