"""The rows of a prepared folder, read from the dataset it is made from: each picture once, each
video whole, before anything is cut or resized, or after, where that was asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from torch.utils.data import Dataset

from slot_data.encodings import Encoding
from slot_data.framing import UNFRAMED, Framing, unframed
from slot_data.image_files import noting_pictures
from slot_data.sample import DataError, Sample, SampleDataset, VideoDataset, pixel_maps
from slot_data.stored_rows import PIXELS, SCALARS, Row

FRAMES_AT_ONCE = 256  # of a video; they are in memory as pixels


@dataclass(frozen=True)
class Reading:
    """What became of one picture or video. row: None where it cannot be read, and `fault` says why.
    objects: how many it shows; None where it has no labels."""

    name: str
    row: Row | None
    objects: int | None
    fault: str = ""

    @property
    def bytes(self) -> int:
        """As they are written."""
        return sum(len(piece) for key in PIXELS for piece in (self.row or {}).get(key) or [])

    @property
    def pixels(self) -> int:
        """Bytes of the bare pixels, with one for each number of a map."""
        row = self.row or {}
        maps = sum(3 if key == "video" else 1 for key in PIXELS if key in row)
        return len(row["video"]) * row["height"] * row["width"] * maps if row else 0


class SourceRows(Dataset[Reading]):
    """Row i of a split. framed: whether pixels are cut and resized before they are written.

    Labels of pictures are then numbered as the dataset's framing says; those of videos are left as
    they are, since which objects a clip shows depends on the clip.
    """

    def __init__(self, dataset: SampleDataset, framed: bool, encoding: Encoding) -> None:
        self.dataset, self.framed, self.encoding = dataset, framed, encoding
        self.videos = dataset if isinstance(dataset, VideoDataset) else None
        self._pictures = dataset if framed else unframed(dataset)
        own: Framing = getattr(dataset, "_framing", UNFRAMED)
        self._framing = replace(own, relabel=False) if framed else UNFRAMED

    def __len__(self) -> int:
        return self.videos.num_videos if self.videos else len(self.dataset)

    def __getitem__(self, index: int) -> Reading:
        """Reads and encodes; what is wrong with the files is told, not raised."""
        try:
            if self.videos:
                return self._video(self.videos, index)
            with noting_pictures() as files:
                sample = self._pictures[index]
            if "video" not in sample:
                raise DataError(f"sample {sample['id']!r} has no pixels to prepare")
            row = self._row(sample, files)
            return Reading(sample["id"], row, _count(_objects(sample)))
        except DataError as error:
            name = self.videos.clip_ids(index)[0] if self.videos else f"number {index}"
            return Reading(name, None, None, str(error))

    def _video(self, videos: VideoDataset, number: int) -> Reading:
        ids = videos.clip_ids(number)
        whole: Row = {}
        objects: set[int] | None = set()
        for first in range(0, len(ids), FRAMES_AT_ONCE):
            frames = range(first, min(first + FRAMES_AT_ONCE, len(ids)))
            with noting_pictures() as files:
                sample = videos.read_video(number, frames)
            sample = self._framing(sample) if self.framed else sample
            found = _objects(sample)
            objects = None if objects is None or found is None else objects | found
            part = self._row(sample, files)
            if whole and (part["height"], part["width"]) != (whole["height"], whole["width"]):
                raise DataError(f"frames of {sample['id']!r} differ in size")
            for key, value in part.items():
                whole[key] = whole[key] + value if key in PIXELS and key in whole else value
        return Reading(ids[0], {**whole, "id": ids[0], "clip_ids": ids}, _count(objects))

    def _row(self, sample: Sample, files: Sequence[tuple[Any, Any]]) -> Row:
        entries = cast(Mapping[str, Any], sample)
        height, width = sample["video"].shape[-2:]
        row: Row = {"id": sample["id"], "height": int(height), "width": int(width)}
        row["video"] = self.encoding.frames(sample["video"], files)
        for key, pixels in pixel_maps(sample).items():
            row[key] = self.encoding.maps(key, pixels)
        row |= {key: entries[key] for key in SCALARS if key in entries}
        return row


def _objects(sample: Sample) -> set[int] | None:
    if "labels" not in sample:
        return None
    return {int(number) for number in sample["labels"].unique() if number > 0}


def _count(objects: set[int] | None) -> int | None:
    return None if objects is None else len(objects)
