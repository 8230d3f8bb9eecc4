"""COCO 2017 (Lin et al. 2014, "Microsoft COCO: Common objects in context"): photographs with the
outlines of 80 kinds of things.

    ROOT/images/{train2017,val2017}/<number, twelve digits>.jpg      or ROOT/{train2017,val2017}/
    ROOT/annotations/instances_{train,val}2017.json

Objects overlap, some regions are crowds of things nobody told apart, and some pictures have no
annotation at all. Published codes treat each of these in another way, so each is an option.
"""

from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal, Unpack

import numpy as np

from slot_data.coco_annotations import CocoAnnotations, read_annotations
from slot_data.file_lists import require_files
from slot_data.framing import Framing, FramingOptions
from slot_data.image_files import read_picture, sample_of, size_of
from slot_data.region_policies import Crowd, Overlap, RegionPolicy
from slot_data.sample import DataError, Sample, with_maps

SPLITS = {"train": "train2017", "validation": "val2017"}

Empty = Literal["keep", "drop_unannotated", "drop_without_objects"]


class Coco:
    """The pictures of one split, in the order of the annotation file.

    root: the folder that holds `annotations`.
    split: "train" or "validation".
    crowd, overlap: what becomes of crowds and of pixels that several objects cover, see
        `RegionPolicy`.
    empty: pictures without objects are kept; "drop_unannotated" leaves out those without any
        annotation, "drop_without_objects" also those of crowds alone that `crowd` does not make
        objects.
    max_objects: leaves out pictures with more of them.
    masks: False reads the pictures alone.
    framing: see `Framing`.

    class_labels are 1 to 80: the categories of the file in the order of their ids, without the
    gaps in these. Raises DataError if a folder, picture or the annotations are missing, or these
    cannot be read or do not fit their pictures.
    """

    default_framing: ClassVar[Framing] = Framing(image_size=224, fit="resize_first")

    def __init__(
        self,
        split: str,
        root: str | Path,
        crowd: Crowd = "drop",
        overlap: Overlap = "last",
        empty: Empty = "keep",
        max_objects: int | None = None,
        masks: bool = True,
        **framing: Unpack[FramingOptions],
    ) -> None:
        if split not in SPLITS:
            raise DataError(f"split {split!r} of coco is not one of {', '.join(SPLITS)}")
        self._framing = replace(self.default_framing, **framing)
        self._policy, self._masks = RegionPolicy(crowd, overlap), masks
        self.root = Path(root).expanduser()
        self._folder = _picture_folder(self.root, SPLITS[split])
        self._annotations = read_annotations(
            self.root / "annotations" / f"instances_{SPLITS[split]}.json"
        )
        listed = f"pictures of {self._annotations.path}"
        require_files(self._folder, self._annotations.names.tolist(), listed)
        self._pictures = _chosen(self._annotations, crowd == "object", empty, max_objects)
        if not len(self._pictures):
            raise DataError(
                f"no picture of {self._annotations.path} is left with empty {empty!r} and "
                f"max_objects {max_objects}"
            )

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {self._folder}: there are {len(self)}")
        picture = int(self._pictures[index])
        path = self._folder / str(self._annotations.names[picture])
        pixels = read_picture(path)
        sample = sample_of(path.stem, [pixels], [f"its picture {path}"], None)
        if self._masks:
            sample = with_maps(sample, self._maps(picture, path, pixels.shape[:2]))
        return self._framing(sample)

    def _maps(self, picture: int, path: Path, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
        annotations = self._annotations
        stated = int(annotations.heights[picture]), int(annotations.widths[picture])
        if shape != stated:
            raise DataError(
                f"picture {path} is {size_of(shape)}, but {annotations.path} says {size_of(stated)}"
            )
        maps = self._policy.paint(annotations.regions(picture), stated)
        return {name: pixels[None] for name, pixels in maps.items()}


def _picture_folder(root: Path, name: str) -> Path:
    for folder in (root / "images" / name, root / name):
        if folder.is_dir():
            return folder
    raise DataError(f"root {root} of coco holds neither images/{name} nor {name}")


def _chosen(
    annotations: CocoAnnotations, crowds: bool, empty: Empty, max_objects: int | None
) -> np.ndarray:
    """int64 [N]: which pictures the policies leave."""
    objects = annotations.num_objects(crowds)
    kept = np.ones(len(objects), dtype=bool)
    if empty == "drop_unannotated":
        kept &= annotations.num_annotations > 0
    elif empty == "drop_without_objects":
        kept &= objects > 0
    if max_objects is not None:
        kept &= objects <= max_objects
    return np.flatnonzero(kept)
