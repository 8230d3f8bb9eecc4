"""Inputs for the parsers of ours, as hypothesis draws and shrinks them: valid files with a few
changes, files whose parts fit but state odd sizes, and plain bytes.

Some changes are made before checksums are taken, so that parsers look at them, and some after.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import struct
import warnings
import zipfile
import zlib
from collections.abc import Sequence
from functools import lru_cache
from random import Random

import numpy as np
from hypothesis import strategies as st

from slot_data.tfrecord import GZIP, HEADER, masked_crc32c

SIZES = (0, 1, 2, 127, 128, 255, 256, 2**15, 2**16, 2**20, 2**31 - 1, 2**31, 2**32, 2**40, 2**62,
         2**63 - 1, 2**63, 2**64 - 1)  # fmt: skip
ODD_WORDS = (
    "!!python/object/apply:os.system [touch x]", "!!int x", "!!float x", "!!binary =", "!!set {a}",
    "&a", "*a", "<<: *a", "<<: {a: 1}", "{? [a] : b}", "[" * 40, "{a: " * 40, "]", "}", "- ", "? ",
    ": ", "\n", "  ", "\t", "\0", "\ud7ff", "\x1b[31m", "'", '"', '"\\ud800"', '"\\U00110000"',
    '"a\\nb"', ".inf", ".nan", "nan", "1e999", "-1e999", "9" * 4400, "0b_", "0x_", "190:20:30",
    "2001-99-99", "1e-3", "1_000", "null", "~", "true", "on", "=", "%YAML 9.9", "---", "...", "#",
    "model:", "preset:", "data:", "type:", "train.num_steps", "1000000000", "-1", "0", "{}", "[]",
    "{1: 2}", "a: 1, a: 2",
)  # fmt: skip


def edit(
    content: bytes, random: Random, words: Sequence[bytes] = (b"\0" * 8, b"\xff" * 9)
) -> bytes:
    """The bytes with one to three changes anywhere in them."""
    found = bytearray(content)
    for _ in range(random.randint(1, 3)):
        place = random.randint(0, len(found))
        kind = random.choice(("byte", "bytes", "word", "cut", "drop", "double", "size"))
        if kind == "byte" and found:
            found[place - 1] = random.getrandbits(8)
        elif kind == "bytes":
            found[place:place] = random.randbytes(random.randint(1, 12))
        elif kind == "word":
            found[place:place] = random.choice(words)
        elif kind == "cut":
            del found[place:]
        elif kind == "drop":
            del found[place : place + random.randint(1, 40)]
        elif kind == "double":
            found[place:place] = found[place : place + random.randint(1, 200)]
        elif kind == "size":
            width = random.choice((1, 2, 4, 8))
            found[place : place + width] = struct.pack("<Q", random.choice(SIZES))[:width]
    return bytes(found)


def edited(valid: Sequence[bytes], words: Sequence[bytes] = (b"\0" * 8, b"\xff" * 9)):
    """One of some valid inputs with a few changes."""
    seeds = st.integers(0, 2**32 - 1).map(Random)
    return st.builds(edit, st.sampled_from(list(valid)), seeds, st.just(words))


def edit_record(content: bytes, random: Random) -> bytes:
    """A TFRecord file in which one record is changed and its checksums fit again."""
    plain, records, place = content, list[bytes](), 0
    with contextlib.suppress(OSError, EOFError, zlib.error):
        plain = gzip.decompress(content) if content[:2] == GZIP else content
    while place + HEADER.size <= len(plain):
        length = HEADER.unpack_from(plain, place)[0]
        start = place + HEADER.size
        records.append(plain[start : start + length])
        place = start + length + 4
    if records:
        number = random.randrange(len(records))
        records[number] = edit(records[number], random)
    made = b"".join(map(sealed, records))
    return gzip.compress(made, 1) if content[:2] == GZIP else made


def sealed(record: bytes, length: int | None = None) -> bytes:
    """A record as it stands in a file, which may state another length."""
    head = struct.pack("<Q", len(record) if length is None else length)
    return head + _checksum(head) + record + _checksum(record)


@lru_cache(4096)
def _checksum(content: bytes) -> bytes:
    return struct.pack("<I", masked_crc32c(content))


def edit_member(content: bytes, random: Random) -> bytes:
    """An .npz file in which one array's file is changed, and its checksum fits again."""
    made = io.BytesIO()
    with contextlib.suppress(Exception):  # zipfile's of damaged files
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        name = random.choice(sorted(members))
        members[name] = edit(members[name], random)
        with zipfile.ZipFile(made, "w") as archive:
            for name, member in members.items():
                archive.writestr(name, member)
        return made.getvalue()
    return edit(content, random)


def _mostly(size: int):
    """The size, three times of four."""
    return st.integers(0, 3).flatmap(lambda n: st.sampled_from(SIZES) if n == 3 else st.just(size))


