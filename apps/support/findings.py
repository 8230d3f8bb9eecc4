"""The files in which ``predict.py`` leaves what a model found. Of a picture:

    labels/NAME.png          palette, 8 bit: each pixel is the number of its slot
    overlays/NAME.png        the picture under the colours of its slots
    slots/NAME/slot_03.png   what slot 3 took, cut out; none for a slot that took no pixel

Of a video, whose slots keep their colours through all frames:

    labels/NAME/FRAME.png    as above, of every frame
    overlays/NAME.mp4        the frames under the colours of their slots, at the video's own times
    overlays/NAME.gif        the same, small and at most 300 frames

and, when all are done, ``slots.npz`` (ids: N strings, NAME or NAME/FRAME; slots: float32 [N K D];
of videos also seconds: float64 [N], from each one's first frame on) and ``overview.png`` with the
first pictures, or some frames of the first videos. NAME is the path below the given folder,
without its suffix, so that ``slot-eval score`` takes ``labels`` as it is.

Nothing here grows with the length of a video but the names of its frames.
"""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import numpy as np
from jaxtyping import Float, Int
from PIL import Image

from slot_core import InputError
from support.colours import slot_colours
from support.films import Gif, Mp4
from support.pictures import (
    Picture,
    cutout,
    enlarged,
    fitted,
    overlay,
    palette_image,
    sheet,
    tiles,
)

Labels = Int[np.ndarray, "height width"]

SMALLEST_FILM = 256  # pixels of its longer side, for borders to be thin and colours to be sharp
COPIED_ROWS = 256  # of slots at once


def check_free(folder: Path) -> None:
    """Raise InputError if the folder holds anything, so that nothing is written over."""
    try:
        taken = folder.exists() and any(folder.iterdir())
    except OSError as error:
        raise InputError(f"{folder}: is no folder to write to ({error.strerror})") from None
    if taken:
        raise InputError(f"{folder}: holds files already; choose a new or an empty folder")


class Findings:
    """Writes the files of one picture or frame after the other below ``folder``.

    Raises InputError where a file cannot be written, such as on a full disk.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.slots = SlotRows(folder)
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
        self.save_image(palette_image(labels), f"labels/{name}.png", bits=8)
        self.save_image(shown, f"overlays/{name}.png")
        for slot in np.unique(labels):
            piece = Image.fromarray(cutout(picture, labels == slot))
            self.save_image(piece, f"slots/{name}/slot_{slot:02d}.png")
        self.keep(name, slots)

    def keep(
        self, name: str, slots: Float[np.ndarray, "slots dim"], seconds: Fraction | None = None
    ) -> None:
        """Put the slots of a picture or frame into ``slots.npz``."""
        with self.writing("slots.npz"):
            self.slots.add(name, slots, seconds)

    def show(
        self,
        name: str,
        picture: Picture,
        masks: Float[np.ndarray, "slots height width"],
        reconstruction: Picture | None,
    ) -> None:
        """Give a picture or frame a row in the overview."""
        found = slot_colours(len(masks))[masks.argmax(0)]
        row = tiles(picture, found, reconstruction=reconstruction, masks=masks)
        # Reduced at once: large photos would fill the memory.
        self.rows[name] = {heading: np.array(fitted(tile)) for heading, tile in row.items()}

    @contextmanager
    def film(self, name: str, num_slots: int, seconds: Fraction) -> Iterator[Film]:
        """The files of one video, ``seconds`` from its first to its last frame.

        What was added until an error is kept, and can be played.
        """
        film = Film(self, name, num_slots, seconds)
        try:
            yield film
        finally:
            film.close()

    def close(self, order: Sequence[str] | None = None) -> None:
        """Write ``slots.npz`` and ``overview.png`` of what was added.

        Args:
            order: of the names; as they were added when left out.
        """
        if self.slots.names:
            with self.writing("slots.npz") as path:
                self.slots.write(path, order or self.slots.names)
        names = order if order is not None else list(self.rows)
        rows = [self.rows[name] for name in names if name in self.rows]
        if rows:
            columns = {heading: [row[heading] for row in rows] for heading in rows[0]}
            self.save_image(sheet(columns), "overview.png")

    def save_image(self, image: Image.Image, place: str, **options: Any) -> None:
        """Write an image file at a place below the folder."""
        with self.writing(place) as path:
            image.save(path, **options)

    @contextmanager
    def writing(self, place: str) -> Iterator[Path]:
        """Where to write a file; says which one it was if that fails."""
        path = self.folder / place
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield path
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error


class Film:
    """The files of one video, written frame by frame; see ``Findings.film``."""

    def __init__(self, findings: Findings, name: str, num_slots: int, seconds: Fraction) -> None:
        self.findings, self.name = findings, name
        self.colours = slot_colours(num_slots)
        self.places = [f"overlays/{name}.mp4", f"overlays/{name}.gif"]
        self.mp4 = Mp4(findings.folder / self.places[0])
        self.gif = Gif(findings.folder / self.places[1], num_slots, seconds)
        self.is_empty = True

    def add(
        self,
        frame: str,
        seconds: Fraction,
        picture: Picture,
        labels: Labels,
        slots: Float[np.ndarray, "slots dim"],
    ) -> None:
        """Write a frame's labels and overlay, and keep its slots."""
        self.is_empty = False
        name = f"{self.name}/{frame}"
        self.findings.save_image(palette_image(labels), f"labels/{name}.png", bits=8)
        self.findings.keep(name, slots, seconds)
        picture, labels = (enlarged(image, SMALLEST_FILM) for image in (picture, labels))
        with self.findings.writing(self.places[0]):
            self.mp4.add(overlay(picture, self.colours[labels]), seconds)
        with self.findings.writing(self.places[1]):
            self.gif.add(picture, labels, seconds)

    def close(self) -> None:
        """Write what is left of the mp4 and the GIF; nothing where there was no frame."""
        if self.is_empty:
            return
        for place, writer in zip(self.places, (self.mp4, self.gif), strict=True):
            with self.findings.writing(place):
                writer.close()


