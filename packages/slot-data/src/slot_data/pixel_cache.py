"""All pixels of a split in files that are mapped into memory, for small pictures that are to be
read faster than anything can be decoded: reading is copying.

    cache/<split>-<key>.npy     uint8 [F 3 H W] of `video`, [F H W] of `labels` and so on: the
                                frames of all rows, one after the other

It lies beside the Parquet files, which keep ids and everything else; a prepared folder without it
gives the same samples.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from slot_data.encodings import Encoding
from slot_data.sample import DataError, Sample
from slot_data.stored_rows import PIXELS, SCALARS, sample_of_row

FOLDER = "cache"


class PixelCache:
    """keys: those of samples to be read. lengths: int64 [N], the frames of each row.

    Raises DataError if a file is missing or has another number of frames.
    """

    def __init__(self, folder: Path, split: str, keys: Iterable[str], lengths: np.ndarray) -> None:
        self._paths = {key: cache_file(folder, split, key) for key in keys if key in PIXELS}
        self._starts = np.concatenate([[0], np.cumsum(lengths)])
        self._arrays = self._opened()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_arrays": None}  # each process maps the files itself

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._arrays = self._opened()

    def sample(
        self, row: Mapping[str, Any], number: int, frames: range, left: Sequence[str]
    ) -> Sample:
        """Those frames of row `number`; what is no pixel comes from the row itself."""
        first = int(self._starts[number])
        part = slice(first + frames.start, first + frames.stop, frames.step)
        sample: dict[str, Any] = {
            key: torch.from_numpy(np.array(array[part])) for key, array in self._arrays.items()
        }
        sample["id"] = row["clip_ids"][frames.start] if "clip_ids" in row else row["id"]
        for key in SCALARS:
            if key in row and key not in left and row[key] is not None:
                sample[key] = row[key]
        return cast(Sample, sample)

    def _opened(self) -> dict[str, np.ndarray]:
        arrays = {}
        for key, path in self._paths.items():
            try:
                arrays[key] = np.asarray(np.lib.format.open_memmap(path, mode="r"))
            except (OSError, ValueError, EOFError, TypeError, OverflowError) as error:
                raise DataError(f"cache {path} cannot be read: {error}") from error
            shape, kind = arrays[key].shape, arrays[key].dtype.kind
            if len(shape) < 3 or kind not in "buif":
                raise DataError(f"cache {path} cannot be read: it holds no pixels")
            if shape[0] != self._starts[-1]:
                raise DataError(
                    f"cache {path} holds {shape[0]} frames; expected {self._starts[-1]}"
                )
        return arrays


def cache_file(folder: Path, split: str, key: str) -> Path:
    return folder / FOLDER / f"{split}-{key}.npy"


def write_cache(
    folder: Path, split: str, rows: Iterable[Mapping[str, Any]], frames: int, encoding: Encoding
) -> list[Path]:
    """Decodes rows into the files of a split and returns these. frames: of all rows together.

    Raises DataError if rows differ in size.
    """
    arrays: dict[str, np.memmap[Any, Any]] = {}
    place = 0
    for row in rows:
        length = len(row["video"])
        sample = cast(dict[str, Any], sample_of_row(row, range(length), encoding))
        for key in PIXELS:
            if key not in sample:
                continue
            pixels = sample[key].numpy()
            if key not in arrays:
                arrays[key] = _created(folder, split, key, (frames, *pixels.shape[1:]), pixels)
            kind, kind_before = (f"{a.dtype} {list(a.shape[1:])}" for a in (pixels, arrays[key]))
            if kind != kind_before:
                raise DataError(
                    f"{key} of {sample['id']} are {kind}, but those before are {kind_before}; a "
                    "cache needs one size: give image_size"
                )
            arrays[key][place : place + length] = pixels
        place += length
    paths = []
    for key, array in arrays.items():
        array.flush()
        path = cache_file(folder, split, key)
        _part(path).replace(path)
        paths.append(path)
    return paths


def _created(
    folder: Path, split: str, key: str, shape: tuple[int, ...], pixels: np.ndarray
) -> np.memmap[Any, Any]:
    path = cache_file(folder, split, key)
    path.parent.mkdir(exist_ok=True)
    array = np.lib.format.open_memmap(_part(path), "w+", dtype=pixels.dtype, shape=shape)
    if hasattr(os, "posix_fallocate"):  # not on macOS
        with _part(path).open("r+b") as file:
            # A disk without room for it is an error here; later it would be the end of the process.
            os.posix_fallocate(file.fileno(), 0, _part(path).stat().st_size)
    return array


def _part(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")
