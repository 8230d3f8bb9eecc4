"""Pictures and masks from files, with the traps of both.

A picture's turn (EXIF) is undone, 16 bits become 8, grey becomes RGB, and what is transparent
shows white. A mask's pixel is the number of an object: palette files are read as their indices,
never as the brightness of their colours.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from slot_data.file_lists import files_below
from slot_data.sample import DataError, Sample

PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})
# Pictures, too, of which a folder that is searched for pictures must not be silent.
OTHER_PICTURE_SUFFIXES = frozenset(
    {".avif", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".pgm", ".ppm", ".tif", ".tiff"}
)
# Pillow reads many more, of which nobody makes data, and one of them by running another program.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
MOST_PIXELS = 89_478_485  # of one picture; Pillow itself refuses twice as many, and warns of these
_MASK_MODES = frozenset({"P", "L", "1", "I", "I;16", "I;16B"})
_STARTS = {b"\x89PNG": "PNG", b"\xff\xd8\xff\xe0": "JPEG", b"RIFF": "WEBP"}
_ORIENTATION = 0x0112  # an entry of EXIF
_UPRIGHT = {  # what undoes each orientation; 1 is upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_UNREADABLE = (  # what Pillow is known to raise on broken files
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


@dataclass(frozen=True)
class PictureBytes:
    """A picture file that lies inside another file; `name` is what to call it in errors."""

    name: str
    content: bytes

    def __str__(self) -> str:
        return self.name


PictureFile = Path | PictureBytes

_notes: ContextVar[list[tuple[PictureFile, np.ndarray]] | None] = ContextVar("notes", default=None)


def read_picture(path: PictureFile) -> np.ndarray:
    """uint8 [H W 3]. Raises DataError if the file cannot be read whole or holds float pixels."""
    pixels = _rgb(path, _open(path, upright=True))
    notes = _notes.get()
    if notes is not None:
        notes.append((path, pixels))
    return pixels


@contextmanager
def noting_pictures() -> Iterator[list[tuple[PictureFile, np.ndarray]]]:
    """Every picture that `read_picture` reads meanwhile, and what it found in it: whoever copies a
    dataset can so take over the files of any reader as they are."""
    notes: list[tuple[PictureFile, np.ndarray]] = []
    token = _notes.set(notes)
    try:
        yield notes
    finally:
        _notes.reset(token)


def _rgb(path: PictureFile, image: Image.Image) -> np.ndarray:
    if image.mode in ("I", "I;16", "I;16B"):
        grey = np.asarray(image).astype(np.int64) >> 8
        return np.repeat(grey.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
    if image.mode == "F":
        raise DataError(f"{path} holds float pixels; expected a picture of 8 or 16 bits")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def read_mask(path: PictureFile) -> np.ndarray:
    """uint8 or int32 [H W] of object numbers. Raises DataError for colour, where a number is not
    defined."""
    image = _open(path)
    if image.mode not in _MASK_MODES:
        raise DataError(
            f"mask {path} is {image.mode}; expected a palette or grey PNG whose pixels are object "
            "numbers"
        )
    ids = np.array(image)
    return ids.astype(np.uint8 if ids.itemsize == 1 else np.int32)


def read_sample(
    identity: str, pictures: Sequence[PictureFile], masks: Sequence[PictureFile] | None
) -> Sample:
    """One frame per picture. Raises DataError if sizes differ between frames or from a mask's."""
    frames = [read_picture(path) for path in pictures]
    for path, frame in zip(pictures, frames, strict=True):
        if frame.shape != frames[0].shape:
            raise DataError(
                f"frame {path} is {size_of(frame.shape)}, but {pictures[0]} of the same video is "
                f"{size_of(frames[0].shape)}"
            )
    return sample_of(identity, frames, [f"its picture {path}" for path in pictures], masks)


def sample_of(
    identity: str,
    frames: Sequence[np.ndarray],
    names: Sequence[str],
    masks: Sequence[PictureFile] | None,
) -> Sample:
    """frames: uint8 [H W 3] of one size; names: what to call each. Raises DataError if a mask
    cannot be read or differs in size from its frame."""
    sample: Sample = {
        "video": torch.from_numpy(np.stack(frames).transpose(0, 3, 1, 2).copy()),
        "id": identity,
    }
    if masks is not None:
        ids = [read_mask(path) for path in masks]
        for name, frame, mask, number in zip(names, frames, masks, ids, strict=True):
            if number.shape != frame.shape[:2]:
                raise DataError(
                    f"mask {mask} is {size_of(number.shape)}, but {name} is {size_of(frame.shape)}"
                )
        sample["labels"] = torch.from_numpy(np.stack(ids))
    return sample


def _open(path: PictureFile, upright: bool = False) -> Image.Image:
    if isinstance(path, Path) and path.is_symlink() and not path.exists():
        raise DataError(f"{path} is a link to {path.readlink()}, which is not there")
    try:
        if isinstance(path, PictureBytes):
            kind = _STARTS.get(path.content[:4])  # else Pillow tries all of them, for long
            image = Image.open(BytesIO(path.content), formats=[kind] if kind else FORMATS)
        else:
            image = Image.open(path, formats=FORMATS)
        if image.width * image.height > MOST_PIXELS:
            raise DataError(
                f"{path} cannot be read as a picture: it states {image.width:,}x{image.height:,} "
                f"pixels; expected at most {MOST_PIXELS:,}"
            )
        image.load()
        return _upright(image) if upright else image
    except DataError:
        raise
    except _UNREADABLE as error:
        raise DataError(f"{path} cannot be read as a picture: {error}") from error


def _upright(image: Image.Image) -> Image.Image:
    """Without the turn of its EXIF; Pillow's own way also writes the EXIF anew, and fails where one
    of its other entries is odd. EXIF that cannot be read says nothing."""
    try:
        turn = _UPRIGHT.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # whatever the damage happens to trigger
        return image
    return image if turn is None else image.transpose(turn)


def refuse_other_pictures(folder: Path) -> None:
    """Raises DataError if a picture of a kind that is not looked for lies below a folder."""
    others = files_below(folder, OTHER_PICTURE_SUFFIXES)
    if others:
        raise DataError(
            f"{others[0]} is a picture of a kind that is not read; expected files ending in "
            f"{', '.join(sorted(PICTURE_SUFFIXES))}: save it as one, or move it out of {folder}"
        )


def size_of(shape: tuple[int, ...]) -> str:
    """What to call the size of pixels [H W ...] in a message."""
    return f"{shape[1]}x{shape[0]} pixels (width x height)"
