"""From regions that may overlap to one label per pixel, by named policies.

Annotated objects overlap, and some regions are crowds of things nobody told apart. Published codes
treat both in other ways, so both are options of the datasets that have regions. Labels are one
number per pixel: where objects overlap, one of them has the pixel, and `overlap` marks it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

Crowd = Literal["drop", "object", "void"]
Overlap = Literal["last", "first", "highest_class"]


@dataclass(frozen=True)
class Region:
    """One annotated object in one picture. number: its place among those of its picture or video
    in the file, from 1, also counting those that are marked to be ignored. kind: 1 for the category
    with the smallest id, and so on. inside: bool [H W]."""

    number: int
    kind: int
    crowd: bool
    inside: np.ndarray


@dataclass(frozen=True)
class RegionPolicy:
    """crowd: regions of many things are background ("drop"), one object each ("object"), or pixels
        to leave out of scores where no object covers them ("void").
    overlap: which object has a pixel that several cover: the last in the file, the first, or the
        last one of the class with the highest number.
    """

    crowd: Crowd = "drop"
    overlap: Overlap = "last"

    def paint(self, regions: Iterable[Region], shape: tuple[int, int]) -> dict[str, np.ndarray]:
        """labels, class_labels (int32), overlap and, where crowds are void, void (bool), each
        [H W]."""
        labels, kinds, covers = (np.zeros(shape, dtype=np.int32) for _ in range(3))
        crowds = np.zeros(shape, dtype=bool)
        for region in regions:
            if region.crowd and self.crowd != "object":
                crowds |= region.inside
                continue
            covers += region.inside
            taken = region.inside
            if self.overlap == "first":
                taken = taken & (labels == 0)
            elif self.overlap == "highest_class":
                taken = taken & (region.kind >= kinds)
            labels[taken], kinds[taken] = region.number, region.kind
        maps = {"labels": labels, "class_labels": kinds, "overlap": covers > 1}
        if self.crowd == "void":
            maps["void"] = crowds & (covers == 0)
        return maps
