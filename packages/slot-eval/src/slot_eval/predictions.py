"""Label files: predictions to score, and the truth they are scored against.

Two forms, for either side:

* ``.npz`` with ``ids`` (N unicode strings) and ``labels`` (integers [N T H W], or [N H W] for
  pictures); the truth may add ``overlap`` (bool, shaped as ``labels``), true where several
  annotated objects lie on top of one another. Never unpickled.
* a folder of label PNGs, grey or palette, 8 or 16 bit, one picture each: ``<id>.png``, where the
  id may hold slashes (folders). Needs Pillow. Separate files do not say which of them are frames
  of one clip; with ``clips`` each folder is one, ``<id>/*.png``, its PNGs in the order of their
  names (2 before 10).
"""

import re
import struct
import zlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Integer
from torch import Tensor

from slot_eval.errors import EvalError, shown
from slot_eval.npz_files import read_npz

# "1": one bit per pixel; "I": how Pillow before 11.3 opens some 16-bit files
LABEL_MODES = {"1", "L", "P", "I;16", "I;16B", "I"}
# Pillow reads many more formats, one of them by running a program.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
MOST_PIXELS = 89_478_485  # of a picture: 256 MiB in colour
# Pillow's ways to say "broken file".
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)
T = TypeVar("T", covariant=True)


class Predictions(ABC, Generic[T]):
    """Tensors by sample id; ``source`` is the path that messages name."""

    source: str
    ids: tuple[str, ...]

    @abstractmethod
    def load(self, name: str) -> T:
        """Those of one sample."""

    @abstractmethod
    def sample(self, name: str) -> dict[str, Any]:
        """One sample as a data set would give it."""


class Labels(Predictions[Integer[Tensor, "time height width"]]):
    """Labels by sample id."""

    def sample(self, name: str) -> dict[str, Any]:
        """One sample as a data set would give it."""
        return {"id": name, "labels": self.load(name), "overlap": self.overlap(name)}

    def overlap(self, name: str) -> Bool[Tensor, "time height width"] | None:
        """Where annotated objects overlap; None where the source does not say."""
        return None


def open_labels(path: str | Path, *, clips: bool = False) -> Labels:
    """Open an ``.npz`` file or a folder of label PNGs; raises EvalError on anything else.

    ``clips`` takes each folder of PNGs as one clip; an ``.npz`` says by itself what it holds.
    """
    path = Path(path)
    if path.is_dir():
        return PngLabels(path, clips=clips)
    if not path.exists():
        raise EvalError(f"{path}: there is no such file or folder")
    if path.suffix != ".npz":
        raise EvalError(f"{path}: expected an .npz file or a folder of label PNGs")
    return NpzLabels(path)


def save_labels(
    path: str | Path, ids: Sequence[str], labels: Integer[Tensor, "samples time height width"]
) -> None:
    """Write an ``.npz`` that ``open_labels`` reads, in the smallest integer type that fits."""
    array = labels.cpu().numpy()
    array = array.astype(np.min_scalar_type(int(array.max(initial=0))))
    path = Path(path)
    partial = path.with_name(f"{path.name}.partial")  # a full disk leaves no half file
    try:
        with partial.open("wb") as file:
            np.savez_compressed(file, ids=np.array(ids, dtype=np.str_), labels=array)
        partial.replace(path)
    except OSError as error:
        raise EvalError(f"{path}: cannot be written: {error.strerror or error}") from error


class NpzLabels(Labels):
    """The labels in an ``.npz`` file, read whole and checked when opened."""

    def __init__(self, path: Path) -> None:
        self.source = str(path)
        arrays = read_npz(path)
        unknown = sorted(set(arrays) - {"ids", "labels", "overlap"})
        missing = sorted({"ids", "labels"} - set(arrays))
        if unknown or missing:
            raise EvalError(
                f"{path}: expected the arrays ids and labels (and overlap), "
                + (f"{missing[0]} is missing" if missing else f"found {unknown[0]}")
            )
        self.ids = checked_ids(arrays["ids"], self.source)
        self._labels = checked_labels(arrays["labels"], self.ids, self.source)
        self._overlap = arrays.get("overlap")
        if self._overlap is not None:
            if self._overlap.dtype != np.bool_ or self._overlap.shape != arrays["labels"].shape:
                raise EvalError(f"{path}: overlap must be bool and shaped as labels")
            self._overlap = self._overlap.reshape(self._labels.shape)
        self._position = {name: i for i, name in enumerate(self.ids)}

    def load(self, name: str) -> Integer[Tensor, "time height width"]:
        """The labels of one sample."""
        return torch.from_numpy(self._labels[self._position[name]])

    def overlap(self, name: str) -> Bool[Tensor, "time height width"] | None:
        """Where annotated objects overlap, if the file says so."""
        if self._overlap is None:
            return None
        return torch.from_numpy(self._overlap[self._position[name]])


class PngLabels(Labels):
    """The label PNGs under a folder, as pictures or as clips; read when they are asked for."""

    def __init__(self, folder: Path, *, clips: bool = False) -> None:
        self.source = str(folder)
        self._open = pillow_open(self.source, "label PNGs")
        self._paths = files_by_id(folder, [".png"], "label PNGs", clips=clips)
        self.ids = tuple(sorted(self._paths))

    def load(self, name: str) -> Integer[Tensor, "time height width"]:
        """The labels of one clip, or of one picture as a clip of one frame."""
        paths = self._paths[name]
        return torch.from_numpy(torch_integers(stacked_frames(paths, map(self._read, paths))))

    def _read(self, path: Path) -> np.ndarray:
        try:
            with self._open(path) as image:
                mode, array = image.mode, np.array(image)
        except UNREADABLE as error:
            raise EvalError(f"{path}: cannot be read as a PNG: {error}") from error
        if mode not in LABEL_MODES:
            raise EvalError(f"{path}: a label PNG is grey or palette, this one has mode {mode}")
        return array


