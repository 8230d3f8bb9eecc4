"""Physion (Bear et al. 2021): videos of simulated physics in eight scenarios, and whether two
marked things come to touch.

    ROOT/PhysionTrainMP4s/<Scenario>_training_MP4s/<stimulus>_img.mp4
    ROOT/PhysionTrainMP4s/<Scenario>_readout_MP4s/<stimulus>_img.mp4
    ROOT/PhysionTrainMP4s/readout_labels.csv
    ROOT/PhysionTestMP4s/<Scenario>/mp4s-redyellow/<stimulus>-redyellow_<number>_img.mp4
    ROOT/PhysionTestMP4s/labels.csv

A stimulus of `readout` has a namesake in `training`: a video is known by its path alone. The videos
are 256x256, 30 frames a second, and have 151 frames or more.

The authors do not divide `training` and `readout`. The lists that come with SlotFormer and
SlotDiffusion do; without them a hash of each path holds back 5 % for validation.
"""

import csv
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal, Unpack

import numpy as np

from slot_data.clips import ClipChoice, Clips
from slot_data.file_lists import names_in
from slot_data.framing import Framing, FramingOptions
from slot_data.image_files import read_sample, sample_of
from slot_data.physion_glitches import BadStimuli, is_dropped, stimulus_of
from slot_data.raw_bits import key_of
from slot_data.sample import DataError, Sample
from slot_data.video_files import VideoFile, require_av

SCENARIOS = ("Collide", "Contain", "Dominoes", "Drape", "Drop", "Link", "Roll", "Support")
SPLITS = ("train", "validation", "test")
OUTCOMES = {
    "readout": "PhysionTrainMP4s/readout_labels.csv",
    "test": "PhysionTestMP4s/labels.csv",
}
VALIDATION_SHARE = 20  # one in so many

Subset = Literal["training", "readout"]
Scenario = Literal[
    "all", "Collide", "Contain", "Dominoes", "Drape", "Drop", "Link", "Roll", "Support"
]


class Physion:
    """Clips of the videos of one split: all of one video after those of another, by path.

    root: the folder that holds `PhysionTrainMP4s` and `PhysionTestMP4s`.
    split: "train", "validation" or "all" of a subset, or "test".
    subset: "training", for models of video, or "readout", whose outcomes are known; the split
        "test" has outcomes and is of neither.
    scenario: one of the eight, or "all".
    num_frames, stride, clips: see `ClipChoice`.
    max_frames: a video's later frames are not used; shorter videos are an error.
    split_lists: a folder with the lists training_train.json, training_val.json, readout_train.json,
        readout_val.json and test_test.json, which come with SlotFormer's and SlotDiffusion's code
        (datasets/splits/Physion). They also say the order.
    bad_stimuli: what becomes of the 29 test videos that the authors list as faulty: "drop" leaves
        them out, "slotdiffusion" the 26 that SlotDiffusion's filter finds, "keep" none.
    outcomes: samples of `readout` and test have an `outcome`; False does not ask for the labels.
    pictures: read the frames <video without suffix>/<frame, six digits>.jpg that SlotDiffusion
        extracts, instead of the videos.
    framing: see `Framing`.

    A sample's id is the path of its video and its first frame; `scenario` is what that path says,
    not the name, which may hold another's. Raises DataError if there are no videos, one is
    unreadable, too short or without an outcome, or PyAV is missing.
    """

    default_framing: ClassVar[Framing] = Framing()

    def __init__(
        self,
        split: str,
        root: str | Path,
        subset: Subset = "training",
        scenario: Scenario = "all",
        num_frames: int = 1,
        stride: int = 1,
        clips: Clips = "first",
        max_frames: int = 150,
        split_lists: str | Path | None = None,
        bad_stimuli: BadStimuli = "drop",
        outcomes: bool = True,
        pictures: bool = False,
        **framing: Unpack[FramingOptions],
    ) -> None:
        if split not in (*SPLITS, "all"):
            raise DataError(f"split {split!r} of physion is not one of {', '.join(SPLITS)}, all")
        self._framing = replace(self.default_framing, **framing)
        self._choice = ClipChoice(num_frames, stride, clips)
        self._clips_per_video = self._choice.count("a video up to max_frames", max_frames)
        self._pictures, self._max_frames = pictures, max_frames
        if not pictures:
            require_av()
        self.root = Path(root).expanduser()
        part = "test" if split == "test" else subset
        scenarios = SCENARIOS if scenario == "all" else (scenario,)
        suffix = "" if pictures else ".mp4"
        videos = _videos(self.root, part, scenarios, suffix)
        present = videos if scenario == "all" else None
        if split != "all" and split_lists is not None:
            path = Path(split_lists).expanduser()
            path /= f"{part}_{'val' if split == 'validation' else split}.json"
            videos = _listed(path, scenarios, set(videos), self.root)
        elif split in ("train", "validation"):
            held_back = split == "validation"
            videos = [v for v in videos if (key_of(v) % VALIDATION_SHARE == 0) == held_back]
        if split == "test":
            videos = [video for video in videos if not is_dropped(video, bad_stimuli)]
        if not videos:
            raise DataError(f"split {split!r} of physion holds no video: nothing is left of {part}")
        self._videos = np.array(videos, dtype=str)  # an array: loader workers share it
        self._outcomes = None
        if outcomes and part in OUTCOMES:
            self._outcomes = _outcomes(self.root / OUTCOMES[part], videos, present)

    def __len__(self) -> int:
        return len(self._videos) * self._clips_per_video

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {self.root}: there are {len(self)}")
        place, clip = divmod(index, self._clips_per_video)
        return self._framing(self.read_video(place, self._choice.frames(clip)))

    @property
    def num_videos(self) -> int:
        return len(self._videos)

    def clip_ids(self, number: int) -> list[str]:
        return [f"{self._videos[number]}/{start}" for start in range(self._max_frames)]

    def read_video(self, number: int, frames: range) -> Sample:
        """These frames as they are in the file. Raises DataError as reading a sample does."""
        video = str(self._videos[number])
        sample = self._read(video, frames)
        sample["scenario"] = _scenario_of(video)
        if self._outcomes is not None:
            sample["outcome"] = bool(self._outcomes[number])
        return sample

    def _read(self, video: str, frames: range) -> Sample:
        identity = f"{video}/{frames.start}"
        if self._pictures:
            folder = self.root / video
            return read_sample(identity, [folder / f"{n:06d}.jpg" for n in frames], None)
        # No list of frame times: the files have a single key frame, so there is nothing to seek.
        path = self.root / f"{video}.mp4"
        pixels = VideoFile(path).read(frames)
        return sample_of(identity, pixels, [f"frame {n} of {path}" for n in frames], None)


