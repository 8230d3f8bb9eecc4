"""PASCAL VOC 2012 (Everingham et al. 2010, 2015) with masks of objects and of classes, as it is
downloaded or as Van Gansbeke's PASCAL_VOC.tgz and SlotDiffusion lay it out:

    VOC2012/JPEGImages/<name>.jpg                   or  ROOT/images/<name>.jpg
    VOC2012/ImageSets/Segmentation/<list>.txt       or  ROOT/sets/<list>.txt
    VOC2012/SegmentationObject/<name>.png           or  ROOT/SegmentationObject/<name>.png
    VOC2012/SegmentationClass/<name>.png            or  ROOT/SegmentationClass/<name>.png
    VOC2012/SegmentationClassAug/<name>.png         or  ROOT/SegmentationClassAug/<name>.png

ROOT is that folder, or one that holds it under its name. Masks are palette or grey PNGs: 0 is the
background, 255 void (the borders of objects, and what was too difficult), and in between are
classes 1 to 20, or objects.

The list `trainaug` adds the 9,118 pictures that Hariharan et al. (2011, SBD) annotated to the 1,464
of `train`; their masks, of classes alone, are in SegmentationClassAug. Where the list is missing it
is what that folder holds and `val` does not name.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal, Unpack

import numpy as np
import torch

from slot_data.file_lists import lines_of, names_in, require_files
from slot_data.framing import Framing, FramingOptions
from slot_data.image_files import read_mask, read_picture, sample_of
from slot_data.sample import DataError, Sample
from slot_data.transforms import nearest_places

LISTS = {"train": "train", "validation": "val", "trainval": "trainval", "trainaug": "trainaug"}
NUM_CLASSES = 20
VOID = 255

Void = Literal["mark", "overlap", "background"]


class Voc:
    """The pictures of one split, in the order of its list.

    root: a folder of one of the layouts above.
    split: "train", "validation", "trainval" or "trainaug"; the last has no labels of objects, but
        class_labels.
    void: what becomes of pixels that either mask leaves undecided. Their labels are 0; "mark" gives
        them as `void`, "overlap" as `overlap`, which SlotDiffusion's scores take for a segment of
        its own, and "background" does not tell.
    agree: a pixel belongs to an object only where both masks say so, and the class mask alone says
        what is void; as DINOSAUR does, since some of the masks do not fit one another.
    masks: False reads the pictures alone, and does not ask for masks.
    framing: see `Framing`.

    A mask of another size than its picture is resized, as in SlotDiffusion; some copies hold a few.
    Raises DataError if a list, picture or mask is missing, cannot be read, or holds other classes.
    """

    default_framing: ClassVar[Framing] = Framing(image_size=224, fit="resize_first")

    def __init__(
        self,
        split: str,
        root: str | Path,
        void: Void = "mark",
        agree: bool = False,
        masks: bool = True,
        **framing: Unpack[FramingOptions],
    ) -> None:
        if split not in LISTS:
            raise DataError(f"split {split!r} of voc is not one of {', '.join(LISTS)}")
        self._framing = replace(self.default_framing, **framing)
        self._void, self._agree, self._masks = void, agree, masks
        self._layout = _layout(Path(root).expanduser())
        self._names = self._layout.names(LISTS[split])
        self._classes = "SegmentationClassAug" if split == "trainaug" else "SegmentationClass"
        self._objects = None if split == "trainaug" else "SegmentationObject"
        needed = [(self._layout.pictures, ".jpg")]
        if masks:
            if split == "trainaug" and not (self._layout.base / self._classes).is_dir():
                raise DataError(
                    f"{self._layout.base} has no folder {self._classes}, which split 'trainaug' "
                    "needs; the official archive has none, PASCAL_VOC.tgz has; or read the "
                    "pictures alone with masks false"
                )
            folders = (self._classes, self._objects)
            needed += [(self._layout.base / folder, ".png") for folder in folders if folder]
        for folder, suffix in needed:
            files = [f"{name}{suffix}" for name in self._names]
            require_files(folder, files, f"files of {self._layout.lists / LISTS[split]}.txt")

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {self._layout.base}: there are {len(self)}")
        name = self._names[index]
        path = self._layout.pictures / f"{name}.jpg"
        pixels = read_picture(path)
        sample = sample_of(name, [pixels], [f"its picture {path}"], None)
        if self._masks:
            self._annotate(sample, name, pixels.shape[:2])
        return self._framing(sample)

    def _annotate(self, sample: Sample, name: str, shape: tuple[int, ...]) -> None:
        path = self._layout.base / self._classes / f"{name}.png"
        classes = _fitted(read_mask(path), shape)
        others = set(np.unique(classes).tolist()) - {*range(NUM_CLASSES + 1), VOID}
        if others:
            raise DataError(
                f"mask {path} holds {min(others)}; expected classes 0 to {NUM_CLASSES} and {VOID}"
            )
        void, objects = classes == VOID, None
        if self._objects is not None:
            mask = read_mask(self._layout.base / self._objects / f"{name}.png")
            objects = _fitted(mask, shape)
            nobody = void | (objects == VOID)
            if self._agree:
                nobody |= (classes == 0) | (objects == 0)
            else:
                void = nobody
            classes = np.where(nobody, 0, classes)
            sample["labels"] = torch.from_numpy(np.where(nobody, 0, objects))[None]
        sample["class_labels"] = torch.from_numpy(np.where(void, 0, classes))[None]
        if self._void == "mark":
            sample["void"] = torch.from_numpy(void)[None]
        elif self._void == "overlap":
            sample["overlap"] = torch.from_numpy(void)[None]


@dataclass(frozen=True)
class _Layout:
    base: Path
    pictures: Path
    lists: Path

    def names(self, kind: str) -> list[str]:
        """Those of a list. Lines may also be paths, or hold more than the name."""
        path = self.lists / f"{kind}.txt"
        augmented = self.base / "SegmentationClassAug"
        if kind == "trainaug" and not path.is_file() and augmented.is_dir():
            held_out = set(self.names("val"))
            found = (Path(name) for name in sorted(names_in(augmented)))
            masks = [path.stem for path in found if path.suffix == ".png"]
            return [name for name in masks if name not in held_out]
        if kind == "trainaug" and not path.is_file():
            raise DataError(
                f"{path} is missing, and so is the folder {augmented} to take the names from; the "
                "official archive has neither: the list of 10,582 names, trainaug.txt, comes with "
                "the code of SPOT, and both with PASCAL_VOC.tgz"
            )
        lines = lines_of(path, "voc")
        names = [Path(line.split()[0]).stem for line in lines if line.strip()]
        if not names:
            raise DataError(f"list {path} of voc is empty")
        return names


def _layout(root: Path) -> _Layout:
    for base in (root, root / "VOCdevkit" / "VOC2012", root / "VOC2012", root / "VOC"):
        for pictures, lists in (("JPEGImages", "ImageSets/Segmentation"), ("images", "sets")):
            if (base / pictures).is_dir() and (base / lists).is_dir():
                return _Layout(base, base / pictures, base / lists)
    raise DataError(
        f"root {root} of voc holds neither JPEGImages and ImageSets/Segmentation nor images and "
        "sets, nor does a VOCdevkit/VOC2012, VOC2012 or VOC in it"
    )


def _fitted(mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if mask.shape == shape:
        return mask
    rows, columns = (
        nearest_places(old, new, "opencv").numpy()
        for old, new in zip(mask.shape, shape, strict=True)
    )
    return mask[rows[:, None], columns]
