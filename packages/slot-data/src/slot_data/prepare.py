"""Any dataset of the catalogue, read once from its files, as a folder that is read fast, streams,
and goes to the Hugging Face Hub as it is: see `manifest` for its files.

A run that was killed goes on after the last whole file (see `shards`); the result is the same to
the bit, since which pictures share a file depends on their sizes alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader

from slot_data import catalog
from slot_data.dataset_card import dataset_card
from slot_data.encodings import Encoding
from slot_data.file_lists import missing_files_found_later
from slot_data.framing import UNFRAMED
from slot_data.json_files import read_json
from slot_data.manifest import Manifest, Split, file_hash, is_prepared, read_manifest, write_whole
from slot_data.options import allowed_options
from slot_data.pixel_cache import write_cache
from slot_data.prepared import CLIP_OPTIONS, FRAMING_OPTIONS, SHORT, plain
from slot_data.presets import preset_of
from slot_data.sample import DataError
from slot_data.shards import STATE, ShardWriter, read_rows, writing_to
from slot_data.source_rows import Reading, SourceRows
from slot_data.stored_rows import features_of, require_datasets

TRIED = 3  # rows of each split that the estimate is made from
SHARD_BYTES = 128 * 2**20


@dataclass(frozen=True)
class Plan:
    """What is to be made.

    source: the raw files, as `root` of the dataset. origin: what they were unpacked from, if so.
    options: of the dataset, without `root`. Those of framing are carried out before writing, if
        one is given, here or by the preset; those of clips, and `relabel` of videos, are for
        reading.
    shard_bytes: of pixels, after which a file is closed.
    workers: processes that read and encode; 0 is this one.
    skip_broken: leave out, and list, what cannot be read, instead of stopping there.
    cache: also write the pixels of each split so that they can be mapped into memory.
    """

    dataset: str
    source: Path
    out: Path
    splits: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    preset: str | None = None
    encoding: Encoding = field(default_factory=Encoding)
    shard_bytes: int = SHARD_BYTES
    workers: int = 0
    skip_broken: bool = False
    cache: bool = False
    origin: Path | None = None

    @property
    def source_hash(self) -> str:
        """As a manifest states where its rows are from."""
        path = (self.origin or self.source).absolute()
        return hashlib.sha256(os.fsencode(path)).hexdigest()

    def options_of(self, split: str) -> dict[str, Any]:
        of_preset = preset_of(self.dataset, self.preset).options_of(split) if self.preset else {}
        return {**of_preset, **self.options}

    def is_framed(self, split: str) -> bool:
        framing = set(FRAMING_OPTIONS) - {"relabel"}
        return bool(framing & set(self.options_of(split)))


class Preparation:
    """Opens the dataset and tries a few rows; `run` does the work, and `finish` writes the cards.

    rows: number of pictures or videos of each split. bytes, seconds: about how large the folder
    becomes, and how long that takes with the plan's workers.

    Raises DataError if the dataset cannot be opened, nothing of a split can be read, or the folder
    holds something else.
    """

    def __init__(self, plan: Plan) -> None:
        require_datasets()
        self.plan = plan
        self._sources = {split: _opened(plan, split) for split in plan.splits}
        self.rows = {split: len(source) for split, source in self._sources.items()}
        videos = any(source.videos for source in self._sources.values())
        self.bytes, self.seconds = 0, 0.0
        splits = {}
        for name, source in self._sources.items():
            first = self._try(name, source)
            keys = [key for key in first.row or () if key not in ("height", "width", "clip_ids")]
            pictures = getattr(source.dataset, "of_pictures", False)
            options = _stated_options(plan, name, videos, pictures)
            splits[name] = Split(options, _stated_framing(plan, name), keys)
        self._empty = Manifest(
            plan.dataset, videos, plan.preset, plan.encoding, splits, plan.source_hash
        )
        self._require_place()
        self._writers = self._begun()

    @property
    def videos(self) -> bool:
        return self._empty.videos

    @property
    def num_rows(self) -> int:
        return sum(self.rows.values())

    @property
    def num_done(self) -> int:
        """Pictures and videos that earlier runs have written."""
        return sum(writer.next for writer in self._writers.values())

    def run(self) -> Iterator[None]:
        """Writes what is missing, and yields once for each picture or video. Raises DataError where
        one cannot be read (unless these are left out) or the disk is full."""
        for name, writer in self._writers.items():
            rows = range(writer.next, self.rows[name])
            readings = DataLoader(
                self._sources[name],
                batch_size=None,
                sampler=rows,
                num_workers=min(self.plan.workers, len(rows)),
                collate_fn=_as_it_is,
            )
            for reading in readings:
                if reading.fault and not self.plan.skip_broken:
                    raise DataError(f"{reading.fault} (--skip-broken leaves such samples out)")
                writer.add(reading)
                yield
            writer.close()

    def finish(self) -> Manifest:
        """Writes the cache and the cards. Raises DataError for a cache of several sizes."""
        splits = {
            name: replace(split, shards=self._writers[name].shards)
            for name, split in self._empty.splits.items()
        }
        manifest = _finished(replace(self._empty, splits=splits), self.plan)
        shutil.rmtree(self.plan.out / STATE, ignore_errors=True)
        return manifest

    def _try(self, name: str, source: SourceRows) -> Reading:
        """The first row that can be read; adds to the estimate."""
        start, tried = time.perf_counter(), []
        for row in range(len(source)):
            reading = source[row]
            if reading.fault and not self.plan.skip_broken:
                raise DataError(f"{reading.fault} (--skip-broken leaves such samples out)")
            if not reading.fault:
                tried.append(reading)
            if len(tried) == TRIED:
                break
        if not tried:
            raise DataError(f"nothing of split {name!r} in {self.plan.source} can be read")
        share = len(source) / len(tried)
        size = sum(reading.bytes for reading in tried)
        if self.plan.cache:
            size += sum(reading.pixels for reading in tried)
        self.bytes += round(share * size)
        spent = time.perf_counter() - start
        self.seconds += share * spent / max(1, self.plan.workers)
        return tried[0]

    def _require_place(self) -> None:
        """Raises DataError if the folder holds something else than the beginning of this."""
        out = self.plan.out
        begun = out / STATE / "plan.json"
        if begun.is_file():
            if read_json(begun) != self._stated():
                raise DataError(
                    f"{out} holds the beginning of another preparation; name another folder by "
                    "--out, or delete it"
                )
        elif out.exists() and (not out.is_dir() or any(p.name != STATE for p in out.iterdir())):
            raise DataError(f"{out} is there and not empty; name a new folder by --out")

    def _begun(self) -> dict[str, ShardWriter]:
        """Raises DataError if the disk has too little room."""
        plan = self.plan
        with writing_to(plan.out):
            (plan.out / STATE).mkdir(parents=True, exist_ok=True)
            for name in ("data", "index"):
                (plan.out / name).mkdir(exist_ok=True)
            write_whole(plan.out / STATE / "plan.json", json.dumps(self._stated()).encode())
            free = shutil.disk_usage(plan.out).free
        keys = {key for split in self._empty.splits.values() for key in split.keys}
        features = features_of(keys, self._empty.videos, plan.encoding)
        writers = {
            split: ShardWriter(plan.out, split, features, plan.shard_bytes) for split in plan.splits
        }
        left = 1 - sum(writer.next for writer in writers.values()) / self.num_rows
        if self.bytes * left > free:
            raise DataError(
                f"{plan.out} would need about {round(self.bytes * left):,} bytes; its disk has "
                f"{free:,}"
            )
        return writers

    def _stated(self) -> Any:
        """What two runs must have in common for one to go on where the other stopped."""
        return _as_json([self._empty.made, self.rows, self.plan.shard_bytes])


def complete(plan: Plan) -> Manifest | None:
    """What is in the folder, if it is whole and what the plan wants; a cache is added if it has
    none. Raises DataError if it was prepared in another way or from another source."""
    if not is_prepared(plan.out):
        return None
    there = read_manifest(plan.out)
    wanted = plan.dataset, plan.preset, plan.encoding, set(plan.splits)
    same = wanted == (there.dataset, there.preset, there.encoding, set(there.splits))
    if same:
        for name, split in there.splits.items():
            pictures = there.videos and "num_frames" in split.options
            same &= split.options == _stated_options(plan, name, there.videos, pictures)
            same &= split.framing == _stated_framing(plan, name)
    if not same:
        raise DataError(f"{plan.out} was prepared in another way; name another folder by --out")
    if there.source not in (None, plan.source_hash):
        raise DataError(
            f"{plan.out} was prepared from another source than {plan.source}; name that one by "
            "--source, or another folder by --out"
        )
    return _finished(there, plan)


def _finished(manifest: Manifest, plan: Plan) -> Manifest:
    """Writes what comes last, the manifest last of all."""
    out = plan.out
    with writing_to(out):
        if plan.cache:
            splits = {name: _cached(plan, name, split) for name, split in manifest.splits.items()}
            manifest = replace(manifest, splits=splits)
        card = dataset_card(catalog.card(manifest.dataset), manifest)
        write_whole(out / "README.md", card.encode())
        manifest.write(out)
    return manifest


def _cached(plan: Plan, name: str, split: Split) -> Split:
    if split.cache:
        return split
    out = plan.out
    rows = (row for shard in split.shards if shard.rows for row in read_rows(out / shard.file))
    paths = write_cache(out, name, rows, split.frames, plan.encoding)
    return replace(
        split, cache={path.relative_to(out).as_posix(): file_hash(path) for path in paths}
    )


def _opened(plan: Plan, split: str) -> SourceRows:
    options = plan.options_of(split)
    allowed = allowed_options(catalog.card(plan.dataset).loader)
    if set(CLIP_OPTIONS) <= set(allowed):
        options |= {"num_frames": _num_frames(plan, split), "stride": 1, "clips": "first"}
    if "root" in allowed:
        options["root"] = plan.source
    try:
        if plan.skip_broken:
            with missing_files_found_later():
                dataset = catalog.load_dataset_by_name(plan.dataset, split=split, **options)
        else:
            dataset = catalog.load_dataset_by_name(plan.dataset, split=split, **options)
    except DataError as error:
        raise DataError(f"split {split!r}: {error}") from error
    return SourceRows(dataset, plan.is_framed(split), plan.encoding)


def _num_frames(plan: Plan, split: str) -> int:
    """Whole videos are read; the number of frames matters only where one means pictures."""
    asked = plan.options_of(split).get("num_frames", 1) if plan.dataset == "folder" else 1
    return min(asked, 2)


def _stated_options(plan: Plan, split: str, videos: bool, pictures: bool) -> dict[str, Any]:
    """Those that decide which samples there are and what is in them. pictures: the number of frames
    is one of them, as of a `Folder` of pictures."""
    given = plan.options_of(split)
    others = {"root", *FRAMING_OPTIONS, *((*CLIP_OPTIONS, SHORT) if videos else ())}
    stated = {
        name: plain(given.get(name, parameter.default))
        for name, parameter in allowed_options(catalog.card(plan.dataset).loader).items()
        if name not in others
    }
    return {**stated, "num_frames": _num_frames(plan, split)} if pictures else stated


def _stated_framing(plan: Plan, split: str) -> dict[str, Any] | None:
    """What is done to pixels before they are written; None if nothing is."""
    if not plan.is_framed(split):
        return None
    own = getattr(catalog.card(plan.dataset).loader, "default_framing", UNFRAMED)
    given = plan.options_of(split)
    return asdict(replace(own, **{key: given[key] for key in FRAMING_OPTIONS if key in given}))


def _as_it_is(reading: Any) -> Any:
    return reading


def _as_json(value: Any) -> Any:
    return json.loads(json.dumps(value))