def files_by_id(
    folder: Path, suffixes: Sequence[str], what: str, *, clips: bool
) -> dict[str, list[Path]]:
    """The files under a folder that belong to each sample: one, or with ``clips`` its frames."""
    found: dict[str, list[Path]] = {}
    files = (path for path in folder.rglob("*") if path.suffix.lower() in suffixes)
    for path in sorted(files, key=natural):
        inside = path.relative_to(folder)
        if clips and inside.parent == Path():
            raise EvalError(f"{path}: lies in no folder; a clip is a folder of {what}")
        name = (inside.parent if clips else inside.with_suffix("")).as_posix()
        found.setdefault(name, []).append(path)
        if not clips and len(found[name]) > 1:
            raise EvalError(
                f"{path}: {found[name][0].name} lies beside it, so {name!r} is there twice"
            )
    if not found:
        raise EvalError(f"{folder}: holds no {' or '.join(suffixes)} file")
    return found


def stacked_frames(paths: Sequence[Path], frames: Iterable[np.ndarray]) -> np.ndarray:
    """The frames of a clip as one array; raises EvalError if their sizes differ."""
    arrays = list(frames)
    (height, width), first = arrays[0].shape[:2], paths[0].name
    for path, frame in zip(paths, arrays, strict=True):
        if frame.shape != arrays[0].shape:
            raise EvalError(
                f"{path}: is {frame.shape[0]}x{frame.shape[1]}, but {first} of the same clip is "
                f"{height}x{width}"
            )
    return np.stack(arrays)


def natural(path: Path) -> list[str | int]:
    """A key that sorts paths as people number them: 2 before 10."""
    return [int(part) if part.isdecimal() else part for part in re.split("([0-9]+)", str(path))]


def check_same_ids(predictions: Predictions[Any], truth: Predictions[Any]) -> None:
    """Raise EvalError unless both hold the same samples."""
    predicted, true = set(predictions.ids), set(truth.ids)
    if missing := sorted(true - predicted):
        raise EvalError(f"{predictions.source}: lacks {listed(missing)} of {truth.source}")
    if unknown := sorted(predicted - true):
        raise EvalError(f"{predictions.source}: has {listed(unknown)}, unknown to {truth.source}")


def listed(ids: Sequence[str]) -> str:
    """``sample 'a'`` or ``3 samples ('a', 'b', ...)``."""
    if len(ids) == 1:
        return f"sample {shown(ids[0])}"
    first = ", ".join(shown(name) for name in ids[:2])
    return f"{len(ids)} samples ({first}{', ...' if len(ids) > 2 else ''})"


def checked_ids(ids: np.ndarray, source: str) -> tuple[str, ...]:
    """The ids as strings; raises EvalError unless they are distinct unicode strings."""
    if ids.ndim != 1 or ids.dtype.kind != "U":
        raise EvalError(
            f"{source}: ids must be a list of unicode strings, not {ids.dtype} of shape {ids.shape}"
        )
    try:
        names: list[str] = ids.tolist()
        "".join(names).encode()
    except ValueError as error:
        raise EvalError(f"{source}: an id holds what is no letter of Unicode") from error
    if len(set(names)) != len(names):
        twice = Counter(names).most_common(1)[0][0]
        raise EvalError(f"{source}: the id {shown(twice)} occurs more than once")
    return tuple(names)


def checked_labels(labels: np.ndarray, ids: Sequence[str], source: str) -> np.ndarray:
    """The labels as [N T H W] in a type of torch's; raises EvalError on any other content."""
    if labels.dtype.kind not in "iu":
        raise EvalError(f"{source}: labels must be integers, not {labels.dtype}")
    if labels.ndim not in (3, 4) or len(labels) != len(ids):
        raise EvalError(
            f"{source}: labels must be [N T H W] or [N H W] with N = {len(ids)}, "
            f"not {list(labels.shape)}"
        )
    if 0 in labels.shape[1:]:
        raise EvalError(f"{source}: labels of shape {list(labels.shape)} have no pixels")
    if labels.size and labels.max() > np.iinfo(np.int64).max:
        raise EvalError(f"{source}: labels go up to {labels.max()}, more than 64 bits with a sign")
    if labels.size and labels.min() < 0:
        name = next(name for name, sample in zip(ids, labels, strict=True) if sample.min() < 0)
        raise EvalError(f"{source}: the labels of {shown(name)} are negative somewhere")
    return torch_integers(labels if labels.ndim == 4 else labels[:, None])


def torch_integers(array: np.ndarray) -> np.ndarray:
    """The array in an integer type that torch computes with and that holds all its values."""
    if array.dtype == np.uint8:
        return array
    wide = array.dtype.itemsize >= 4 and array.max(initial=0) > np.iinfo(np.int32).max
    return array.astype(np.int64 if wide else np.int32)


def pillow_open(source: str, what: str) -> Any:
    """Pillow's ``Image.open`` of formats that need no other program, with ValueError for pictures
    of more than ``MOST_PIXELS``; raises EvalError that names the package where it is missing."""
    try:
        from PIL import Image
    except ImportError as error:
        raise EvalError(f"{source}: {what} need Pillow: pip install 'slot-eval[png]'") from error

    def opened(path: Path) -> Any:
        try:
            image = Image.open(path, formats=FORMATS)
        except Image.DecompressionBombError as error:
            raise ValueError(str(error)) from error
        if image.width * image.height > MOST_PIXELS:
            raise ValueError(f"it has {image.width}x{image.height} pixels, too many for a picture")
        return image

    return opened
