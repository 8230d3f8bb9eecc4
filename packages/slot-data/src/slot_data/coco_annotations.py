"""What a COCO annotation file says about instances, in arrays.

The file of the training pictures holds 860,000 regions. As Python objects they would take
gigabytes, and again in every loader worker, since counting references writes to the pages that the
workers share. Here they lie in a few NumPy arrays, and a region becomes a mask when it is asked
for.
"""

import json
from array import array
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from slot_data.regions import fill, runs_of_polygon, runs_of_text
from slot_data.sample import DataError


@dataclass(frozen=True)
class Region:
    """One annotation. number: its place among those of its picture in the file, from 1, also
    counting those that are marked to be ignored. kind: 1 for the category with the smallest id, and
    so on. inside: bool [H W]."""

    number: int
    kind: int
    crowd: bool
    inside: np.ndarray


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
    content = _json(path)
    images = [_keys(path, f"image {n}", image) for n, image in enumerate(content["images"])]
    known = {image["id"]: n for n, image in enumerate(images)}
    if len(known) < len(images):
        raise DataError(f"{path} lists two images of the same id")
    kinds = {
        category: n for n, category in enumerate(sorted(c["id"] for c in content["categories"]), 1)
    }
    by_image: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for annotation in content["annotations"]:
        name = f"annotation {annotation.get('id')}"
        if annotation.get("image_id") not in known:
            raise DataError(
                f"{name} of {path} belongs to image {annotation.get('image_id')}, which the file "
                "does not list"
            )
        if annotation.get("category_id") not in kinds:
            raise DataError(
                f"{name} of {path} has category {annotation.get('category_id')}, which the file "
                "does not list"
            )
        by_image[known[annotation["image_id"]]].append(annotation)

    ordered = [annotation for n in range(len(images)) for annotation in by_image[n]]
    values, outlines, first_outline = array("d"), array("q"), array("q", [0])
    for annotation in ordered:
        image = images[known[annotation["image_id"]]]
        for outline in _outlines(path, annotation, image):
            start = len(values)
            try:
                values.extend(outline)
            except TypeError:
                raise DataError(
                    f"annotation {annotation.get('id')} of {path} holds what is no number"
                ) from None
            outlines.extend((start, len(values)))
        first_outline.append(len(outlines) // 2)
    return CocoAnnotations(
        path=path,
        names=np.array([image["file_name"] for image in images], dtype=str),
        heights=np.array([image["height"] for image in images], dtype=np.int64),
        widths=np.array([image["width"] for image in images], dtype=np.int64),
        first=np.cumsum([0, *(len(by_image[n]) for n in range(len(images)))]),
        ids=np.array([a.get("id", -1) for a in ordered], dtype=np.int64),
        kinds=np.array(
            [kinds[annotation["category_id"]] for annotation in ordered], dtype=np.int16
        ),
        crowd=np.array([bool(a.get("iscrowd")) for a in ordered], dtype=bool),
        ignored=np.array([bool(a.get("ignore")) for a in ordered], dtype=bool),
        runs=np.array([isinstance(a["segmentation"], dict) for a in ordered], dtype=bool),
        first_outline=np.array(first_outline),
        outlines=np.array(outlines).reshape(-1, 2),
        values=np.array(values),
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"{path} is missing: expected COCO's annotations of instances") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as JSON: {error}") from error
    for key in ("images", "annotations", "categories"):
        entries = content.get(key) if isinstance(content, dict) else None
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise DataError(f"{path} holds no list {key!r} of entries: expected COCO's annotations")
    return content


def _keys(path: Path, name: str, image: dict[str, Any]) -> dict[str, Any]:
    for key in ("id", "file_name", "height", "width"):
        if key not in image:
            raise DataError(f"{name} of {path} has no {key!r}")
    return image


def _outlines(path: Path, annotation: dict[str, Any], image: dict[str, Any]) -> list[Any]:
    """Coordinates or run lengths of each outline; that they are numbers is not yet known."""
    name = f"annotation {annotation.get('id')} of {path}"
    region = annotation.get("segmentation")
    if isinstance(region, dict) and {"size", "counts"} <= set(region):
        if list(region["size"]) != [image["height"], image["width"]]:
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
