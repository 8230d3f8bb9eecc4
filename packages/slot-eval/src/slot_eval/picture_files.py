"""Picture files: what a model painted, and the truth it is compared with.

Two forms, for either side:

* ``.npz`` with ``ids`` (N unicode strings) and ``pictures`` (uint8 [N T 3 H W], or [N 3 H W]).
* a folder of PNG or JPEG files, one picture each, ``<id>.png``; with ``clips`` each folder is a
  clip, and its files, in the order of their names, are its frames. Needs Pillow. They are read as
  slot-data reads pictures: their turn (EXIF) is undone, 16 bits become 8, grey becomes RGB, and
  what is transparent shows white.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from slot_eval.errors import EvalError
from slot_eval.npz_files import read_npz
from slot_eval.predictions import (
    UNREADABLE,
    Predictions,
    checked_ids,
    files_by_id,
    pillow_open,
    stacked_frames,
)

SUFFIXES = (".png", ".jpg", ".jpeg")
DEEP_MODES = ("I", "I;16", "I;16B")  # Pillow's names for 16 bits
ORIENTATION = 0x0112  # an entry of EXIF
UPRIGHT = {  # Pillow's names for what undoes each orientation; 1 is upright
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
Clip = UInt8[Tensor, "time 3 height width"]


class Pictures(Predictions[Clip]):
    """Pictures or clips by sample id."""

    def sample(self, name: str) -> dict[str, Any]:
        """One sample as a data set would give it."""
        return {"id": name, "video": self.load(name)}


def open_pictures(path: str | Path, *, clips: bool = False) -> Pictures:
    """Open an ``.npz`` file or a folder of pictures; raises EvalError on anything else."""
    path = Path(path)
    if path.is_dir():
        return PictureFolder(path, clips=clips)
    if not path.exists():
        raise EvalError(f"{path}: there is no such file or folder")
    if path.suffix != ".npz":
        raise EvalError(f"{path}: expected an .npz file or a folder of pictures")
    return NpzPictures(path)


class NpzPictures(Pictures):
    """The pictures in an ``.npz`` file, read whole and checked when opened."""

    def __init__(self, path: Path) -> None:
        self.source = str(path)
        arrays = read_npz(path)
        if set(arrays) != {"ids", "pictures"}:
            found = ", ".join(sorted(arrays))
            raise EvalError(f"{path}: expected the arrays ids and pictures, found {found}")
        self.ids = checked_ids(arrays["ids"], self.source)
        values = arrays["pictures"]
        if values.dtype != np.uint8:
            raise EvalError(f"{path}: pictures must be uint8, not {values.dtype}")
        if values.ndim not in (4, 5) or len(values) != len(self.ids) or values.shape[-3] != 3:
            raise EvalError(
                f"{path}: pictures must be [N T 3 H W] or [N 3 H W] with N = {len(self.ids)}, "
                f"not {list(values.shape)}"
            )
        if 0 in values.shape[1:]:
            raise EvalError(f"{path}: pictures of shape {list(values.shape)} have no pixels")
        self._values = values if values.ndim == 5 else values[:, None]
        self._position = {name: index for index, name in enumerate(self.ids)}

    def load(self, name: str) -> Clip:
        """The pictures of one sample."""
        return torch.from_numpy(self._values[self._position[name]])


class PictureFolder(Pictures):
    """The pictures under a folder, as pictures or as clips; read when they are asked for."""

    def __init__(self, folder: Path, *, clips: bool = False) -> None:
        self.source = str(folder)
        self._open = pillow_open(self.source, "pictures")
        self._paths = files_by_id(folder, SUFFIXES, "pictures", clips=clips)
        self.ids = tuple(sorted(self._paths))

    def load(self, name: str) -> Clip:
        """The frames of one clip, or one picture as a clip of one frame."""
        paths = self._paths[name]
        frames = stacked_frames(paths, map(self._read, paths))
        return torch.from_numpy(frames.transpose(0, 3, 1, 2).copy())

    def _read(self, path: Path) -> np.ndarray:
        try:
            with self._open(path) as image:
                return upright_rgb(image)
        except UNREADABLE as error:
            raise EvalError(f"{path}: cannot be read as a picture: {error}") from error


def upright_rgb(image: Any) -> np.ndarray:
    """The pixels of a picture of Pillow's, uint8 [H W 3]."""
    from PIL import Image

    try:
        turn = UPRIGHT.get(image.getexif().get(ORIENTATION, 1))
    except Exception:  # whatever damage triggers; EXIF that cannot be read says nothing
        turn = None
    if turn is not None:  # ImageOps.exif_transpose fails where it cannot write odd EXIF anew
        image = image.transpose(Image.Transpose[turn])
    if image.mode in DEEP_MODES:
        grey = (np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image.convert("RGB"))
