"""Arrays of an ``.npz`` file, whoever wrote it: never unpickled, and no memory for mere claims.

An ``.npz`` is a zip of ``.npy`` files. Both state sizes, in the zip's directory and in the head of
each array, and numpy takes memory as they say. Here they are first held against each other and
against what so many compressed bytes can hold at most, so a file of a few bytes costs a few bytes.
"""

from __future__ import annotations

import math
import zipfile
from pathlib import Path

import numpy as np

from slot_eval.errors import EvalError, first_line, shown

MOST_BYTES = 2**34  # of all arrays of a file together
DEFLATE_RATIO = 1032  # bytes that one compressed byte can stand for (zlib.net, "Technical details")
LAST_LETTER = 0x10FFFF  # of Unicode; numpy makes texts of anything
HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Every array of the file by its name.

    Raises:
        EvalError: when it is missing, damaged or no .npz, holds pickles, or claims to hold more
            than it can or than ``MOST_BYTES``.
    """
    if not path.is_file():
        raise EvalError(f"{path}: there is no such file")
    try:
        if not zipfile.is_zipfile(path):
            raise EvalError(f"{path}: is no .npz file, or only the first part of one")
        with zipfile.ZipFile(path) as archive:
            _check_sizes(archive, path)
            return {
                member.filename.removesuffix(".npy"): _read_array(archive, member, path)
                for member in archive.infolist()
            }
    except EvalError:
        raise
    except Exception as error:  # damage comes up as anything from zipfile's to tokenize's errors
        raise EvalError(f"{path}: cannot be read as an .npz file ({first_line(error)})") from error


def _check_sizes(archive: zipfile.ZipFile, path: Path) -> None:
    members = archive.infolist()
    names = [member.filename for member in members]
    for member in members:
        name = shown(member.filename)
        if not member.filename.endswith(".npy"):
            raise EvalError(f"{path}: holds {name}, which is no array")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise EvalError(f"{path}: {name} is compressed in a way that numpy does not write")
        ratio = 1 if member.compress_type == zipfile.ZIP_STORED else DEFLATE_RATIO
        if member.file_size > ratio * member.compress_size:
            raise EvalError(
                f"{path}: {name} claims {member.file_size:,} bytes, more than its "
                f"{member.compress_size:,} can hold"
            )
    if len(set(names)) < len(names):
        raise EvalError(f"{path}: holds two arrays of one name")
    total = sum(member.file_size for member in members)
    if total > MOST_BYTES:
        raise EvalError(f"{path}: holds {total:,} bytes of arrays, expected at most {MOST_BYTES:,}")


def _read_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> np.ndarray:
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        if version not in HEADERS:
            raise ValueError(f"an array in version {version} of its format")
        shape, _, dtype = HEADERS[version](file)
        if dtype.hasobject:
            raise EvalError(
                f"{path}: holds pickled data, which is never loaded; store plain arrays"
            )
        claimed, left = math.prod(shape) * dtype.itemsize, member.file_size - file.tell()
        # Texts of no letters would take no bytes, however many they are.
        if not dtype.itemsize or min(shape, default=0) < 0 or claimed != left:
            raise ValueError(f"{shown(member.filename)} does not have the size that it states")
    with archive.open(member) as file:
        array = np.lib.format.read_array(file, allow_pickle=False)
    if dtype.kind == "U":
        letters = array.astype(dtype.newbyteorder("="), order="C").reshape(-1).view(np.uint32)
        if letters.max(initial=0) > LAST_LETTER:
            raise ValueError(f"{shown(member.filename)} holds what is no letter of Unicode")
    return array