def read_outcomes(path: Path) -> dict[str, bool]:
    """Stimulus -> outcome, from a list of labels. Raises DataError if it is missing or has lines
    other than a name and True or False."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"labels {path} of physion cannot be read: {error}") from error
    found: dict[str, bool] = {}
    for line, row in enumerate(rows[1:], 2):
        if len(row) != 2 or row[1] not in ("True", "False"):
            raise DataError(
                f"line {line} of {path} is {','.join(row)[:80]!r}; expected a name and True or "
                "False"
            )
        found[stimulus_of(row[0])] = row[1] == "True"
    return found


def _videos(root: Path, part: str, scenarios: tuple[str, ...], suffix: str) -> list[str]:
    """Paths from root, without suffix, by scenario and name."""
    found = []
    for scenario in scenarios:
        folder = (
            f"PhysionTestMP4s/{scenario}/mp4s-redyellow"
            if part == "test"
            else f"PhysionTrainMP4s/{scenario}_{part}_MP4s"
        )
        names = sorted(names_in(root / folder))
        found += [
            f"{folder}/{name.removesuffix(suffix)}"
            for name in names
            if name.endswith(f"_img{suffix}")
        ]
    if not found:
        top = "PhysionTestMP4s" if part == "test" else "PhysionTrainMP4s"
        what = f"videos (*_img{suffix})" if suffix else "folders of frames (*_img)"
        raise DataError(
            f"{root / top} holds no {what} of {part} for {', '.join(scenarios)}; expected them "
            f"in folders such as {Path(folder).relative_to(top)}"
        )
    return found


def _listed(path: Path, scenarios: tuple[str, ...], present: set[str], root: Path) -> list[str]:
    try:
        lists = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"split list {path} of physion cannot be read: {error}") from error
    if not isinstance(lists, Mapping) or not all(isinstance(v, list) for v in lists.values()):
        raise DataError(f"split list {path} of physion is no JSON of scenarios and their videos")
    videos = [
        str(name).removesuffix(".mp4")
        for scenario, names in lists.items()
        if scenario in scenarios
        for name in names
    ]
    missing = [video for video in videos if video not in present]
    if missing:
        raise DataError(
            f"{len(missing)} of the {len(videos)} videos that {path} lists are missing in {root}; "
            f"{missing[0]} is the first"
        )
    return videos


def _outcomes(path: Path, videos: list[str], present: list[str] | None) -> np.ndarray:
    """bool of each video. present: the paths of all of them, to compare the list with; None where
    the list has more."""
    known = read_outcomes(path)
    stimuli = [stimulus_of(video.rpartition("/")[2]) for video in videos]
    if present is not None:
        there = {stimulus_of(video.rpartition("/")[2]) for video in present}
        missing = [stimulus for stimulus in known if stimulus not in there]
        if missing:
            raise DataError(
                f"{len(missing)} of the {len(known)} stimuli in {path} have no video; "
                f"{missing[0]} is the first"
            )
    for video, stimulus in zip(videos, stimuli, strict=True):
        if stimulus not in known:
            raise DataError(f"video {video} of physion has no outcome in {path}")
    return np.array([known[stimulus] for stimulus in stimuli], dtype=bool)


def _scenario_of(video: str) -> str:
    place = video.split("/")[1]
    return place.split("_")[0]
