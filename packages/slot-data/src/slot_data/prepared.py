"""Samples of a folder that `slot-data prepare` has written: for the same id and the same options,
the same as those of the raw files.

`load_dataset_by_name` comes here by itself where `root` is such a folder, so a recipe changes in
nothing else. What was decided when the folder was written stands (which pictures are in it, what
becomes of overlaps, its size, if it was given one): asking for something else is an error. Clips,
the numbering of their labels, and everything else that is not in the files is decided here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from slot_data.clips import ClipChoice, num_clips
from slot_data.framing import UNFRAMED, Framing, framing_of
from slot_data.manifest import Manifest, Split, read_manifest
from slot_data.options import allowed_options
from slot_data.piece_index import PieceFile, Row
from slot_data.pixel_cache import PixelCache
from slot_data.sample import DataError, Sample
from slot_data.stored_rows import sample_of_row

CLIP_OPTIONS = ("num_frames", "stride", "clips")
SHORT = "short"  # of datasets whose videos differ in length: what becomes of those without a clip
FRAMING_OPTIONS = tuple(asdict(UNFRAMED))
LEFT_WITHOUT = {  # options that may be switched off after all: the keys that go with them
    "masks": ("labels", "class_labels", "void", "overlap"),
    "flow": ("flow",),
    "depth": ("depth",),
    "outcomes": ("outcome",),
}


@dataclass(frozen=True)
class Reading:
    """How rows become samples.

    choice: of clips; None where each row is one sample. drop_short: rows that are too short for a
        clip give no sample, instead of an error.
    framing: what is still to be done to pixels. left: keys that samples shall not have.
    """

    choice: ClipChoice | None
    framing: Framing
    left: tuple[str, ...]
    drop_short: bool = False

    def count(self, row: str, length: int) -> int:
        """How many samples a row of so many frames gives."""
        if self.choice is None:
            return 1
        if self.drop_short and not num_clips(length, self.choice.num_frames, self.choice.stride):
            return 0
        return self.choice.count(row, length)

    def frames(self, number: int, length: int) -> range:
        return self.choice.frames(number) if self.choice else range(length)


class Prepared:
    """The samples of one split, in the order of the dataset it was made from.

    folder: the prepared folder, and what it says of itself. split: one of its own. reading: see
        `reading_of`.

    Its files are mapped into memory as they are: nothing is copied before the first sample, and
    loader workers and processes share the pages.

    Raises DataError if the split is none of the folder's, a file of it is missing or is of another
    size, or a video is shorter than a clip.
    """

    def __init__(self, folder: Path, manifest: Manifest, split: str, reading: Reading) -> None:
        self.folder, self.manifest, self.reading = folder, manifest, reading
        self.split = split_of(self.manifest, folder, split)
        self._files = _files(folder, split, self.split)
        if not self._files:
            raise DataError(f"split {split!r} of {folder} is empty")
        self._stops = np.cumsum([len(file) for file in self._files])
        self._lengths = np.concatenate([file.frames for file in self._files])
        counts = [self._count(number) for number in range(len(self._lengths))]
        self._ends = np.cumsum(np.array(counts, dtype=np.int64))
        if not self._ends[-1]:
            raise DataError(f"split {split!r} of {folder} holds no video with such a clip")
        self._cache = None
        if self.split.cache:
            keys = [key for key in self.split.keys if key not in reading.left]
            self._cache = PixelCache(folder, split, keys, self._lengths)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {self.folder}: there are {len(self)}")
        number = int(np.searchsorted(self._ends, index, side="right"))
        before = int(self._ends[number - 1]) if number else 0
        frames = self.reading.frames(index - before, int(self._lengths[number]))
        row = self._row(number)
        if self._cache is not None:
            sample = self._cache.sample(row, number, frames, self.reading.left)
        else:
            sample = sample_of_row(row, frames, self.manifest.encoding, self.reading.left)
        return framed(self.reading.framing, sample)

    def shortest(self) -> tuple[str, int]:
        """As of `KnowsShortest`: what to call the sample with the fewest frames, and these."""
        if self.reading.choice is not None:
            return "every sample", self.reading.choice.num_frames
        number = int(np.argmin(self._lengths))
        return f"video {self._row(number)['id']!r} of {self.folder}", int(self._lengths[number])

    def _row(self, number: int) -> Row:
        place = int(np.searchsorted(self._stops, number, side="right"))
        return self._files[place].row(number - int(self._stops[place]) + len(self._files[place]))

    def _count(self, number: int) -> int:
        length = int(self._lengths[number])
        try:
            return self.reading.count("", length)
        except DataError:  # its name is in the files, and is read for the sentence alone
            name = self._row(number)["id"]
        return self.reading.count(f"video {name!r} of {self.folder}", length)


def load_prepared(
    name: str,
    loader: Callable[..., Any],
    folder: Path,
    split: str,
    options: Mapping[str, Any],
) -> Prepared:
    """options: of the dataset, those of a preset included. Raises DataError, beyond what `Prepared`
    does, if the folder was made from another dataset or does not fit the options."""
    manifest = read_manifest(folder)
    if manifest.dataset != name:
        raise DataError(f"root {folder} is prepared from {manifest.dataset}, not from {name}")
    return Prepared(folder, manifest, split, reading_of(manifest, loader, folder, split, options))


def reading_of(
    manifest: Manifest,
    loader: Callable[..., Any],
    folder: Path | str,
    split: str,
    options: Mapping[str, Any],
) -> Reading:
    """What the options leave to do. Raises DataError for what cannot be had of the folder."""
    found = split_of(manifest, folder, split)
    defaults = {key: parameter.default for key, parameter in allowed_options(loader).items()}
    asked = {key: value for key, value in options.items() if key != "root"}
    choice, drop_short = None, False
    if manifest.videos:
        frames, stride, clips = (asked.pop(key, defaults[key]) for key in CLIP_OPTIONS)
        _require_same_rows(found, folder, split, frames)
        choice = ClipChoice(frames, stride, clips) if frames is not None else None
        drop_short = asked.pop(SHORT, "error") == "drop"
    left: list[str] = []
    for key, value in asked.items():
        if key in FRAMING_OPTIONS and (found.framing is None or _still_open(manifest, key)):
            continue
        has = (found.framing if key in FRAMING_OPTIONS else found.options) or {}
        if key in LEFT_WITHOUT and not value and has.get(key):
            left += LEFT_WITHOUT[key]
        elif plain(value) != has.get(key):
            raise DataError(
                f"split {split!r} of {folder} was prepared with {key} {has.get(key)!r}, not "
                f"{value!r}; ask for that, or prepare it again"
            )
    framing = _framing(manifest, found, defaults, asked)
    return Reading(choice, framing, tuple(left), drop_short)


def _require_same_rows(found: Split, folder: Path | str, split: str, frames: int | None) -> None:
    """Raises DataError where the files would give other rows for so many frames: of videos, only
    those of a folder of pictures state `num_frames`, 1 or 2 for any more."""
    made = found.options.get("num_frames")
    if made is None or frames is None or made == min(frames, 2):
        return
    rows = "1, each picture a sample" if made == 1 else "above 1, each folder of pictures a video"
    raise DataError(
        f"split {split!r} of {folder} was prepared with num_frames {rows}, and not for num_frames "
        f"{frames}; ask for the former, or prepare it again"
    )


def split_of(manifest: Manifest, folder: Path | str, split: str) -> Split:
    if split not in manifest.splits:
        raise DataError(
            f"split {split!r} is not in {folder}; prepared are {', '.join(manifest.splits)}"
        )
    return manifest.splits[split]


def _still_open(manifest: Manifest, key: str) -> bool:
    """Whether an option of framing is decided at reading although pixels were framed before."""
    return key == "relabel" and manifest.videos


def _framing(
    manifest: Manifest, split: Split, defaults: Mapping[str, Any], asked: Mapping[str, Any]
) -> Framing:
    if "relabel" not in defaults:
        return UNFRAMED  # a dataset that has none
    if split.framing is None:
        own = Framing(**{key: defaults[key] for key in FRAMING_OPTIONS})
        return framing_of(own, {key: asked[key] for key in FRAMING_OPTIONS if key in asked})
    if not manifest.videos:
        return UNFRAMED
    relabel = asked.get("relabel", split.framing.get("relabel", False))
    return Framing(fit="file", relabel=relabel)


def framed(framing: Framing, sample: Sample) -> Sample:
    return sample if framing == UNFRAMED else framing(sample)


def plain(value: Any) -> Any:
    """As JSON keeps it."""
    return str(value) if isinstance(value, Path) else value


def _files(folder: Path, split: str, found: Split) -> list[PieceFile]:
    files = []
    for shard in found.shards:
        path = folder / shard.file
        if not shard.rows:
            continue
        for name in (shard.file, shard.index):
            if not (folder / name).is_file():
                raise DataError(f"{folder} lacks {name}, which belongs to split {split!r}")
        if path.stat().st_size != shard.bytes:
            raise DataError(
                f"{path} has {path.stat().st_size:,} bytes; expected {shard.bytes:,}: it is "
                "damaged or cut off"
            )
        files.append(PieceFile(path, folder / shard.index))
        if len(files[-1]) != shard.rows:
            raise DataError(f"{folder / shard.index} is damaged: it is of another file")
    return files
