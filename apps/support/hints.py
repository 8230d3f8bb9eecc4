"""What the user says of the objects in a first frame, for models that follow what they are told.

    --boxes FILE.json     [[top, left, bottom, right], ...]
    --points FILE.json    [[y, x], ...]
    --masks FILE.png      palette or grey, of the first frame's size: 0 is the background, every
                          other number an object

Numbers are pixels of the first frame: 0 is the outer edge of its first row or column, its height
or width that of the last. Slot i follows the i-th object, counted from 0.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from slot_core import InputError
from slot_core.json_files import read_json
from slot_data.boxes import masks_from_labels
from slot_data.image_files import read_mask, size_of
from slot_decoders.models import SlotAutoencoder

Kind = Literal["boxes", "points", "masks"]
COORDINATES = {"boxes": ("top", "left", "bottom", "right"), "points": ("y", "x")}


@dataclass(frozen=True)
class Hint:
    """Boxes or points in pixels [N 4] or [N 2], or a mask of object numbers [H W]."""

    kind: Kind
    path: Path
    values: np.ndarray

    @property
    def num_objects(self) -> int:
        """How many are told of."""
        if self.kind == "masks":
            return len(np.unique(self.values[self.values > 0]))
        return len(self.values)

    def of(self, height: int, width: int) -> Shaped[Tensor, "1 objects ..."]:
        """As a model takes it, for a first frame of this size.

        Raises:
            InputError: if something lies outside the frame, a box is empty, or the mask is of
                another size.
        """
        if self.kind == "masks":
            return self._masks(height, width)
        limits = np.array([height, width] * (self.values.shape[1] // 2), float)
        for number, row in enumerate(self.values):
            if (row < 0).any() or (row > limits).any():
                raise InputError(
                    f"{self.path}: {self._name(number)} lies outside the first frame, which is "
                    f"{size_of((height, width))}"
                )
            if self.kind == "boxes" and (row[:2] >= row[2:]).any():
                raise InputError(
                    f"{self.path}: {self._name(number)} is empty; expected top < bottom and "
                    "left < right"
                )
            if self.kind == "boxes" and (row <= 1).all() and (row[2:] - row[:2] < 1).any():
                raise InputError(
                    f"{self.path}: {self._name(number)} is less than a pixel; expected pixels of "
                    f"the first frame, which is {size_of((height, width))}, not fractions of it"
                )
        return torch.from_numpy(self.values / limits).float()[None]

    def _masks(self, height: int, width: int) -> Shaped[Tensor, "1 objects height width"]:
        if self.values.shape != (height, width):
            raise InputError(
                f"{self.path}: is {size_of(self.values.shape)}, but the first frame is "
                f"{size_of((height, width))}"
            )
        _, labels = np.unique(np.append(self.values, 0), return_inverse=True)  # 0 stays 0
        labels = torch.from_numpy(labels[:-1].reshape(height, width))
        return masks_from_labels(labels, self.num_objects)[None]

    def _name(self, number: int) -> str:
        names = COORDINATES[self.kind]
        values = ", ".join(f"{k} {v:g}" for k, v in zip(names, self.values[number], strict=True))
        return f"{'box' if self.kind == 'boxes' else 'point'} {number} ({values})"


def read_hint(boxes: Path | None, points: Path | None, masks: Path | None) -> Hint | None:
    """The one of these files that was given.

    Raises:
        InputError: if two were, or the file is missing or holds something else.
        DataError: if the mask cannot be read.
    """
    given = {"boxes": boxes, "points": points, "masks": masks}
    files: list[tuple[Kind, Path]] = [
        (cast(Kind, kind), path) for kind, path in given.items() if path is not None
    ]
    if len(files) > 1:
        raise InputError(f"give one of {' and '.join(f'--{kind}' for kind, _ in files)}, not both")
    if not files:
        return None
    kind, path = files[0]
    if not path.is_file():
        raise InputError(f"--{kind} {path}: there is no such file")
    hint = Hint(kind, path, read_mask(path) if kind == "masks" else _read_rows(kind, path))
    if not hint.num_objects:
        raise InputError(f"{path}: tells of no object")
    return hint


def check_hint(hint: Hint | None, model: SlotAutoencoder, checkpoint: str, count: int) -> None:
    """Raise InputError unless the hint is what the model asks for, of a single video or picture."""
    wanted = model.conditioned_on
    if wanted != (hint.kind if hint else None):
        given = f"--{hint.kind}" if hint else "none"
        expected = (
            f"expects --{wanted} of the first frame's objects"
            if wanted
            else "is told of no objects"
        )
        raise InputError(f"{checkpoint}: {expected}, but {given} was given")
    if hint is None:
        return
    if count > 1:
        raise InputError(f"--{hint.kind} {hint.path}: is of one first frame, but there are {count}")
    if hint.num_objects > model.num_slots:
        raise InputError(
            f"{hint.path}: holds {hint.num_objects} {hint.kind}, but {checkpoint} has "
            f"{model.num_slots} slots; expected at most one for each slot"
        )


def _read_rows(kind: str, path: Path) -> np.ndarray:
    names = COORDINATES[kind]
    try:
        rows = read_json(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: is not readable JSON ({error})") from None
    expected = f"expected a list of [{', '.join(names)}] in pixels of the first frame"
    if not isinstance(rows, list):
        raise InputError(f"{path}: {expected}")
    for number, row in enumerate(rows):
        numeric = isinstance(row, list) and all(type(value) in (int, float) for value in row)
        if not numeric or len(row) != len(names) or not np.isfinite(row).all():
            raise InputError(f"{path}: entry {number} is {json.dumps(row)}; {expected}")
    return np.array(rows, float).reshape(-1, len(names))
