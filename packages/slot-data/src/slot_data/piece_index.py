"""Where every picture, mask and text of a Parquet file lies in it, so that one is read by mapping
the file into memory: without Parquet's decoder, which reads a hundred rows for one, and without
the copy of everything in another form that `datasets` makes for random access.

`PLAIN` has them written as they are and uncompressed (pictures are compressed already), which every
reader of Parquet understands. Beside each file is its index:

    index/<split>-<number>.npz
        rows      int64 [N, 4]: of each row its number of frames, height, width, and its outcome, 1
                  or 0, or -1 where it has none
        <column>  int64 [M, 2]: first byte and length; of each row for `id` and `scenario`, of each
                  frame for all others; length -1 where the row has no such entry
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from slot_data.sample import DataError

PLAIN = {"compression": "none", "use_dictionary": False, "column_encoding": "PLAIN"}
ROWS = "rows"
OF_ROWS = ("id", "scenario")  # one piece for each row and not for each frame
TEXTS = (*OF_ROWS, "clip_ids")
ABSENT = -1
OPEN_FILES = 128  # of a process; systems allow 256 or more
Row = Mapping[str, Any]


def index_of(parquet: Path, rows: Sequence[Row]) -> bytes:
    """The content of the index of a file that was written `PLAIN` from these rows."""
    import pyarrow.parquet as pq

    numbers = [[len(row["video"]), row["height"], row["width"], _outcome(row)] for row in rows]
    found: dict[str, Any] = {ROWS: np.array(numbers, dtype=np.int64)}
    described = pq.read_metadata(parquet)
    with parquet.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as whole:
        for column in range(described.num_columns):
            leaf = described.schema.column(column)
            if leaf.physical_type != "BYTE_ARRAY" or leaf.path.endswith(".path"):
                continue
            name = leaf.path.partition(".")[0]
            places, first = [], 0
            for group in map(described.row_group, range(described.num_row_groups)):
                chunk = group.column(column)
                start = chunk.data_page_offset
                stop = start + chunk.total_compressed_size
                part = rows[first : first + group.num_rows]
                places += _places(whole, start, stop, name, part)
                first += group.num_rows
            found[name] = np.array(places, dtype=np.int64).reshape(-1, 2)
    content = BytesIO()
    np.savez(content, **found)
    return content.getvalue()


class PieceFile:
    """The rows of one Parquet file that has an index. frames: int64 [N], of each row.

    Raises DataError if one of the two is missing or cannot be read.
    """

    def __init__(self, parquet: Path, index: Path) -> None:
        self._paths = parquet, index
        try:
            self._changed = parquet.stat().st_mtime_ns
            with np.load(index, allow_pickle=False) as content:
                if any(member.compress_type for member in content.zip.infolist()):
                    raise ValueError("it is compressed, and could be of any size")
                self._places = {name: content[name] for name in content.files}
            self._rows = self._places.pop(ROWS)
            self.frames = self._rows[:, 0]
        except OSError as error:
            raise DataError(f"{error.filename} cannot be read: {error.strerror}") from error
        except (
            Exception
        ) as error:  # damage comes up as anything from zipfile's to tokenize's errors
            raise DataError(f"{index} is damaged: {error}") from error
        if not self._fits():
            raise DataError(f"{index} is damaged: its columns do not fit each other")
        self._first = np.cumsum(self.frames) - self.frames

    def _fits(self) -> bool:
        columns = [self._rows, *self._places.values()]
        if any(column.dtype != np.int64 or column.ndim != 2 for column in columns):
            return False
        if self._rows.shape[1] != 4 or not {"id", "video"} <= self._places.keys():
            return False
        if len(self._rows) and not 1 <= self.frames.min() <= self.frames.max() < 2**31:
            return False
        frames = int(self.frames.sum())
        return all(
            places.shape == (len(self._rows) if name in OF_ROWS else frames, 2)
            for name, places in self._places.items()
        )

    def __reduce__(self) -> Any:
        return PieceFile, self._paths  # another process reads the index itself

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, number: int) -> Row:
        return _MappedRow(self, number)

    def names(self) -> list[str]:
        return [*self._places, "height", "width", "outcome"]

    def entry(self, number: int, name: str) -> Any:
        """None where the row has no such entry. Raises KeyError for an unknown name."""
        frames, height, width, outcome = self._rows[number].tolist()
        if name in ("height", "width"):
            return height if name == "height" else width
        if name == "outcome":
            return None if outcome == ABSENT else bool(outcome)
        first, count = (number, 1) if name in OF_ROWS else (int(self._first[number]), frames)
        places = self._places[name][first : first + count]
        if places[0, 1] == ABSENT:
            return None
        pieces = _Pieces(self._paths[0], self._changed, places, name in TEXTS)
        return pieces[0] if name in OF_ROWS else pieces


class _MappedRow(Row):
    """Its pieces are fetched one by one when they are asked for."""

    def __init__(self, file: PieceFile, number: int) -> None:
        self._file, self._number = file, number

    def __getitem__(self, name: str) -> Any:
        return self._file.entry(self._number, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._file.names())

    def __len__(self) -> int:
        return len(self._file.names())


class _Pieces(Sequence[Any]):
    def __init__(self, path: Path, changed: int, places: np.ndarray, text: bool) -> None:
        self._path, self._whole = path, _mapped(path, changed)
        self._places, self._text = places, text

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, frame: Any) -> Any:
        first, length = self._places[frame].tolist()
        if not (0 <= first <= first + length <= len(self._whole) and length >= 0):
            raise DataError(f"{self._path} does not fit its index, which names bytes beyond it")
        piece = self._whole[first : first + length]
        try:
            return piece.decode() if self._text else piece
        except UnicodeDecodeError as error:
            raise DataError(
                f"{self._path} does not fit its index: no text is at {first}"
            ) from error


@lru_cache(OPEN_FILES)
def _mapped(path: Path, changed: int) -> mmap.mmap:
    """changed: when; a file that was written anew is mapped anew."""
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def _outcome(row: Row) -> int:
    outcome = row.get("outcome")
    return ABSENT if outcome is None else int(outcome)


def _places(
    whole: mmap.mmap, start: int, stop: int, name: str, rows: Sequence[Row]
) -> Iterator[tuple[int, int]]:
    """Of the pieces of these rows between two places of the file, where they lie in their order,
    each after its length, with nothing but the heads of pages between them."""
    place = start
    for row in rows:
        value = row.get(name)
        if value is None:
            yield from [(0, ABSENT)] * (1 if name in OF_ROWS else len(row["video"]))
            continue
        for piece in [value] if name in OF_ROWS else value:
            content = piece.encode() if isinstance(piece, str) else piece
            found = whole.find(struct.pack("<I", len(content)) + content, place, stop)
            if found < 0:
                raise RuntimeError(f"{name} of {row['id']!r} is not in the file as it is")
            place = found + 4 + len(content)
            yield found + 4, len(content)
