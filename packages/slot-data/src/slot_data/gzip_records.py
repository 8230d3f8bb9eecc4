"""Records of a TFRecord file that is compressed as a whole by GZIP.

Such a file can only be read from its beginning on: there is no way to a record but through those
before it. Reading in order costs nothing beyond that. For the rest, the state of the decompression
is kept at some records, so that a jump leads to the last of these before its target and on from
there. It is a way to look at a file and to convert it, not to train from it in random order.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from slot_data.sample import DataError
from slot_data.tfrecord import FOOTER, GZIP, HEADER, masked_crc32c

CHUNK = 2**15  # compressed bytes that are read at once; a kept state holds as many
MOST_BYTES = 2**28  # of a record, which is read whole; those of CLEVR have 2 million


@dataclass
class _Place:
    """Before which record the decompression stands, its state, and which byte of the file comes
    next."""

    number: int
    inflater: Any
    byte: int

    def copy(self) -> _Place:
        return replace(self, inflater=self.inflater.copy())


class GzipRecords:
    """The records of one file by their numbers.

    spacing: a state is kept at every so many records, about 70 KB each.

    Raises DataError, as do its methods, if the file is missing, not compressed, damaged or cut off.
    """

    def __init__(self, path: Path, spacing: int = 1000) -> None:
        self.path, self._spacing = path, spacing
        try:
            with path.open("rb") as file:
                start = file.read(2)
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}") from error
        if start != GZIP:
            raise DataError(f"{path} is not compressed by GZIP; expected a .tfrecords file that is")
        self._forget()

    def _forget(self) -> None:
        self._here = _Place(0, _inflater(), 0)
        self._kept = {0: self._here.copy()}

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_spacing": self._spacing}  # what zlib knows cannot be sent

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def read(self, number: int) -> bytes:
        """The bytes of a record. Raises DataError if the file has fewer."""
        with self._reading(number) as file:
            while self._here.number < number and self._next(file, keep=False) is not None:
                pass
            record = self._next(file, keep=True) if self._here.number == number else None
        if record is None:
            raise DataError(
                f"{self.path} has {self._here.number} records; asked for record {number}, counted "
                "from 0"
            )
        return record

    def count(self) -> int:
        """How many records the file holds; it is read to its end for that."""
        with self._reading(max(self._kept)) as file:
            while self._next(file, keep=False) is not None:
                pass
        return self._here.number

    @contextmanager
    def _reading(self, number: int) -> Iterator[BinaryIO]:
        """The file, and the decompression where the way to the record is shortest."""
        nearest = max(kept for kept in self._kept if kept <= number)
        if not nearest <= self._here.number <= number:
            self._here = self._kept[nearest].copy()
        try:
            with self.path.open("rb") as file:
                yield file
        except OSError as error:
            raise DataError(f"{self.path} cannot be read: {error.strerror}") from error
        except DataError:
            self._here = self._kept[0].copy()  # it stands within a record
            raise

    def _next(self, file: BinaryIO, keep: bool) -> bytes | None:
        """Goes over one record and returns it, or b"" where it is not to be kept; None at the
        end."""
        here = self._here
        if here.number % self._spacing == 0 and here.number not in self._kept:
            self._kept[here.number] = here.copy()
        file.seek(here.byte)
        header = self._take(file, HEADER.size)
        if not header:
            return None
        if len(header) < HEADER.size:
            raise self._cut_off()
        length, checksum = HEADER.unpack(header)
        if masked_crc32c(header[:8]) != checksum:
            raise DataError(
                f"{self.path} is damaged at record {here.number}: its length does not fit its "
                "checksum"
            )
        if length > MOST_BYTES:
            raise DataError(
                f"record {here.number} of {self.path} claims {length:,} bytes; expected at most "
                f"{MOST_BYTES:,}"
            )
        record = self._take(file, length) if keep else b""
        left = length - len(record) + FOOTER.size
        while left:
            part = self._take(file, min(left, 2**20))
            if not part:
                raise self._cut_off()
            left -= len(part)
        here.number += 1
        return record

    def _take(self, file: BinaryIO, size: int) -> bytes:
        """So many decompressed bytes, fewer at the end of the file."""
        here, parts = self._here, []
        while size:
            if here.inflater.eof:
                rest = here.inflater.unused_data
                if not rest and not (rest := self._more(file)):
                    break
                here.inflater = _inflater()
                data = rest
            else:
                data = here.inflater.unconsumed_tail or self._more(file)
            try:
                part = here.inflater.decompress(data, size)
            except zlib.error as error:
                raise DataError(
                    f"{self.path} is damaged at record {here.number}: {error}"
                ) from error
            if not part and not data and not here.inflater.eof:
                raise self._cut_off()
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _more(self, file: BinaryIO) -> bytes:
        data = file.read(CHUNK)
        self._here.byte += len(data)
        return data

    def _cut_off(self) -> DataError:
        return DataError(f"{self.path} is cut off within record {self._here.number}")


def _inflater() -> Any:
    return zlib.decompressobj(16 + zlib.MAX_WBITS)
