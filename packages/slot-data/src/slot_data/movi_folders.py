"""MOVi as folders of pictures, one folder per video, in the namings that are about:

    <video>/<frame, 6 digits>.jpg          <video>/<frame, 6 digits>_mask.png
    <video>/<frame, 8 digits>_image.png    <video>/<frame, 8 digits>_mask_<object, 2 digits>.png

The first (SlotDiffusion's) has one grey mask per frame whose pixel is the object's number. The
second (STEVE's) has one black and white mask per object. As STEVE and SPOT store MOVi-A to E, mask
00 is the background; in MOVi-Solid and MOVi-Tex there are only masks of objects. Frames are
numbered from 0. Splits that are only trained on may have no masks.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from slot_data.file_lists import later
from slot_data.image_files import read_picture, read_sample, size_of
from slot_data.sample import DataError, Sample

WHITE = 128  # from here on, should a mask be neither 0 nor 255


@dataclass(frozen=True)
class Naming:
    """picture, mask: names of a frame's files, for `str.format`.
    background_mask: whether the first mask of an object is that of the background; None where
        there is one mask per frame.
    """

    picture: str
    mask: str
    background_mask: bool | None = None

    def pattern(self, name: str) -> re.Pattern[str]:
        """Matches these names; its last group is the number of the object, if there is one."""
        name = name.replace(".", r"\.")
        return re.compile(re.sub(r"\{\w+:0(\d)d\}", r"([0-9]{\1})", name))


NUMBERED = Naming("{frame:06d}.jpg", "{frame:06d}_mask.png")
PER_OBJECT = Naming(
    "{frame:08d}_image.png", "{frame:08d}_mask_{number:02d}.png", background_mask=False
)
PER_OBJECT_AND_BACKGROUND = Naming(PER_OBJECT.picture, PER_OBJECT.mask, background_mask=True)


@dataclass(frozen=True)
class VideoFolder:
    """length: number of frames. num_masks: of each frame; 0 where there are none or none are
    wanted."""

    path: Path
    naming: Naming
    length: int
    num_masks: int

    def __str__(self) -> str:
        return f"video {self.path}"

    @property
    def name(self) -> str:
        return self.path.name

    def read(self, identity: str, frames: range) -> Sample:
        """Raises DataError if a file cannot be read, or sizes differ."""
        pictures = [self.picture(frame) for frame in frames]
        if not self.num_masks:
            return read_sample(identity, pictures, None)
        masks = [self.masks(frame) for frame in frames]
        if self.naming.background_mask is None:
            return read_sample(identity, pictures, [mask for (mask,) in masks])
        sample = read_sample(identity, pictures, None)
        labels = [_labels_of(of_frame, self.naming.background_mask) for of_frame in masks]
        size = sample["video"].shape[-2:]
        for of_frame, pixels in zip(masks, labels, strict=True):
            if pixels.shape != size:
                raise DataError(
                    f"mask {of_frame[0]} is {size_of(pixels.shape)}, but its picture is "
                    f"{size_of(size)}"
                )
        sample["labels"] = torch.from_numpy(np.stack(labels))
        return sample

    def picture(self, frame: int) -> Path:
        return self.path / self.naming.picture.format(frame=frame)

    def masks(self, frame: int) -> list[Path]:
        names = (self.naming.mask.format(frame=frame, number=n) for n in range(self.num_masks))
        return [self.path / name for name in names]


def video_folders(folder: Path, naming: Naming, masks: bool) -> list[VideoFolder]:
    """The videos in `folder`, by name.

    masks: whether they are wanted; they are there for every frame of every video, or for none.

    Raises DataError if there are no videos, a video has no frames, or a picture or mask is
    missing.
    """
    paths = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not paths:
        raise DataError(f"{folder} holds no videos; expected one folder of frames for each")
    videos = [_video(path, naming, masks) for path in paths]
    with_masks = [video for video in videos if video.num_masks]
    for video in videos:
        if with_masks and not video.num_masks:
            raise DataError(f"{video} has no masks, but {with_masks[0]} has")
    return videos


def _video(path: Path, naming: Naming, masks: bool) -> VideoFolder:
    names = [entry.name for entry in os.scandir(path)]
    length = len(_matches(naming, naming.picture, names))
    if not length:
        example = naming.picture.format(frame=0)
        raise DataError(f"video {path} has no frames; expected pictures such as {example}")
    found = _matches(naming, naming.mask, names) if masks else []
    per_object = naming.background_mask is not None
    num_masks = 1 + max(int(match[2]) if per_object else 0 for match in found) if found else 0
    video = VideoFolder(path, naming, length, num_masks)
    present = set(names)
    for frame in range(length):
        picture = video.picture(frame)
        if picture.name not in present and not later():
            raise DataError(f"{video} has {length} pictures, but {picture.name} is not among them")
        for mask in video.masks(frame):
            if mask.name not in present and not later():
                raise DataError(f"picture {picture} has no mask: expected {mask}")
    return video


def _matches(naming: Naming, name: str, names: Sequence[str]) -> list[re.Match[str]]:
    return [match for match in map(naming.pattern(name).fullmatch, names) if match]


def _labels_of(masks: Sequence[Path], background_mask: bool) -> np.ndarray:
    """uint8 [H W] from one mask per object: the brightest decides, the lowest number where several
    are. Where none is white there is background."""
    pixels = [read_picture(path)[..., 0] for path in masks]
    for path, grey in zip(masks, pixels, strict=True):
        if grey.shape != pixels[0].shape:
            raise DataError(
                f"mask {path} is {size_of(grey.shape)}, but {masks[0]} is "
                f"{size_of(pixels[0].shape)}"
            )
    stack = np.stack(pixels)
    numbers = stack.argmax(0) + (0 if background_mask else 1)
    return np.where(stack.max(0) >= WHITE, numbers, 0).astype(np.uint8)
