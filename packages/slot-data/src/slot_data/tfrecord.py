"""Records of an uncompressed TFRecord file, without TensorFlow.

A record is its length (8 bytes, little-endian), a checksum of the length (4), its bytes, and a
checksum of these (4). The checksum is CRC-32C (Castagnoli), turned by 15 bits and offset by a
constant. The lengths lead from record to record, so a file is looked through without being read,
and a record is read by mapping it: what is not looked at is never fetched.

The checksum of a length is always verified; that of a whole record only by `verify`, since it
needs all of it: a MOVi record is mostly flow and depth, and the pictures, which are all that is
usually wanted, carry checksums of their own.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from slot_data.sample import DataError

HEADER = struct.Struct("<QI")
FOOTER = struct.Struct("<I")
GZIP = b"\x1f\x8b"
POLYNOMIAL = 0x82F63B78  # Castagnoli's, its bits reversed
WORD = 4  # bytes that are added at once
LANES = 2048  # parts of a long text whose checksums are computed side by side


@dataclass(frozen=True)
class Record:
    """Where a record lies: its bytes are [start, stop) of the file, and it is the `number`th."""

    path: Path
    number: int
    start: int
    stop: int

    def __str__(self) -> str:
        return f"record {self.number} of {self.path}"

    @contextmanager
    def mapped(self) -> Iterator[mmap.mmap]:
        """The whole file; only what is indexed in it is read. Raises DataError if it has become
        shorter."""
        with _mapped(self.path) as content:
            if len(content) < self.stop:
                raise DataError(f"{self} is gone: the file has been cut off since it was opened")
            yield content

    def verify(self) -> None:
        """Raises DataError if the record's bytes do not have its checksum."""
        with self.mapped() as content:
            (told,) = FOOTER.unpack_from(content, self.stop)
            if masked_crc32c(content[self.start : self.stop]) != told:
                raise DataError(f"{self} is damaged: its checksum does not fit its bytes")


def records_of(path: Path) -> list[Record]:
    """All records of a file, in their order. Raises DataError if it is no TFRecord file, is
    compressed, or is cut off."""
    records: list[Record] = []
    with _mapped(path) as content:
        place = 0
        while place < len(content):
            start = place + HEADER.size
            if start > len(content):
                raise DataError(f"{path} is cut off within record {len(records)}")
            length, checksum = HEADER.unpack_from(content, place)
            if masked_crc32c(content[place : place + 8]) != checksum:
                raise DataError(f"{path} is {_fault(content, place)}")
            stop = start + length
            place = stop + FOOTER.size
            if place > len(content):
                raise DataError(f"{path} is cut off within record {len(records)}")
            records.append(Record(path, len(records), start, stop))
    return records


def _fault(content: mmap.mmap, place: int) -> str:
    """What a file is whose length at `place` does not fit its checksum."""
    if place:
        return f"damaged at byte {place}: the length of a record does not fit its checksum"
    if content[:2] == GZIP:
        return "compressed by GZIP; expected an uncompressed TFRecord file"
    return "no TFRecord file: its first length does not fit its checksum"


@contextmanager
def _mapped(path: Path) -> Iterator[mmap.mmap]:
    try:
        with path.open("rb") as file:
            if not path.stat().st_size:
                raise DataError(f"{path} is empty; expected a TFRecord file")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                yield content
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


def masked_crc32c(content: bytes) -> int:
    """The checksum as it stands in the file."""
    checksum = crc32c(content)
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF


def crc32c(content: bytes) -> int:
    """CRC-32C of `content`.

    The state of a checksum is a vector of 32 bits, and to read on by one byte is to add that byte
    and multiply with a matrix. So a long text is divided into parts of one length whose states are
    computed side by side; then the states of neighbours are joined, and joined again: the left
    one's, advanced by the right one's length, plus the right one's. Zeros before the text, which
    make the length fit, do not change the sum.
    """
    if len(content) < LANES:
        state = 0xFFFFFFFF
        for byte in content:
            state = _shifted(state ^ byte)
        return state ^ 0xFFFFFFFF
    steps = -(-len(content) // (WORD * LANES))
    padded = np.zeros(WORD * LANES * steps, np.uint8)
    text = padded[len(padded) - len(content) :]
    text[:] = np.frombuffer(content, np.uint8)
    text[:WORD] ^= 255  # the same as a first state of 32 ones
    low, high = _word_tables()
    states = np.zeros(LANES, np.uint32)
    for words in np.ascontiguousarray(padded.view("<u4").reshape(LANES, steps).T):
        states ^= words
        states = low[states & 0xFFFF] ^ high[states >> 16]
    advance = _advance_by(WORD * steps)
    while len(states) > 1:
        states = _times(advance, states[0::2]) ^ states[1::2]
        advance = _times(advance, advance)
    return int(states[0]) ^ 0xFFFFFFFF


def _shifted(state: int) -> int:
    """The state one byte later, if that byte is 0."""
    for _ in range(8):
        state = state >> 1 ^ (POLYNOMIAL if state & 1 else 0)
    return state


def _times(matrix: np.ndarray, states: np.ndarray) -> np.ndarray:
    """uint32 of the shape of `states`: each as 32 bits, lowest first, multiplied with the matrix,
    uint32 [32], whose columns are written likewise."""
    product = np.zeros_like(states)
    for place, column in enumerate(matrix):
        product ^= np.where(states >> np.uint32(place) & 1, column, np.uint32(0))
    return product


def _advance_by(length: int) -> np.ndarray:
    """The matrix that leads over `length` zero bytes."""
    power = np.array([_shifted(1 << place) for place in range(32)], np.uint32)
    product = np.array([1 << place for place in range(32)], np.uint32)
    while length:
        if length & 1:
            product = _times(power, product)
        power = _times(power, power)
        length >>= 1
    return product


@cache
def _word_tables() -> tuple[np.ndarray, np.ndarray]:
    """What the low and the high half of a state become over one word."""
    halves = np.arange(2**16, dtype=np.uint32)
    advance = _advance_by(WORD)
    return _times(advance, halves), _times(advance, halves << 16)
