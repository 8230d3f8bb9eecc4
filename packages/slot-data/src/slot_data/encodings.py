"""Frames and the maps over them as bytes, one piece per frame, as prepared folders keep them.

Pictures are kept as their files hold them, or written as PNG or WebP without loss, as JPEG, or as
bare pixels. Masks never lose anything: PNG of 8 or 16 bits (1 for true and false), or WebP, which
has 8 bits alone, with the low byte of a number in red, its high byte in green, and in blue which of
the three kinds it is. Depth and flow are bare floats. The same pixels always give the same bytes
under one version of Pillow.

WebP at its least effort takes a quarter of the time of PNG and is a fifth smaller.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from PIL import Image, features
from torch import Tensor

from slot_data.image_files import PictureBytes, PictureFile, read_mask, read_picture, size_of
from slot_data.sample import DataError

Pictures = Literal["keep", "webp", "png", "jpeg", "raw"]
Masks = Literal["png", "webp", "raw"]

WEBP_LIMIT = 16383  # pixels along a side
LARGEST_NUMBER = 65535
FLOATS = ("depth", "flow")
FLAGS = ("void", "overlap")
KINDS = (np.uint8, np.int32, np.bool_)  # of maps other than floats


@dataclass(frozen=True)
class Encoding:
    """How prepared pixels are written.

    pictures: "keep" copies a frame's file where the frame is what the file holds, and writes WebP
        without loss elsewhere (frames of videos, resized pictures); "webp" and "png" lose nothing
        either; "jpeg" does; "raw" are the pixels themselves, the fastest and largest.
    masks: "png", "webp" or "raw". None of them loses anything.
    quality: of JPEG, from 1 to 100.
    """

    pictures: Pictures = "keep"
    masks: Masks = "png"
    quality: int = 95

    def __post_init__(self) -> None:
        for name, kinds in (("pictures", Pictures), ("masks", Masks)):
            if getattr(self, name) not in get_args(kinds):
                known = ", ".join(get_args(kinds))
                raise DataError(f"{name} {getattr(self, name)!r} is not one of {known}")
        if not 1 <= self.quality <= 100:
            raise DataError(f"quality is {self.quality}, not from 1 to 100")
        if "webp" in (self.pictures, self.masks) and not features.check("webp"):
            raise DataError("this Pillow was built without WebP; choose png")

    def frames(
        self, video: Tensor, files: Sequence[tuple[PictureFile, np.ndarray]] = ()
    ) -> list[bytes]:
        """The pieces of uint8 [T 3 H W]. files: those that were read for it, and what they hold."""
        pixels = video.permute(0, 2, 3, 1).numpy()
        if self.pictures == "keep":
            pieces = [_contents(file) for file in _files_of(pixels, files)]
            return pieces or [_lossless(frame, "webp") for frame in pixels]
        if self.pictures == "raw":
            return [frame.tobytes() for frame in video.contiguous().numpy()]
        if self.pictures == "jpeg":
            settings = {"quality": self.quality, "subsampling": 0}
            return [_written(Image.fromarray(frame), "jpeg", settings) for frame in pixels]
        return [_lossless(frame, self.pictures) for frame in pixels]

    def maps(self, name: str, pixels: Tensor) -> list[bytes]:
        """The pieces of a map [T .. H W]. Raises DataError for numbers below 0 or above 65535."""
        array = pixels.numpy()
        if name in FLOATS:
            return [frame.astype("<f4").tobytes() for frame in array]
        if array.dtype not in KINDS:
            array = array.astype(np.int32)
        if array.size and not 0 <= array.min() <= array.max() <= LARGEST_NUMBER:
            raise DataError(
                f"{name} go from {array.min()} to {array.max()}; prepared folders keep 0 to "
                f"{LARGEST_NUMBER}"
            )
        if self.masks == "raw":
            array = array.astype("<u2") if array.dtype == np.int32 else array
            return [frame.tobytes() for frame in array]
        write = _png_mask if self.masks == "png" else _webp_mask
        return [write(frame) for frame in array]


def frames_of(pieces: Sequence[bytes], raw: bool, size: tuple[int, int], name: str) -> Tensor:
    """uint8 [T 3 H W]. size: height and width; name: of the sample, for errors."""
    if raw:
        return _bare(pieces, "u1", (3, *size), name)
    frames = [read_picture(PictureBytes(f"frame {t} of {name}", p)) for t, p in enumerate(pieces)]
    _require_size(frames, size, name)
    video = np.empty((len(frames), 3, *size), dtype=np.uint8)
    for place, frame in zip(video, frames, strict=True):
        place[:] = frame.transpose(2, 0, 1)
    return torch.from_numpy(video)


def map_of(
    key: str, pieces: Sequence[bytes], masks: Masks, size: tuple[int, int], name: str
) -> Tensor:
    """A map [T .. H W] as it went into `Encoding.maps`; int64 comes back as int32."""
    if key in FLOATS:
        return _bare(pieces, "<f4", (2, *size) if key == "flow" else size, name)
    if masks == "raw":
        wide = len(pieces[0]) == 2 * size[0] * size[1]
        found = _bare(pieces, "<u2" if wide else "u1", size, name)
        found = found.int() if wide else found
    else:
        read = read_mask if masks == "png" else _read_webp_mask
        files = [PictureBytes(f"{key} of {name}, frame {t}", p) for t, p in enumerate(pieces)]
        maps = [read(file) for file in files]
        _require_size(maps, size, name)
        found = torch.from_numpy(np.stack(maps))
    return found.bool() if key in FLAGS else found


def _files_of(
    pixels: np.ndarray, files: Sequence[tuple[PictureFile, np.ndarray]]
) -> list[PictureFile]:
    """The file of each frame, in order; none where one of them is not what its file holds."""
    found = []
    rest = iter(files)
    for frame in pixels:
        for file, content in rest:
            if content.shape == frame.shape and np.array_equal(content, frame):
                found.append(file)
                break
    return found if len(found) == len(pixels) else []


def _contents(file: PictureFile) -> bytes:
    return file.read_bytes() if isinstance(file, Path) else file.content


def _lossless(frame: np.ndarray, kind: Literal["webp", "png"]) -> bytes:
    if kind == "png" or max(frame.shape) > WEBP_LIMIT or not features.check("webp"):
        return _written(Image.fromarray(frame), "png", {})
    settings = {"lossless": True, "quality": 0, "method": 0, "exact": True}
    return _written(Image.fromarray(frame), "webp", settings)


def _png_mask(ids: np.ndarray) -> bytes:
    if ids.dtype == np.int32:
        ids = ids.astype(np.uint16)
    return _written(Image.fromarray(ids), "png", {})


def _webp_mask(ids: np.ndarray) -> bytes:
    wide = ids.astype(np.int32)
    kind = np.full_like(wide, KINDS.index(ids.dtype.type))
    return _lossless(np.stack([wide & 255, wide >> 8, kind], axis=-1).astype(np.uint8), "webp")


def _read_webp_mask(file: PictureFile) -> np.ndarray:
    pixels = read_picture(file).astype(np.int32)
    if not pixels.size or pixels[0, 0, 2] >= len(KINDS):
        raise DataError(f"{file} is no map of a prepared folder")
    return (pixels[..., 0] | pixels[..., 1] << 8).astype(KINDS[pixels[0, 0, 2]])


def _require_size(pixels: Sequence[np.ndarray], size: tuple[int, int], name: str) -> None:
    for frame in pixels:
        if frame.shape[:2] != tuple(size):
            raise DataError(
                f"a frame of {name} has {size_of(frame.shape)}; its row states {size_of(size)}"
            )


def _bare(pieces: Sequence[bytes], kind: str, shape: tuple[int, ...], name: str) -> Tensor:
    expected = math.prod(shape) * np.dtype(kind).itemsize
    for piece in pieces:
        if len(piece) != expected:
            raise DataError(
                f"a frame of {name} has {len(piece):,} bytes; its row says {expected:,}"
            )
    whole = np.frombuffer(b"".join(pieces), dtype=kind)
    return torch.from_numpy(whole.reshape(len(pieces), *shape).copy())


def _written(image: Image.Image, kind: str, settings: dict[str, int | bool]) -> bytes:
    file = BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()
