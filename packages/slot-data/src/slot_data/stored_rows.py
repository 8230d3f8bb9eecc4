"""A row of a prepared folder: one picture, or one whole video, in columns of Hugging Face
`datasets`.

    id                     of the sample; of a video, that of the clip at its beginning
    clip_ids               of videos: for each frame, the id of the clip that begins with it
    height, width          in pixels
    video                  one picture per frame (`Image`), or bare pixels [3 H W] (`binary`)
    labels, class_labels   one mask per frame, likewise
    void, overlap          likewise
    depth, flow            per frame, little-endian float32 [H W] and [2 H W]
    scenario, outcome      as they are

A column is there if a sample of any split has such an entry, and null where one has not.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from slot_data.encodings import FLOATS, Encoding, frames_of, map_of
from slot_data.sample import PIXEL_MAPS, DataError, Sample

if TYPE_CHECKING:
    from datasets import Features

Row = dict[str, Any]
PIXELS = ("video", *PIXEL_MAPS)
SCALARS = ("scenario", "outcome")


def require_datasets() -> None:
    """Raises DataError where Hugging Face's `datasets` is not installed."""
    if importlib.util.find_spec("datasets") is None:
        raise DataError(
            "prepared folders are read and written through Hugging Face datasets, which is not "
            "installed; it comes with pip install 'slot-data[prepare]'"
        )


def features_of(keys: Iterable[str], videos: bool, encoding: Encoding) -> Features:
    """The columns for samples with these keys."""
    from datasets import Features, Image, List, Value

    columns: dict[str, Any] = {"id": Value("string")}
    if videos:
        columns["clip_ids"] = List(Value("string"))
    columns |= {"height": Value("int32"), "width": Value("int32")}
    present = set(keys)
    for name in PIXELS:
        how = encoding.pictures if name == "video" else encoding.masks
        bare = name in FLOATS or how == "raw"
        if name in present:
            columns[name] = List(Value("binary") if bare else Image())
    kinds = {"scenario": "string", "outcome": "bool"}
    columns |= {name: Value(kinds[name]) for name in SCALARS if name in present}
    return Features(columns)


def digest(rows: Iterable[Row]) -> str:
    """sha256 of what is in rows, in their order."""
    whole = hashlib.sha256()
    for row in rows:
        for name in sorted(row):
            value = row[name]
            parts = value if name in PIXELS else [repr(value).encode()]
            whole.update(f"{name} {len(parts)} ".encode())
            for part in parts:
                whole.update(len(part).to_bytes(8, "little"))
                whole.update(part)
    return whole.hexdigest()


def sample_of_row(
    row: Mapping[str, Any],
    frames: range,
    encoding: Encoding,
    left: Sequence[str] = (),
) -> Sample:
    """Some frames of a row, whose columns of pixels hold bytes, or {"bytes": ...} as `datasets`
    gives undecoded images. left: keys that the sample shall not have.

    Raises DataError if one of them cannot be decoded.
    """
    clip_ids = row.get("clip_ids")
    identity = clip_ids[frames.start] if clip_ids else row["id"]
    size = row["height"], row["width"]
    sample: dict[str, Any] = {}
    for name in PIXELS:
        pieces = None if name in left else row.get(name)
        if pieces is None:
            continue
        chosen = [_bytes(pieces[frame]) for frame in frames]
        if name == "video":
            sample[name] = frames_of(chosen, encoding.pictures == "raw", size, identity)
            sample["id"] = identity
        else:
            sample[name] = map_of(name, chosen, encoding.masks, size, identity)
    for name in SCALARS:
        if name not in left and row.get(name) is not None:
            sample[name] = row[name]
    return cast(Sample, sample)


def _bytes(piece: Any) -> bytes:
    return piece if isinstance(piece, bytes) else piece["bytes"]
