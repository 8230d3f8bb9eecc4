"""The files in which ``predict.py`` leaves what a model found, one set per picture:

    labels/NAME.png          palette, 8 bit: each pixel is the number of its slot
    overlays/NAME.png        the picture under the colours of its slots
    slots/NAME/slot_03.png   what slot 3 took, cut out; none for a slot that took no pixel

and, when all are done, ``slots.npz`` (ids: N strings, as NAME; slots: float32 [N K D]) and
``overview.png`` with the first pictures. NAME is the picture's path below the given folder,
without its suffix, so that ``slot-eval score`` takes ``labels`` as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from PIL import Image

from slot_core import InputError
from support.colours import slot_colours
from support.pictures import Picture, cutout, fitted, overlay, palette_image, sheet, tiles

Labels = Int[np.ndarray, "height width"]


def check_free(folder: Path) -> None:
    """Raise InputError if the folder holds anything, so that nothing is written over."""
    try:
        taken = folder.exists() and any(folder.iterdir())
    except OSError as error:
        raise InputError(f"{folder}: is no folder to write to ({error.strerror})") from None
    if taken:
        raise InputError(f"{folder}: holds files already; choose a new or an empty folder")


class Findings:
    """Writes the files of one picture after the other below ``folder``.

    Raises InputError where a file cannot be written, such as on a full disk.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.slots: dict[str, Float[np.ndarray, "slots dim"]] = {}
        self.rows: dict[str, dict[str, np.ndarray]] = {}

    def add(
        self,
        name: str,
        picture: Picture,
        labels: Labels,
        slots: Float[np.ndarray, "slots dim"],
    ) -> None:
        """Write the labels, overlay and cut-outs of a picture, and keep its slots."""
        shown = Image.fromarray(overlay(picture, slot_colours(len(slots))[labels]))
        self._save_image(palette_image(labels), f"labels/{name}.png", bits=8)
        self._save_image(shown, f"overlays/{name}.png")
        for slot in np.unique(labels):
            piece = Image.fromarray(cutout(picture, labels == slot))
            self._save_image(piece, f"slots/{name}/slot_{slot:02d}.png")
        self.slots[name] = slots

    def show(
        self,
        name: str,
        picture: Picture,
        masks: Float[np.ndarray, "slots height width"],
        reconstruction: Picture,
    ) -> None:
        """Give a picture a row in the overview."""
        found = slot_colours(len(masks))[masks.argmax(0)]
        row = tiles(picture, found, reconstruction=reconstruction, masks=masks)
        # Reduced at once: large photos would fill the memory.
        self.rows[name] = {heading: np.array(fitted(tile)) for heading, tile in row.items()}

    def close(self) -> None:
        """Write ``slots.npz`` and ``overview.png`` of the pictures that were added."""
        names = sorted(self.slots)
        if names:
            with self._writing("slots.npz") as path:
                np.savez(
                    path, ids=np.array(names), slots=np.stack([self.slots[name] for name in names])
                )
        rows = [self.rows[name] for name in sorted(self.rows)]
        if rows:
            columns = {heading: [row[heading] for row in rows] for heading in rows[0]}
            self._save_image(sheet(columns), "overview.png")

    def _save_image(self, image: Image.Image, place: str, **options: Any) -> None:
        with self._writing(place) as path:
            image.save(path, **options)

    @contextmanager
    def _writing(self, place: str) -> Iterator[Path]:
        path = self.folder / place
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield path
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error