def varint(value: int) -> bytes:
    """As the wire format writes it."""
    text = b""
    while value > 127:
        text += bytes([value & 127 | 128])
        value >>= 7
    return text + bytes([value])


@st.composite
def _field(draw: st.DrawFn, content: bytes) -> bytes:
    """A field of the wire format whose kind, or whose length, may be wrong."""
    number, kind = draw(st.integers(0, 4)), draw(st.sampled_from((2, 2, 2, 0, 1, 3, 5, 7)))
    length = draw(_mostly(len(content)))
    return varint(number << 3 | kind) + varint(length) + content


def messages(keys: Sequence[str]):
    """Protocol buffers somewhat like a tf.train.Example."""
    leaves = st.binary(max_size=12) | st.sampled_from([key.encode() for key in keys])
    lists = st.lists(leaves.flatmap(_field), max_size=4).map(b"".join)
    for _ in range(4):
        lists = st.lists((leaves | lists).flatmap(_field), max_size=3).map(b"".join)
    return lists


@st.composite
def tfrecords(draw: st.DrawFn, valid: Sequence[bytes], keys: Sequence[str]) -> bytes:
    """A TFRecord file of a few records, often with right checksums, sometimes compressed."""
    content = b""
    for _ in range(draw(st.integers(0, 3))):
        record = draw(st.sampled_from(list(valid)) | edited(valid) | messages(keys))
        content += sealed(record, draw(_mostly(len(record))))
    return gzip.compress(content, 1) if draw(st.booleans()) else content


def array_file(descr: str, shape: str, content: bytes, version: tuple[int, int] = (1, 0)) -> bytes:
    """An .npy file whose head says so."""
    head = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode("latin1")
    length = struct.pack("<H" if version == (1, 0) else "<I", len(head) + 1)
    return b"\x93NUMPY" + bytes(version) + length + head + b"\n" + content


KINDS = (
    "'<U1'", "'<U3'", "'<U0'", "'<U400000000'", "'|O'", "'<i8'", "'|u1'", "'|b1'", "'<u8'", "'<f4'",
    "'|V0'", "'|V8'", "[('a', '<i4')]", "'<M8[s]'", "'x'", "1", "(", "'|S2'",
)  # fmt: skip
DIMS = (0, 1, 2, 3, 4, -1, 2**31, 2**32, 2**62, 2**64)
SHAPES = ("(2,)", "(2, 2, 2)", "()", "[2]", "2", "(True,)", "('a',)")


@st.composite
def _array(draw: st.DrawFn) -> bytes:
    sizes = st.lists(st.sampled_from(DIMS), max_size=5).map(lambda dims: str(tuple(dims)))
    if draw(st.booleans()):  # texts of any letters, also of those that there are not
        letters = st.lists(st.integers(0, 2**32 - 1) | st.integers(0, 0x110000), max_size=4)
        codes = np.array(draw(letters), np.uint32)
        return array_file("'<U1'", f"({len(codes)},)", codes.tobytes())
    version = draw(st.sampled_from(((1, 0), (1, 0), (2, 0), (3, 0), (9, 9))))
    shape = draw(sizes | st.sampled_from(SHAPES))
    return array_file(draw(st.sampled_from(KINDS)), shape, draw(st.binary(max_size=64)), version)


@st.composite
def archives(draw: st.DrawFn, valid: Sequence[bytes]) -> bytes:
    """An .npz file: arrays that fit, arrays that state odd things, and the sizes of both."""
    file, packing = io.BytesIO(), draw(st.sampled_from((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))
    names = st.sampled_from(("ids.npy", "labels.npy", "overlap.npy", "pictures.npy", "ids", "x"))
    usual = st.sampled_from((["ids.npy", "labels.npy"], ["ids.npy", "pictures.npy"]))
    any_array = st.sampled_from(list(valid)) | edited(valid) | _array()
    fitting = {"ids.npy": valid[0], "labels.npy": valid[1], "pictures.npy": valid[-1]}
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(file, "w", packing) as archive:
        for name in draw(usual | st.lists(names, max_size=3)):
            fits = draw(st.integers(0, 4)) and name in fitting
            archive.writestr(name, fitting[name] if fits else draw(any_array))
    return file.getvalue()


def saved(array: np.ndarray) -> bytes:
    """An .npy file."""
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def changes(valid: Sequence[str]):
    """What stands behind --set: mostly valid keys with odd values."""
    keys = [change.partition("=")[0] for change in valid]
    odd = st.sampled_from(ODD_WORDS) | st.text(max_size=12)
    key = st.sampled_from(keys) | st.lists(st.sampled_from(keys) | odd, max_size=3).map(".".join)
    values = st.lists(odd, max_size=3).map("".join)
    made = st.tuples(key, st.sampled_from(("=", "=", "=", "", "==")), values).map("".join)
    return st.sampled_from(list(valid)) | made