class SlotRows:
    """Slots of one picture or frame after the other, outside of the memory until they are all
    there and become one ``.npz``.

    Args:
        folder: of the file that has no name; there must be one when the first row comes.
    """

    def __init__(self, folder: Path) -> None:
        self.names: list[str] = []
        self.seconds: list[float] = []
        self.shape: tuple[int, ...] = ()
        self._folder = folder
        self._file: IO[bytes] | None = None

    def add(
        self, name: str, slots: Float[np.ndarray, "slots dim"], seconds: Fraction | None
    ) -> None:
        """Append a row; all are of one shape, and all or none have a time."""
        if self._file is None:
            # Without a name: whatever happens, nothing is left of it.
            self._file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115
        self._file.write(slots.astype("<f4").tobytes())
        self.names.append(name)
        self.shape = slots.shape
        if seconds is not None:
            self.seconds.append(float(seconds))

    def write(self, path: Path, order: Sequence[str]) -> None:
        """What ``np.savez`` would write of all rows at once, in this order of the names."""
        if self._file is None:
            return
        places = {name: place for place, name in enumerate(self.names)}
        names = [name for name in order if name in places]
        chosen = np.array([places[name] for name in names])
        rows = np.memmap(self._file, "<f4", "r", shape=(len(self.names), *self.shape))
        with zipfile.ZipFile(path, "w", allowZip64=True) as archive:
            with archive.open("ids.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.array(names), allow_pickle=False)
            if self.seconds:
                with archive.open("seconds.npy", "w", force_zip64=True) as entry:
                    np.lib.format.write_array(entry, np.array(self.seconds)[chosen])
            with archive.open("slots.npy", "w", force_zip64=True) as entry:
                header = {"descr": "<f4", "fortran_order": False, "shape": rows.shape}
                np.lib.format.write_array_header_1_0(entry, header)
                for start in range(0, len(chosen), COPIED_ROWS):
                    entry.write(rows[chosen[start : start + COPIED_ROWS]].tobytes())
