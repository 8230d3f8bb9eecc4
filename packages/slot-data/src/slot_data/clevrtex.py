"""CLEVRTex (Karazija, Laina, Rupprecht 2021) in the layout of its archives:

    ROOT/clevrtex_<variant>/<number // 1000>/CLEVRTEX_<variant>_<number, six digits>.png
    ROOT/clevrtex_<variant>/<number // 1000>/CLEVRTEX_<variant>_<number, six digits>_flat.png

The picture is RGBA, its alpha always 255. The mask is a palette PNG whose index is the object, 0
the background. The split goes by the picture's number, as its authors' does on a complete copy:
the first tenth is test, the next validation, the rest train. Counting the files that are there
instead would let the split of an incomplete copy depend on what is missing.
"""

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal, Unpack

import numpy as np
import torch

from slot_data.file_lists import later
from slot_data.framing import Framing, FramingOptions
from slot_data.image_files import read_mask, read_sample
from slot_data.sample import DataError, Sample

Variant = Literal["full", "pbg", "vbg", "grassbg", "camo", "outd"]
SIZES = {
    "full": 50_000,
    "pbg": 20_000,
    "vbg": 20_000,
    "grassbg": 20_000,
    "camo": 20_000,
    "outd": 10_000,
}
SPLITS = ("train", "validation", "test")


def numbers_of(variant: str, split: str) -> range:
    """The pictures' numbers in a split of the complete variant; "all" is every number. `outd` is
    for testing alone and is not divided. Raises DataError for an unknown name."""
    if variant not in SIZES:
        raise DataError(f"variant {variant!r} of clevrtex is not one of {', '.join(SIZES)}")
    size = SIZES[variant]
    known = ("test", "all") if variant == "outd" else (*SPLITS, "all")
    if split not in known:
        raise DataError(
            f"split {split!r} of clevrtex, variant {variant}, is not one of {', '.join(known)}"
        )
    if split == "all" or variant == "outd":
        return range(size)
    bounds = {"test": (0, 10), "validation": (10, 20), "train": (20, 100)}[split]
    return range(size * bounds[0] // 100, size * bounds[1] // 100)


class ClevrTex:
    """The pictures of one split that are there, in the order of their numbers.

    root: the folder that holds `clevrtex_<variant>`.
    split: "train", "validation", "test" or "all".
    max_objects: leaves out pictures on which more objects are left after the centre crop; every
        mask is read for that. The split stays that of the numbers.
    masks: False reads the pictures alone, and does not ask for masks.
    framing: see `Framing`. A centre crop of 192 of the 320x240 pixels is what every published
        pipeline takes.

    Raises DataError if there is no picture of the split, or one without its mask.
    """

    default_framing: ClassVar[Framing] = Framing(centre_crop=192)

    def __init__(
        self,
        split: str,
        root: str | Path,
        variant: Variant = "full",
        max_objects: int | None = None,
        masks: bool = True,
        **framing: Unpack[FramingOptions],
    ) -> None:
        self._framing = replace(self.default_framing, **framing)
        self.variant, self.max_objects, self._masks = variant, max_objects, masks
        numbers = numbers_of(variant, split)
        self.root = Path(root).expanduser() / f"clevrtex_{variant}"
        if not self.root.is_dir():
            raise DataError(f"root {root} of clevrtex holds no folder clevrtex_{variant}")
        found = _pictures(self.root, variant, masks)
        pictures = [found[number] for number in sorted(found) if number in numbers]
        if not pictures:
            raise DataError(
                f"{self.root} holds no picture of split {split!r} (numbers {numbers.start} to "
                f"{numbers.stop - 1}) among its {len(found)}; split 'all' takes whatever is there"
            )
        if max_objects is not None:
            pictures = [picture for picture in pictures if self._objects(picture) <= max_objects]
            if not pictures:
                raise DataError(
                    f"no picture of split {split!r} in {self.root} has at most {max_objects} "
                    "objects"
                )
        self._pictures = np.array([str(path) for path in pictures])  # workers share an array

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {self.root}: there are {len(self)}")
        picture = Path(str(self._pictures[index]))
        masks = [_mask_of(picture)] if self._masks else None
        return self._framing(read_sample(picture.stem, [picture], masks))

    def _objects(self, picture: Path) -> int:
        """How many labels the centre crop holds, less one for the background."""
        ids = torch.from_numpy(read_mask(_mask_of(picture)))[None]
        cut = self._framing.cut({"id": picture.stem, "video": ids[:, None], "labels": ids})
        return len(cut.get("labels", ids).unique()) - 1


def _pictures(root: Path, variant: str, masks: bool) -> dict[int, Path]:
    """Number -> picture; every one has its mask where these are wanted."""
    pattern = re.compile(rf"CLEVRTEX_{variant}_([0-9]{{6}})\.png")
    found: dict[int, Path] = {}
    for folder in sorted(path for path in root.glob("[0-9]*") if path.is_dir()):
        names = {entry.name for entry in os.scandir(folder)}  # 350,000 files: keep it lean
        for match in filter(None, map(pattern.fullmatch, sorted(names))):
            picture, number = folder / match[0], int(match[1])
            if masks and _mask_of(picture).name not in names and not later():
                raise DataError(f"picture {picture} has no mask: expected {_mask_of(picture)}")
            if number in found:
                raise DataError(f"pictures {found[number]} and {picture} have the same number")
            found[number] = picture
    return found


def _mask_of(picture: Path) -> Path:
    return picture.with_name(f"{picture.stem}_flat.png")
