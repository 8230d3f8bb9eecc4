"""What a prepared folder says of itself, in `prepared.json`: which dataset it was made from and
how, what is in each split and in each of its files, their checksums, and what was left out.

    prepared.json
    README.md                       the same for people and for the Hugging Face Hub
    data/<split>-<number>.parquet   see `stored_rows` for the columns
    index/<split>-<number>.npz      where in it each picture lies, see `piece_index`
    cache/<split>-<map>.npy         see `pixel_cache`
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from slot_data.encodings import Encoding
from slot_data.json_files import parse_json, shown
from slot_data.sample import DataError

MANIFEST = "prepared.json"
FORMAT = 2
BLOCK = 2**20


@dataclass(frozen=True)
class Shard:
    """One Parquet file and its index; both without a name where no row is left. first, stop: which
    of the dataset's pictures or videos it holds, but for those of `left_out`: (what, why). objects:
    number of objects -> how many have so many. sha256: of the file. content: of what is in it,
    whatever wrote the file."""

    file: str
    index: str
    first: int
    stop: int
    rows: int
    frames: int
    bytes: int
    sha256: str
    index_sha256: str
    content: str
    objects: Mapping[int, int]
    left_out: list[tuple[str, str]]


@dataclass(frozen=True)
class Split:
    """options: of the dataset, as they were when it was read. framing: what was done to its pixels
    before they were written; None where they are as in its files. keys: those of a sample."""

    options: Mapping[str, Any]
    framing: Mapping[str, Any] | None
    keys: list[str]
    shards: list[Shard] = field(default_factory=list)
    cache: Mapping[str, str] = field(default_factory=dict)  # file -> its sha256

    @property
    def fixed(self) -> dict[str, Any]:
        """What was decided when it was written, by the names of the dataset's options."""
        return {**self.options, **(self.framing or {})}

    @property
    def rows(self) -> int:
        return sum(shard.rows for shard in self.shards)

    @property
    def checksums(self) -> dict[str, str]:
        """File -> its sha256, of all that belong to the split."""
        shards = [shard for shard in self.shards if shard.rows]
        files = {shard.file: shard.sha256 for shard in shards}
        return {**files, **{shard.index: shard.index_sha256 for shard in shards}, **self.cache}

    @property
    def frames(self) -> int:
        return sum(shard.frames for shard in self.shards)

    @property
    def bytes(self) -> int:
        return sum(shard.bytes for shard in self.shards)

    @property
    def objects(self) -> Counter[int]:
        found: Counter[int] = Counter()
        for shard in self.shards:
            found.update(shard.objects)
        return found

    @property
    def left_out(self) -> list[tuple[str, str]]:
        return [entry for shard in self.shards for entry in shard.left_out]


@dataclass(frozen=True)
class Manifest:
    """dataset: its name in the catalogue. videos: whether rows are whole videos, of which samples
    are clips, or each row is a sample. preset: that it was prepared with. source: sha256 of the
    path of what it was made from, which tells sources apart and names no folder; None where the
    folder does not say."""

    dataset: str
    videos: bool
    preset: str | None
    encoding: Encoding
    splits: Mapping[str, Split]
    source: str | None = None

    @property
    def hash(self) -> str:
        """Of everything that decides what its samples are."""
        said = asdict(self)
        del said["source"]
        for split in said["splits"].values():
            split["shards"] = [[shard["content"], shard["left_out"]] for shard in split["shards"]]
            del split["cache"]
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

    @property
    def made(self) -> dict[str, Any]:
        """How it was made, without what came out."""
        said = asdict(self)
        for split in said["splits"].values():
            del split["shards"], split["cache"]
        return said

    @property
    def most_objects(self) -> int | None:
        """In one picture or video; None where nobody can count them."""
        found = [max(split.objects) for split in self.splits.values() if split.objects]
        return max(found, default=None)

    def write(self, folder: Path) -> None:
        said = {"format": FORMAT, "hash": self.hash, **asdict(self)}
        write_whole(folder / MANIFEST, json.dumps(said, indent=1).encode())


