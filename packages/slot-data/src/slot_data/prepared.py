"""Samples of a folder that `slot-data prepare` has written: for the same id and the same options,
the same as those of the raw files.

`load_dataset_by_name` comes here by itself where `root` is such a folder, so a recipe changes in
nothing else. What was decided when the folder was written stands (which pictures are in it, what
becomes of overlaps, its size, if it was given one): asking for something else is an error. Clips,
the numbering of their labels, and everything else that is not in the files is decided here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from slot_data.clips import ClipChoice, num_clips
from slot_data.framing import UNFRAMED, Framing
from slot_data.manifest import Manifest, Split, hub_split, read_manifest
from slot_data.options import allowed_options
from slot_data.pixel_cache import PixelCache
from slot_data.sample import DataError, Sample
from slot_data.stored_rows import require_datasets, sample_of_row

if TYPE_CHECKING:
    from datasets import Dataset

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

    The first use of a folder lets `datasets` copy its files into the form that it maps into memory
    (beneath HF_DATASETS_CACHE): loader workers and processes then share the pages.

    Raises DataError if `datasets` is not installed, the split is none of the folder's, a file of it
    is missing or is of another size, or a video is shorter than a clip.
    """

    def __init__(self, folder: Path, manifest: Manifest, split: str, reading: Reading) -> None:
        require_datasets()
        self.folder, self.manifest, self.reading = folder, manifest, reading
        self.split = split_of(self.manifest, folder, split)
        self._rows = _rows(folder, split, self.split)
        self._names = frozenset(self._rows.column_names)
        self._lengths = _lengths(self._rows)
        counts = [self._count(int(length)) for length in self._lengths]
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
        row = _ArrowRow(self._rows.data.fast_slice(number, 1), self._names)
        if self._cache is not None:
            sample = self._cache.sample(row, number, frames, self.reading.left)
        else:
            sample = sample_of_row(row, frames, self.manifest.encoding, self.reading.left)
        return framed(self.reading.framing, sample)

    def _count(self, length: int) -> int:
        return self.reading.count(f"a video of {self.folder}", length)


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
        choice = ClipChoice(frames, stride, clips) if frames is not None else None
        drop_short = asked.pop(SHORT, "error") == "drop"
    left: list[str] = []
    for key, value in asked.items():
        if key in FRAMING_OPTIONS and (found.framing is None or _still_open(manifest, key)):
            continue
        has = (found.framing if key in FRAMING_OPTIONS else found.options) or {}
        if key in LEFT_WITHOUT and not value and has[key]:
            left += LEFT_WITHOUT[key]
        elif plain(value) != has[key]:
            raise DataError(
                f"split {split!r} of {folder} was prepared with {key} {has[key]!r}, not {value!r}; "
                "ask for that, or prepare it again"
            )
    framing = _framing(manifest, found, defaults, asked)
    return Reading(choice, framing, tuple(left), drop_short)


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
    wanted = {key: asked.get(key, defaults[key]) for key in FRAMING_OPTIONS}
    if split.framing is None:
        return Framing(**wanted)
    if not manifest.videos:
        return UNFRAMED
    relabel = asked.get("relabel", split.framing["relabel"])
    return Framing(fit="file", relabel=relabel)


def framed(framing: Framing, sample: Sample) -> Sample:
    return sample if framing == UNFRAMED else framing(sample)


def plain(value: Any) -> Any:
    """As JSON keeps it."""
    return str(value) if isinstance(value, Path) else value


def _rows(folder: Path, split: str, found: Split) -> Dataset:
    from datasets import load_dataset

    files = []
    for shard in found.shards:
        path = folder / shard.file
        if not shard.rows:
            continue
        if not path.is_file():
            raise DataError(
                f"{folder} lacks {shard.file}, one of the {len(found.shards)} files of split "
                f"{split!r}"
            )
        if path.stat().st_size != shard.bytes:
            raise DataError(
                f"{path} has {path.stat().st_size:,} bytes; expected {shard.bytes:,}: it is "
                "damaged or cut off"
            )
        files.append(str(path))
    part = hub_split(split)
    return load_dataset("parquet", data_files={part: files}, split=part)


def _lengths(rows: Dataset) -> np.ndarray:
    """int64 [N]: number of frames of each row."""
    chunks = rows.data.column("video").chunks
    return np.concatenate([chunk.value_lengths().to_numpy() for chunk in chunks]).astype(np.int64)


class _ArrowRow(Mapping[str, Any]):
    """A row whose pieces are fetched one by one when they are asked for."""

    def __init__(self, table: Any, names: frozenset[str]) -> None:
        self._table, self._names = table, names

    def __getitem__(self, name: str) -> Any:
        found = self._table.column(name)[0]
        if not found.is_valid:
            return None
        return _Pieces(found.values) if hasattr(found, "values") else found.as_py()

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class _Pieces(Sequence[Any]):
    def __init__(self, values: Any) -> None:
        self._values = values.field("bytes") if hasattr(values, "field") else values

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, place: Any) -> Any:
        return self._values[place].as_py()
