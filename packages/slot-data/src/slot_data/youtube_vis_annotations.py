"""What an annotation file of YouTube-VIS says about the objects of its videos, in arrays.

It is JSON in the manner of COCO: `videos` with the names of their frames, and for each annotation
one region per frame, null where the object is not to be seen. Regions are run lengths, plain or
compressed; some copies hold polygons. As Python objects they would take gigabytes, in every loader
worker anew, so they lie in a few NumPy arrays (see `coco_annotations`).
"""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from slot_data.annotation_json import AnnotationJson, Entry, number_of
from slot_data.index_cache import cached_arrays
from slot_data.region_policies import Region
from slot_data.regions import fill, runs_of_polygon, runs_of_text
from slot_data.sample import DataError

KIND = "youtube-vis-1"  # of index: to be raised when the arrays change
VIDEO = {"id": int, "file_names": list, "height": int, "width": int}


@dataclass(frozen=True)
class VideoAnnotations:
    """Row i of heights and widths is video i, in the file's order; the paths of its frames are
    files[first_file[i] : first_file[i + 1]], and its annotations those from first[i] to
    first[i + 1].

    annotated: bool [1]: whether the file has annotations at all.
    spans[first_span[a] + t] is where the run lengths of annotation a in frame t lie in `runs`, of
    length 0 where it is not to be seen.
    """

    path: Path
    files: np.ndarray
    first_file: np.ndarray
    heights: np.ndarray
    widths: np.ndarray
    annotated: np.ndarray
    first: np.ndarray
    ids: np.ndarray
    kinds: np.ndarray
    crowd: np.ndarray
    first_span: np.ndarray
    spans: np.ndarray
    runs: np.ndarray

    def regions(self, video: int, frame: int) -> Iterator[Region]:
        """Those in one frame, in the file's order. Raises DataError where run lengths do not fit
        the video."""
        height, width = int(self.heights[video]), int(self.widths[video])
        for number, annotation in enumerate(range(self.first[video], self.first[video + 1]), 1):
            start, stop = self.spans[self.first_span[annotation] + frame]
            if start == stop:
                continue
            try:
                inside = fill(self.runs[start:stop].astype(np.int64), height, width)
            except DataError as error:
                raise DataError(
                    f"annotation {self.ids[annotation]} of {self.path}: {error}"
                ) from error
            yield Region(number, int(self.kinds[annotation]), bool(self.crowd[annotation]), inside)


def read_video_annotations(path: Path) -> VideoAnnotations:
    """Raises DataError if the file is missing, is no JSON, lacks a key, or holds a region of
    another form."""
    return VideoAnnotations(path=path, **cached_arrays(path, KIND, lambda: _arrays(path)))


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """The fields of `VideoAnnotations`, by their names."""
    content = AnnotationJson(path, "videos", VIDEO, "the annotations of YouTube-VIS")
    videos = content.owners
    files: list[str] = []
    for number, video in enumerate(videos):
        if not video["file_names"] or min(video["height"], video["width"]) < 1:
            raise DataError(f"video {number} of {path} has no frames, or none of any size")
        if not all(isinstance(name, str) for name in video["file_names"]):
            raise DataError(f"video {number} of {path} has file_names that are not all texts")
        files += video["file_names"]
    annotations = content.annotations("video_id") if content.annotated else []
    spans, runs = array("q"), array("i")
    for place, annotation in annotations:
        for region in _regions(path, annotation, videos[place]):
            start = len(runs)
            runs.extend(region)
            spans.extend((start, len(runs)))
    lengths = np.array([len(video["file_names"]) for video in videos], dtype=np.int64)
    owners = np.array([place for place, _ in annotations], dtype=np.int64)
    entries = [annotation for _, annotation in annotations]
    return {
        "files": np.array(files, dtype=str),
        "first_file": np.concatenate([[0], np.cumsum(lengths)]),
        "heights": np.array([video["height"] for video in videos], dtype=np.int64),
        "widths": np.array([video["width"] for video in videos], dtype=np.int64),
        "annotated": np.array([content.annotated]),
        "first": np.searchsorted(owners, np.arange(len(videos) + 1)),
        "ids": np.array([number_of(entry) for entry in entries], dtype=np.int64),
        "kinds": np.array([content.kinds[e["category_id"]] for e in entries], dtype=np.int16),
        "crowd": np.array([bool(entry.get("iscrowd")) for entry in entries], dtype=bool),
        "first_span": np.concatenate([[0], np.cumsum(lengths[owners])]),
        "spans": np.array(spans, dtype=np.int64).reshape(-1, 2),
        "runs": np.array(runs, dtype=np.int32),
    }


def _regions(path: Path, annotation: Entry, video: Entry) -> Iterator[list[int]]:
    """Run lengths for each frame; none where the object is not to be seen."""
    name = f"annotation {annotation.get('id')} of {path}"
    regions = annotation.get("segmentations")
    if not isinstance(regions, list) or len(regions) != len(video["file_names"]):
        count = f"{len(regions)} segmentations" if isinstance(regions, list) else "no segmentations"
        raise DataError(f"{name} has {count}; expected {len(video['file_names'])}, one per frame")
    for frame, region in enumerate(regions):
        try:
            yield [] if region is None else _runs(region, video["height"], video["width"])
        except (DataError, TypeError, ValueError, OverflowError) as error:
            raise DataError(f"{name}, frame {frame}: {error}") from error


def _runs(region: object, height: int, width: int) -> list[int]:
    """Raises DataError, or what NumPy raises, for what is no region."""
    if isinstance(region, list):
        inside = np.zeros((height, width), dtype=bool)
        for polygon in region:
            points = np.array(polygon, dtype=np.float64).reshape(-1, 2)
            inside |= fill(runs_of_polygon(points, height, width), height, width)
        return _runs_of(inside)
    if not isinstance(region, dict) or not {"size", "counts"} <= set(region):
        raise DataError("is neither null nor run lengths nor polygons")
    if region["size"] != [height, width]:
        raise DataError(f"is of size {region['size']}; expected {[height, width]}, as its video")
    counts = region["counts"]
    runs = runs_of_text(counts) if isinstance(counts, str) else np.array(counts, dtype=np.int64)
    if runs.ndim != 1 or (runs.size and not 0 <= int(runs.min()) <= int(runs.max()) < 2**31):
        raise DataError("has run lengths that are no numbers from 0 on")
    return runs.tolist()


def _runs_of(inside: np.ndarray) -> list[int]:
    """Of a bool [H W]: down its columns, outside first."""
    pixels = inside.T.reshape(-1)
    edges = (np.flatnonzero(np.diff(pixels)) + 1).tolist()
    first = [0] if pixels[0] else []
    return np.diff([0, *first, *edges, len(pixels)]).tolist()