def hub_split(split: str) -> str:
    """What a split is called in `datasets`, where "all" stands for the union of all others."""
    return "whole" if split == "all" else split


def is_prepared(folder: Path) -> bool:
    return (folder / MANIFEST).is_file()


def read_manifest(folder: Path) -> Manifest:
    """Raises DataError if the folder holds none, or one that cannot be read."""
    path = folder / MANIFEST
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    return manifest_from(content, path)


def manifest_from(content: bytes, path: Path | str) -> Manifest:
    """Raises DataError, naming the file, if that is none."""
    try:
        said = parse_json(content, path)
        if said["format"] != FORMAT:
            raise DataError(
                f"{path} has the format {said['format']}; expected {FORMAT}: prepare it again"
            )
        said = {"source": None, **said}
        _typed(said, {"format": int, "dataset": str, "videos": bool, "preset": str | None,
                      "splits": dict, "encoding": dict, "source": str | None,
                      "hash": str})  # fmt: skip
        splits = {name: _split(entry) for name, entry in said["splits"].items()}
        encoding = Encoding(**said["encoding"])
        manifest = Manifest(
            said["dataset"], said["videos"], said["preset"], encoding, splits, said["source"]
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} is damaged: {shown(str(error), 200)}") from error
    if manifest.hash != said["hash"]:
        raise DataError(f"{path} is damaged: it does not fit the hash that it states")
    return manifest


def shard_of(entry: Mapping[str, Any]) -> Shard:
    """From JSON, whose keys are texts. Raises ValueError, KeyError or TypeError where it is none,
    or names a file anywhere else than where such files lie."""
    numbers = ("first", "stop", "rows", "frames", "bytes")
    texts = ("file", "index", "sha256", "index_sha256", "content")
    _typed(entry, {**dict.fromkeys(numbers, int), **dict.fromkeys(texts, str), "objects": dict,
                   "left_out": list})  # fmt: skip
    objects = {int(number): count for number, count in entry["objects"].items()}
    left_out = [(str(what), str(why)) for what, why in entry["left_out"]]
    if min(*(entry[name] for name in numbers), *objects.values(), *objects) < 0:
        raise ValueError("a number is below 0")
    if entry["rows"] or entry["file"] or entry["index"]:
        _require_place(entry["file"], "data", ".parquet")
        _require_place(entry["index"], "index", ".npz")
    return Shard(**{**entry, "objects": objects, "left_out": left_out})


def file_hash(path: Path) -> str:
    """sha256 of a file. Raises DataError if it cannot be read."""
    found = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                found.update(block)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    return found.hexdigest()


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file so that it is never there in part."""
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(content)
    part.replace(path)


def _split(entry: Mapping[str, Any]) -> Split:
    _typed(entry, {"options": dict, "framing": dict | None, "keys": list, "shards": list,
                   "cache": dict})  # fmt: skip
    for name in entry["cache"]:
        _require_place(name, "cache", ".npy")
    return Split(**{**entry, "shards": [shard_of(shard) for shard in entry["shards"]]})


def _typed(entry: Any, kinds: Mapping[str, Any]) -> Mapping[str, Any]:
    """The entry. Raises ValueError unless it maps these keys to values of their kinds."""
    if not isinstance(entry, Mapping) or entry.keys() != kinds.keys():
        raise ValueError(f"expected a mapping of {', '.join(kinds)}")
    for key, kind in kinds.items():
        if not isinstance(entry[key], kind) or (kind is int and isinstance(entry[key], bool)):
            raise ValueError(f"{key} is {shown(entry[key])}")
    return entry


def _require_place(name: str, folder: str, suffix: str) -> None:
    """Raises ValueError for the name of a file that does not lie right in `folder`."""
    if not re.fullmatch(rf"{folder}/[^/\\\x00-\x1f]+{re.escape(suffix)}", name):
        raise ValueError(f"{name!r} is no name of a file in {folder}/")
