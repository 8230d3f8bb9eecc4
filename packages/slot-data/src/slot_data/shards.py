"""The Parquet files of a prepared folder, each written under another name until it is whole, and
then noted, so that a run that is killed loses nothing but the file it was at.

    data/<split>-<number>.parquet
    index/<split>-<number>.npz          where in it each picture lies, see `piece_index`
    .prepare/<split>-<number>.json      the note, a `Shard`; gone when the folder is complete
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slot_data.json_files import read_json
from slot_data.manifest import Shard, file_hash, shard_of, write_whole
from slot_data.piece_index import PLAIN, index_of
from slot_data.sample import DataError
from slot_data.source_rows import Reading
from slot_data.stored_rows import PIXELS, Row, digest

if TYPE_CHECKING:
    from datasets import Features

STATE = ".prepare"
ROWS_IN_GROUP = 100  # of Parquet: what is read at once; `datasets` takes as many for pictures


class ShardWriter:
    """Takes the readings of one split in their order and writes a file whenever `limit` bytes of
    pixels have come together. What earlier runs have written and noted is taken over."""

    def __init__(self, folder: Path, split: str, features: Features, limit: int) -> None:
        self._folder, self._split, self._features, self._limit = folder, split, features, limit
        self.shards = _noted(folder, split)
        self._start()

    @property
    def next(self) -> int:
        """The first picture or video of the dataset that is in no file yet."""
        return self.shards[-1].stop if self.shards else 0

    def add(self, reading: Reading) -> None:
        self._stop += 1
        if reading.row is None:
            self._left_out.append((reading.name, reading.fault))
            return
        self._rows.append(reading.row)
        self._bytes += reading.bytes
        if reading.objects is not None:
            self._objects[reading.objects] += 1
        if self._bytes >= self._limit:
            self.close()

    def close(self) -> None:
        """Writes what has come together. Raises DataError where it cannot be written."""
        if self._stop == self.next:
            return
        name = f"{self._split}-{len(self.shards):05d}"
        file = f"data/{name}.parquet" if self._rows else ""
        index = f"index/{name}.npz" if self._rows else ""
        size, checksum, index_checksum = 0, "", ""
        with writing_to(self._folder):
            if self._rows:
                size, checksum = _write(self._folder / file, self._rows, self._features)
                places = index_of(self._folder / file, self._rows)
                write_whole(self._folder / index, places)
                index_checksum = hashlib.sha256(places).hexdigest()
            shard = Shard(
                file=file,
                index=index,
                first=self.next,
                stop=self._stop,
                rows=len(self._rows),
                frames=sum(len(row["video"]) for row in self._rows),
                bytes=size,
                sha256=checksum,
                index_sha256=index_checksum,
                content=digest(self._rows),
                objects=dict(sorted(self._objects.items())),
                left_out=self._left_out,
            )
            note = self._folder / STATE / f"{name}.json"
            write_whole(note, json.dumps(asdict(shard)).encode())
        self.shards.append(shard)
        self._start()

    def _start(self) -> None:
        self._stop, self._bytes = self.next, 0
        self._rows: list[Row] = []
        self._objects: Counter[int] = Counter()
        self._left_out: list[tuple[str, str]] = []


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """What goes wrong with the disk meanwhile becomes a DataError."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{folder} cannot be written: {error.strerror}; what is finished stays, and the same "
            "command goes on from there"
        ) from error


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of a file, their pictures as bytes."""
    import pyarrow.parquet as pq

    for batch in pq.ParquetFile(path).iter_batches(batch_size=1):
        yield from batch.to_pylist()


def _noted(folder: Path, split: str) -> list[Shard]:
    shards: list[Shard] = []
    for path in sorted((folder / STATE).glob(f"{split}-*.json")):
        try:
            shard = shard_of(read_json(path))
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path} is damaged: {error}; delete it, and it is made again"
            ) from error
        file, index = folder / shard.file, folder / shard.index
        whole = file.is_file() and file.stat().st_size == shard.bytes and index.is_file()
        if shard.rows and not whole:
            break  # somebody deleted it: everything from here on is written again
        shards.append(shard)
    return shards


def _write(path: Path, rows: list[Row], features: Features) -> tuple[int, str]:
    """Its size and sha256. The columns are those of `datasets`, which itself would compress some of
    them, others in every version."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from datasets import Image, List

    columns: dict[str, list[Any]] = {}
    for name, kind in features.items():
        values = [row.get(name) for row in rows]
        if name in PIXELS and isinstance(kind, List) and isinstance(kind.feature, Image):
            values = [_images(pieces) for pieces in values]
        columns[name] = values
    table = pa.Table.from_pydict(columns, schema=features.arrow_schema)
    part = path.with_name(f"{path.name}.part")
    with part.open("wb") as file:
        pq.write_table(table, file, row_group_size=ROWS_IN_GROUP, **PLAIN)
        file.flush()
        os.fsync(file.fileno())
    size, checksum = part.stat().st_size, file_hash(part)
    part.replace(path)
    return size, checksum


def _images(pieces: list[bytes] | None) -> list[dict[str, Any]] | None:
    return None if pieces is None else [{"bytes": piece, "path": None} for piece in pieces]
