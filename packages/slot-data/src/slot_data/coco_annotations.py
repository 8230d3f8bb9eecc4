"""What a COCO annotation file says about instances, in arrays.

The file of the training pictures holds 860,000 regions. As Python objects they would take
gigabytes, and again in every loader worker, since counting references writes to the pages that the
workers share. Here they lie in a few NumPy arrays, and a region becomes a mask when it is asked
for.
"""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from slot_data.annotation_json import AnnotationJson, number_of
from slot_data.index_cache import cached_arrays
from slot_data.region_policies import Region
from slot_data.regions import fill, runs_of_polygon, runs_of_text
from slot_data.sample import DataError

KIND = "coco-1"  # of index: to be raised when the arrays change
IMAGE = {"id": int, "file_name": str, "height": int, "width": int}


@dataclass(frozen=True)
class CocoAnnotations:
    """Row i of the first four is picture i, in the file's order; its annotations are those from
    first[i] to first[i + 1], in theirs.

    outlines[first_outline[a] : first_outline[a + 1]] are the outlines of annotation a, each a slice
    of `values`: the coordinates x, y, x, y, ... of a polygon, or run lengths where `runs[a]`.
    """

    path: Path
    names: np.ndarray
    heights: np.ndarray
    widths: np.ndarray
    first: np.ndarray
    ids: np.ndarray
    kinds: np.ndarray
    crowd: np.ndarray
    ignored: np.ndarray
    runs: np.ndarray
    first_outline: np.ndarray
    outlines: np.ndarray
    values: np.ndarray

    @property
    def num_annotations(self) -> np.ndarray:
        """int64 [pictures], with crowds and what is marked to be ignored."""
        return np.diff(self.first)

    def num_objects(self, crowds: bool) -> np.ndarray:
        """int64 [pictures], with or without crowds."""
        counted = ~self.ignored & (crowds | ~self.crowd)
        return np.diff(np.concatenate([[0], np.cumsum(counted)])[self.first])

    def regions(self, picture: int) -> Iterator[Region]:
        """Those of one picture, in the file's order. Raises DataError where run lengths do not fit
        the picture."""
        start, stop = self.first[picture], self.first[picture + 1]
        for number, annotation in enumerate(range(start, stop), 1):
            if not self.ignored[annotation]:
                yield Region(
                    number,
                    int(self.kinds[annotation]),
                    bool(self.crowd[annotation]),
                    self._inside(annotation, int(self.heights[picture]), int(self.widths[picture])),
                )

    def _inside(self, annotation: int, height: int, width: int) -> np.ndarray:
        inside = np.zeros((height, width), dtype=bool)
        for outline in range(self.first_outline[annotation], self.first_outline[annotation + 1]):
            values = self.values[slice(*self.outlines[outline])]
            if self.runs[annotation]:
                runs = values.astype(np.int64)
            else:
                runs = runs_of_polygon(values.reshape(-1, 2), height, width)
            try:
                inside |= fill(runs, height, width)
            except DataError as error:
                raise DataError(
                    f"annotation {self.ids[annotation]} of {self.path}: {error}"
                ) from error
        return inside


def read_annotations(path: Path) -> CocoAnnotations:
    """Raises DataError if the file is missing, is no JSON, lacks a key, or holds a region that is
    neither polygons nor run lengths."""
    return CocoAnnotations(path=path, **cached_arrays(path, KIND, lambda: _arrays(path)))


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """The fields of `CocoAnnotations`, by their names."""
    content = AnnotationJson(path, "images", IMAGE, "COCO's annotations of instances")
    images, annotations = content.owners, content.annotations("image_id")
    values, outlines, first_outline = array("d"), array("q"), array("q", [0])
    for place, annotation in annotations:
        for outline in _outlines(path, annotation, images[place]):
            start = len(values)
            try:
                values.extend(outline)
            except TypeError:
                raise DataError(
                    f"annotation {annotation.get('id')} of {path} holds what is no number"
                ) from None
            outlines.extend((start, len(values)))
        first_outline.append(len(outlines) // 2)
    ordered = [annotation for _, annotation in annotations]
    return {
        "names": np.array([image["file_name"] for image in images], dtype=str),
        "heights": np.array([image["height"] for image in images], dtype=np.int64),
        "widths": np.array([image["width"] for image in images], dtype=np.int64),
        "first": np.searchsorted([n for n, _ in annotations], np.arange(len(images) + 1)),
        "ids": np.array([number_of(a) for a in ordered], dtype=np.int64),
        "kinds": np.array([content.kinds[a["category_id"]] for a in ordered], dtype=np.int16),
        "crowd": np.array([bool(a.get("iscrowd")) for a in ordered], dtype=bool),
        "ignored": np.array([bool(a.get("ignore")) for a in ordered], dtype=bool),
        "runs": np.array([isinstance(a["segmentation"], dict) for a in ordered], dtype=bool),
        "first_outline": np.array(first_outline),
        "outlines": np.array(outlines).reshape(-1, 2),
        "values": np.array(values),
    }


def _outlines(path: Path, annotation: dict[str, Any], image: dict[str, Any]) -> list[Any]:
    """Coordinates or run lengths of each outline; that they are numbers is not yet known."""
    name = f"annotation {annotation.get('id')} of {path}"
    region = annotation.get("segmentation")
    if isinstance(region, dict) and {"size", "counts"} <= set(region):
        if region["size"] != [image["height"], image["width"]]:
            raise DataError(
                f"{name} is of size {region['size']}, but its image of "
                f"{[image['height'], image['width']]} (height, width)"
            )
        counts = region["counts"]
        try:
            return [runs_of_text(counts) if isinstance(counts, str) else counts]
        except DataError as error:
            raise DataError(f"{name}: {error}") from error
    if not isinstance(region, list) or not region:
        raise DataError(f"{name} has no segmentation: expected polygons or run lengths")
    for polygon in region:
        if not isinstance(polygon, list) or len(polygon) < 4 or len(polygon) % 2:
            raise DataError(f"{name} has a polygon that is no list of x, y, x, y, ...")
    return region
