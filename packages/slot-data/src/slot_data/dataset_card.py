"""The README.md of a prepared folder: for people, and for the Hugging Face Hub, which reads in its
head where the splits are."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from slot_data.manifest import Manifest, Split, hub_split

if TYPE_CHECKING:
    from slot_data.card import Card

LISTED = 100  # of what was left out


def dataset_card(card: Card, manifest: Manifest) -> str:
    what = "videos" if manifest.videos else "pictures"
    parts = [
        _head(card, manifest),
        f"# {card.name}, prepared\n\n{card.description}",
        _splits(manifest, what),
        _objects(manifest, what),
        _made(manifest),
        _use(card),
        f"## Terms\n\nLicence: {card.licence}.\n\n{card.citation}",
        _left_out(manifest),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def suggested_slots(manifest: Manifest) -> int | None:
    """The most objects in one picture or video, and one for the background; None without labels."""
    most = manifest.most_objects
    return None if most is None else most + 1


def objects_in_words(objects: Counter[int]) -> str:
    if not objects:
        return "no labels"
    mean = sum(number * times for number, times in objects.items()) / objects.total()
    return f"{min(objects)} to {max(objects)}, {mean:.1f} on average"


def _head(card: Card, manifest: Manifest) -> str:
    lines = ["---", "license: other", f"pretty_name: {card.name}", "tags:"]
    lines += ["- object-centric-learning", "configs:", "- config_name: default", "  data_files:"]
    for name in manifest.splits:
        lines += [f"  - split: {hub_split(name)}", f"    path: data/{name}-*.parquet"]
    return "\n".join([*lines, "---"])


def _splits(manifest: Manifest, what: str) -> str:
    rows = [
        f"| {name} | {split.rows:,} | {split.frames:,} | {split.bytes:,} | "
        f"{objects_in_words(split.objects)} | {len(split.left_out):,} |"
        for name, split in manifest.splits.items()
    ]
    head = f"| split | {what} | frames | bytes | objects | left out |\n|---|---|---|---|---|---|"
    return "\n".join([head, *rows])


def _objects(manifest: Manifest, what: str) -> str:
    counted = {name: split.objects for name, split in manifest.splits.items() if split.objects}
    if not counted:
        return ""
    numbers = sorted(set().union(*counted.values()))
    lines = [f"## How many {what} show how many objects", ""]
    lines += ["| objects | " + " | ".join(counted) + " |", "|---" * (len(counted) + 1) + "|"]
    for number in numbers:
        times = " | ".join(f"{objects[number]:,}" for objects in counted.values())
        lines.append(f"| {number} | {times} |")
    lines += ["", f"Suggested number of slots: {suggested_slots(manifest)}, the most objects and "
              "one for the background."]  # fmt: skip
    return "\n".join(lines)


def _made(manifest: Manifest) -> str:
    encoding = manifest.encoding
    jpeg = f" of quality {encoding.quality}" if encoding.pictures == "jpeg" else ""
    lines = ["## How it was made", ""]
    lines += [f"- pictures: {encoding.pictures}{jpeg}; masks: {encoding.masks}"]
    lines += [f"- preset: {manifest.preset or 'none'}"]
    for name, split in manifest.splits.items():
        lines.append(f"- {name}: {_words(split)}")
    lines += [f"- hash: `{manifest.hash}`"]
    return "\n".join(lines)


def _words(split: Split) -> str:
    options = ", ".join(f"{key} {value}" for key, value in split.options.items()) or "no options"
    if split.framing is None:
        return f"{options}; pixels as in the files"
    return f"{options}; " + ", ".join(f"{key} {value}" for key, value in split.framing.items())


def _use(card: Card) -> str:
    return (
        "## How to read it\n\n```python\nfrom slot_data import load_dataset_by_name\n\n"
        f'dataset = load_dataset_by_name("{card.name}", split=SPLIT, root=THIS_FOLDER)\n```\n\n'
        "or, as rows of encoded pictures, with `datasets.load_dataset(THIS_FOLDER)`."
    )


def _left_out(manifest: Manifest) -> str:
    lost = [
        f"- {name}, {what}: {why}"
        for name, split in manifest.splits.items()
        for what, why in split.left_out
    ]
    if not lost:
        return ""
    more = [f"- and {len(lost) - LISTED:,} more, in prepared.json"] if len(lost) > LISTED else []
    return "\n".join([f"## Left out ({len(lost):,})", "", *lost[:LISTED], *more])
