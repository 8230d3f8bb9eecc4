"""`slot-data prepare`: what it asks for, what it says, and in which order it does things."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer

from slot_data import catalog
from slot_data.archives import archives_in, link_files, unpack
from slot_data.dataset_card import objects_in_words, suggested_slots
from slot_data.file_lists import require_links_inside
from slot_data.manifest import MANIFEST, Manifest
from slot_data.prepare import Plan, Preparation, complete
from slot_data.sample import DataError
from slot_data.shards import STATE, writing_to

LISTED = 20  # of what was left out


def prepare(plan: Plan, follow_links: bool) -> None:
    """Raises DataError for whatever the user can put right."""
    card = catalog.card(plan.dataset)
    print(f"{card.name}, licence: {card.licence}", flush=True)
    manifest = complete(plan)
    if manifest is not None:
        print(f"all of it is there already; {plan.source} was not read again")
    else:
        preparation = _opened(plan, follow_links)
        _say_what_comes(preparation)
        left = preparation.num_rows - preparation.num_done
        _follow(preparation.run(), left, plan.dataset)
        manifest = preparation.finish()
    print(result_table(plan.out, manifest))


def result_table(folder: Path | str, manifest: Manifest) -> str:
    """What a prepared folder holds, one line for each split."""
    lines = [f"{folder}: {manifest.dataset}, preset {manifest.preset or 'none'}"]
    for name, split in manifest.splits.items():
        what = (
            f"{split.rows:,} videos, {split.frames:,} frames"
            if manifest.videos
            else (f"{split.rows:,} pictures")
        )
        line = f"{name}: {what}, {_size(split.bytes)}; objects: {objects_in_words(split.objects)}"
        lines.append(line + (f"; left out: {len(split.left_out):,}" if split.left_out else ""))
        lines += [f"  {lost}: {why}" for lost, why in split.left_out[:LISTED]]
        if len(split.left_out) > LISTED:
            lines.append(f"  and {len(split.left_out) - LISTED:,} more, in {folder}/{MANIFEST}")
    slots = suggested_slots(manifest)
    lines.append(f"suggested slots: {slots if slots else 'as your pictures need'}")
    lines.append(f"hash: {manifest.hash}")
    return "\n".join(lines)


def _say_what_comes(preparation: Preparation) -> None:
    plan = preparation.plan
    what = "videos" if preparation.videos else "pictures"
    rows = ", ".join(f"{split} {count:,}" for split, count in preparation.rows.items())
    print(f"{what}: {rows}; about {_size(preparation.bytes)} in {plan.out}")
    if preparation.num_done:
        print(f"{preparation.num_done:,} of them are there already")
    share = 1 - preparation.num_done / preparation.num_rows
    workers = max(1, plan.workers)
    time = _time(preparation.seconds * share)
    print(f"about {time} with {workers} process{'es' * (workers > 1)}", flush=True)


def _opened(plan: Plan, follow_links: bool) -> Preparation:
    """Of the raw files or, where there are archives instead, of what is in them."""
    if not plan.source.exists():
        raise DataError(f"--source {plan.source}: there is no such file or folder")
    archives = archives_in(plan.source)
    if plan.source.is_dir():
        if not follow_links:
            require_links_inside(plan.source)
        try:
            return Preparation(plan)
        except DataError:
            if not archives:
                raise
    unpacked = plan.out / STATE / "source"
    with writing_to(plan.out):
        for archive in archives:
            _follow(unpack(archive, unpacked), None, f"unpacking {archive.name}")
        if plan.source.is_dir():
            link_files(plan.source, unpacked)
    return _found_in(plan, unpacked)


def _found_in(plan: Plan, unpacked: Path) -> Preparation:
    """The dataset lies in an archive as such or in a folder of its own."""
    places = [unpacked, *sorted(path for path in unpacked.iterdir() if path.is_dir())]
    faults = []
    for place in places:
        try:
            return Preparation(replace(plan, source=place, origin=plan.source))
        except DataError as error:
            faults.append(error)
    raise faults[0]


def _follow(steps: Iterable[Any], length: int | None, label: str) -> None:
    with typer.progressbar(steps, length=length, label=label, file=sys.stderr) as bar:
        for _ in bar:
            pass


def _size(count: int | float) -> str:
    for unit in ("bytes", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count = count / 1000
    return f"{count:.3g} TB"


def _time(seconds: int | float) -> str:
    minutes = round(seconds / 60)
    return (
        f"{minutes // 60} h {minutes % 60} min"
        if minutes > 90
        else (f"{minutes} min" if minutes > 1 else f"{round(seconds)} s")
    )
