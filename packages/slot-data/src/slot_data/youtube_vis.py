"""YouTube-VIS 2019 and 2021 (Yang, Fan, Xu 2019, "Video instance segmentation"): videos with the
outlines of objects of 40 kinds in each frame that is there, every fifth of the original.

    ROOT/train/JPEGImages/<video>/<frame, five digits>.jpg
    ROOT/train/instances.json         or ROOT/train.json, ROOT/annotations/instances_train_sub.json
    ROOT/valid/JPEGImages/...         or ROOT/val/JPEGImages/..., and the same for test
    ROOT/valid/instances.json         or ROOT/valid.json, ...

The truth of `valid` and `test` is not published, so models of slots are scored on the last 300
videos of `train`, which they are not trained on, as VideoSAUR does (Zadaianchuk, Seitzer, Martius
2023).
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal, Unpack

import numpy as np

from slot_data.clips import ClipChoice, Clips, num_clips
from slot_data.file_lists import first_of, later, names_in
from slot_data.framing import Framing, FramingOptions
from slot_data.image_files import read_sample, size_of
from slot_data.region_policies import Crowd, Overlap, RegionPolicy
from slot_data.sample import DataError, Sample, with_maps
from slot_data.video_clips import VideoClips
from slot_data.youtube_vis_annotations import VideoAnnotations, read_video_annotations

SPLITS = ("train", "validation", "test", "all")
NAMES = {"train": ("train",), "validation": ("valid", "val"), "test": ("test",)}
HELD_OUT = 300

Validation = Literal["held_out", "published"]


class YouTubeVis(VideoClips):
    """Clips of the videos of one split, in the order of the annotation file.

    root: a folder of one of the layouts above.
    split: "train", "validation", "test", or "all" for all of the published training videos.
    validation: "held_out" takes the last `held_out` of the published training videos for
        validation and trains on the others; "published" takes the published validation videos,
        whose samples have no labels.
    num_frames, stride, clips: see `ClipChoice`; num_frames None takes whole videos, which differ in
        length.
    short: what becomes of videos that are too short for a clip.
    crowd, overlap: see `RegionPolicy`.
    masks: False reads the frames alone.
    annotations: the annotation file, if it has another place.
    framing: see `Framing`.

    A sample's id is its video's folder and the number of its first frame; an object's label is its
    place among the annotations of its video, until `relabel`. Raises DataError if a folder, frame
    or the annotations are missing, cannot be read, or do not fit one another.
    """

    default_framing: ClassVar[Framing] = Framing(image_size=224, fit="resize_first")

    def __init__(
        self,
        split: str,
        root: str | Path,
        validation: Validation = "held_out",
        held_out: int = HELD_OUT,
        num_frames: int | None = None,
        stride: int = 1,
        clips: Clips = "first",
        short: Literal["error", "drop"] = "error",
        crowd: Crowd = "drop",
        overlap: Overlap = "last",
        masks: bool = True,
        annotations: str | Path | None = None,
        **framing: Unpack[FramingOptions],
    ) -> None:
        if split not in SPLITS:
            raise DataError(f"split {split!r} of youtube_vis is not one of {', '.join(SPLITS)}")
        self.root = Path(root).expanduser()
        part = (
            split if split == "test" or (split, validation) == ("validation", "published") else ""
        )
        names = NAMES[part or "train"]
        file = Path(annotations).expanduser() if annotations else _annotation_file(self.root, names)
        found = read_video_annotations(file)
        folder = first_of(self.root, [f"{name}/JPEGImages" for name in names], "youtube_vis")
        numbers = range(len(found.heights))
        if validation == "held_out" and split in ("train", "validation"):
            numbers = _divided(numbers, held_out, split, file)
        policy = RegionPolicy(crowd, overlap) if masks and found.annotated[0] else None
        videos = [_Video(folder, found, number, policy) for number in numbers]
        _require_frames(folder, videos, file)
        choice = ClipChoice(num_frames, stride, clips) if num_frames is not None else None
        if choice and short == "drop":
            videos = [v for v in videos if num_clips(v.length, choice.num_frames, choice.stride)]
        if not videos:
            raise DataError(
                f"split {split!r} of youtube_vis holds no video: none of {file} is left"
            )
        super().__init__(videos, choice, replace(self.default_framing, **framing))


@dataclass(frozen=True)
class _Video:
    folder: Path
    annotations: VideoAnnotations
    number: int
    policy: RegionPolicy | None

    def __str__(self) -> str:
        return f"video {self.folder / self.name}"

    @property
    def files(self) -> np.ndarray:
        """str [T]: the paths of the frames from the folder."""
        first = self.annotations.first_file
        return self.annotations.files[first[self.number] : first[self.number + 1]]

    @property
    def length(self) -> int:
        return len(self.files)

    @property
    def name(self) -> str:
        return str(self.files[0]).rpartition("/")[0]

    def read(self, identity: str, frames: range) -> Sample:
        """Raises DataError if a frame cannot be read or is of another size than stated."""
        paths = [self.folder / str(self.files[frame]) for frame in frames]
        sample = read_sample(identity, paths, None)
        if self.policy is None:
            return sample
        found = self.annotations
        stated = int(found.heights[self.number]), int(found.widths[self.number])
        shape = sample["video"].shape[-2:]
        if shape != stated:
            raise DataError(
                f"frame {paths[0]} is {size_of(shape)}, but {found.path} says {size_of(stated)}"
            )
        maps = [self.policy.paint(found.regions(self.number, frame), stated) for frame in frames]
        return with_maps(sample, {name: np.stack([m[name] for m in maps]) for name in maps[0]})


def _annotation_file(root: Path, names: tuple[str, ...]) -> Path:
    places = [
        pattern.format(name)
        for name in names
        for pattern in (
            "{}/instances.json",
            "{}.json",
            "annotations/instances_{}_sub.json",
            "instances_{}_sub.json",
        )
    ]
    return first_of(root, [*places, "instances.json"], "youtube_vis")


def _divided(numbers: range, held_out: int, split: str, file: Path) -> range:
    if not 0 < held_out < len(numbers):
        raise DataError(
            f"held_out is {held_out}; expected 1 to {len(numbers) - 1}, for some of the "
            f"{len(numbers)} videos of {file} to be trained on"
        )
    last = len(numbers) - held_out
    return numbers[:last] if split == "train" else numbers[last:]


def _require_frames(folder: Path, videos: list[_Video], file: Path) -> None:
    for video in () if later() else videos:
        present = {f"{video.name}/{name}" for name in names_in(folder / video.name)}
        missing = [str(name) for name in video.files if name not in present]
        if missing:
            raise DataError(
                f"{len(missing)} of the {video.length} frames of {video} that {file} lists are "
                f"missing; {missing[0]} is the first"
            )
