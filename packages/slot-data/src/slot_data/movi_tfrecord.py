"""MOVi-A to E as Kubric publishes them: TFRecord files, read without TensorFlow.

    <folder>/movi_e-train.tfrecord-00000-of-01024

Each record is one video. Its features (challenges/movi/movi_c.py of Kubric):

    video, segmentations           a PNG per frame; a pixel of the second is 0 for the background,
                                   else the index of the object plus 1
    depth                          a PNG of 16 bits per frame: distance from the camera
    forward_flow, backward_flow    integers of 16 bits, frames x height x width x 2: how far what a
                                   pixel shows moves down and right, to the next or the last frame
    metadata/depth_range, ...      what 0 and 65535 stand for

What is not asked for is neither decoded nor read from the disk.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from slot_data.clips import too_short
from slot_data.image_files import PictureBytes, read_mask, read_sample
from slot_data.sample import DataError, Sample
from slot_data.tf_example import TFExample
from slot_data.tfrecord import Record, records_of

Flow = Literal["forward", "backward"]
SHARD = re.compile(r"(\w+)-(\w+)\.tfrecord-(\d{5})-of-(\d{5})")
LARGEST = 65535  # of depth and flow


@dataclass(frozen=True)
class Wanted:
    """What to decode beside the video: labels, motion to the one or the other side, depth; and
    whether to verify each record's checksum first."""

    masks: bool = True
    flow: Flow | None = None
    depth: bool = False
    checksums: bool = False


@dataclass(frozen=True)
class RecordVideo:
    """length: number of frames that the first record of the split has, and so should this."""

    record: Record
    length: int
    wanted: Wanted

    def __str__(self) -> str:
        return f"video {self.record}"

    @property
    def name(self) -> str:
        """Its file's number and its own in that."""
        number = SHARD.fullmatch(self.record.path.name)
        return f"{number[3] if number else ''}-{self.record.number:05d}"

    def read(self, identity: str, frames: range) -> Sample:
        """Raises DataError if the record is damaged, lacks a feature, or has too few frames."""
        if self.wanted.checksums:
            self.record.verify()
        with self.record.mapped() as content:
            found = TFExample(content, self.record.start, self.record.stop, str(self.record))

            def pictures(key: str) -> list[PictureBytes]:
                parts = found.texts(key)
                if frames[-1] >= len(parts):
                    raise DataError(too_short(f"feature {key!r} of {self}", len(parts), frames))
                name = f"{key!r} of {self.record}, frame"
                return [PictureBytes(f"{name} {t}", content[parts[t]]) for t in frames]

            masks = pictures("segmentations") if self.wanted.masks else None
            sample = read_sample(identity, pictures("video"), masks)
            if self.wanted.depth:
                pixels = np.stack([read_mask(picture) for picture in pictures("depth")])
                sample["depth"] = _measured(found, "depth_range", pixels)
            if self.wanted.flow:
                sample["flow"] = self._flow(found, self.wanted.flow, frames, sample)
        return sample

    def _flow(self, found: TFExample, side: Flow, frames: range, sample: Sample) -> torch.Tensor:
        key = f"{side}_flow"
        height, width = sample["video"].shape[-2:]
        numbers = found.integers(key)
        whole = len(found.texts("video")) * height * width * 2
        if len(numbers) != whole:
            raise DataError(
                f"feature {key!r} of {self.record} holds {len(numbers)} numbers; expected {whole}, "
                "two for each pixel of the video"
            )
        pixels = numbers.reshape(-1, height, width, 2)[frames.start : frames.stop : frames.step]
        return _measured(found, f"{key}_range", pixels.transpose(0, 3, 1, 2))


def record_videos(folder: Path, name: str, split: str, wanted: Wanted) -> list[RecordVideo]:
    """The videos of a split, in the order of the files and of the records in them.

    Raises DataError if the split has no files or one of them is missing, is none, or is cut off.
    """
    matches = [match for path in folder.iterdir() if (match := SHARD.fullmatch(path.name))]
    of_split = sorted(match[0] for match in matches if (match[1], match[2]) == (name, split))
    if not of_split:
        others = ", ".join(sorted({match[2] for match in matches if match[1] == name}))
        raise DataError(
            f"{folder} holds no files {name}-{split}.tfrecord-*; its splits are {others}"
        )
    count = int(of_split[0][-5:])
    for number in range(count):
        file = f"{name}-{split}.tfrecord-{number:05d}-of-{count:05d}"
        if file not in of_split:
            raise DataError(f"{folder} holds {len(of_split)} of {count} files, but no {file}")
    records = [record for file in of_split for record in records_of(folder / file)]
    if not records:
        raise DataError(f"the files {name}-{split}.tfrecord-* in {folder} hold no records")
    with records[0].mapped() as content:
        first = TFExample(content, records[0].start, records[0].stop, str(records[0]))
        length = len(first.texts("video"))
    return [RecordVideo(record, length, wanted) for record in records]


def _measured(found: TFExample, key: str, pixels: np.ndarray) -> torch.Tensor:
    """float32: what the 16-bit numbers stand for."""
    ends = found.floats(f"metadata/{key}")
    if len(ends) != 2:
        raise DataError(
            f"feature 'metadata/{key}' of {found.name} holds {len(ends)} numbers; expected 2"
        )
    low, high = ends.tolist()
    return torch.from_numpy((pixels / LARGEST * (high - low) + low).astype(np.float32))
