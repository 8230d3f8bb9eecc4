"""Slots of videos on disk: how `apps/extract_slots.py` writes them and `slots.py` reads them.

    FOLDER/slots.json                  what they are of, and how many there are to be
    FOLDER/slots-00000.safetensors     `videos_per_part` videos: a float32 [T K D] for each, by id

A part is written under another name and renamed, so one that is there is whole; an extraction that
was cut off goes on with the parts that lack. Its metadata hold the ids in the order of the dataset,
the outcomes where the dataset has them, and the fingerprint of the model, so that no part of
another extraction is taken for one of this.

Reading maps a part into memory and touches the frames that are asked for.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from slot_data.json_files import parse_json, read_json, shown
from slot_data.sample import DataError

DESCRIPTION, METADATA = "slots.json", "slots"
FORMAT = 1


@dataclass(frozen=True)
class SlotDescription:
    """What the slots of a folder are.

    model: where the model that found them was, as it was called then.
    fingerprint: of that model: see slot_core.fingerprint.
    data, split, options: the dataset, as `load_dataset_by_name` takes them.
    num_videos: of the dataset.
    videos_per_part: the last part may have fewer.
    num_slots, slot_dim: of each frame.
    dynamics: fingerprint of the model that predicted them, where they are predicted.
    """

    model: str
    fingerprint: str
    data: str
    split: str
    options: dict[str, Any]
    num_videos: int
    videos_per_part: int
    num_slots: int
    slot_dim: int
    dynamics: str | None = None
    format: int = FORMAT

    @property
    def num_parts(self) -> int:
        return -(-self.num_videos // self.videos_per_part)

    def videos_of(self, part: int) -> range:
        """Numbers of the videos of one part."""
        start = part * self.videos_per_part
        return range(start, min(start + self.videos_per_part, self.num_videos))


@dataclass(frozen=True)
class SlotPart:
    """What one part says of its videos, without their slots."""

    ids: list[str]
    lengths: list[int]
    outcomes: list[bool] | None


# Of the description in JSON.
KINDS: dict[str, Any] = {
    **dict.fromkeys(("model", "fingerprint", "data", "split"), str),
    **dict.fromkeys(("num_videos", "videos_per_part", "num_slots", "slot_dim", "format"), int),
    "options": dict,
    "dynamics": str | None,
}
WORDS = {str: "a text", int: "an integer", dict: "an object", str | None: "a text or null"}


def part_path(folder: Path, part: int) -> Path:
    return folder / f"slots-{part:05d}.safetensors"


def write_description(folder: Path, description: SlotDescription) -> None:
    """Begin a folder. Raises DataError if it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f".{DESCRIPTION}"
        partial.write_text(json.dumps(asdict(description), indent=2) + "\n", encoding="utf-8")
        partial.replace(folder / DESCRIPTION)
    except OSError as error:
        raise DataError(f"{folder}: cannot be written: {error.strerror or error}") from error


def read_description(folder: Path) -> SlotDescription:
    """Raises DataError if the folder has no description, or none that we can read."""
    path = folder / DESCRIPTION
    try:
        path.stat()
    except FileNotFoundError:
        raise DataError(
            f"{folder}: holds no slots, {DESCRIPTION} is missing; apps/extract_slots.py writes it, "
            f"with --split {folder.name}"
        ) from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    stated = read_json(path)
    if (
        not isinstance(stated, dict)
        or stated.get("format") != FORMAT
        or stated.keys() != KINDS.keys()
    ):
        raise DataError(f"{path}: is no description of slots in format {FORMAT}")
    for key, kind in KINDS.items():
        if not isinstance(stated[key], kind) or isinstance(stated[key], bool):
            raise DataError(f"{path}: {key} is {shown(stated[key])}; expected {WORDS[kind]}")
        if kind is int and not 1 <= stated[key] < 2**31:
            raise DataError(f"{path}: {key} is {stated[key]}; expected a number from 1 on")
    return SlotDescription(**stated)


def write_part(
    folder: Path,
    part: int,
    slots: Mapping[str, Tensor],
    outcomes: Sequence[bool] | None,
    fingerprint: str,
) -> None:
    """Write one part, all or nothing.

    slots: id -> float32 [T K D], in the order of the dataset.

    Raises DataError if it cannot be written, or the extra that reads and writes it lacks.
    """
    safetensors = _safetensors()
    final = part_path(folder, part)
    partial = final.with_name(f".{final.name}")
    said = {
        "ids": list(slots),
        "outcomes": None if outcomes is None else list(outcomes),
        "fingerprint": fingerprint,
    }
    tensors = {name: value.float().contiguous().cpu() for name, value in slots.items()}
    try:
        # One entry: safetensors writes several in an order that changes from run to run.
        safetensors.torch.save_file(tensors, partial, metadata={METADATA: json.dumps(said)})
        partial.chmod((folder / DESCRIPTION).stat().st_mode)  # safetensors leaves it private
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(final)
    except (OSError, safetensors.SafetensorError) as error:
        partial.unlink(missing_ok=True)  # what does not fit shall not fill the disk either
        said_why = getattr(error, "strerror", None) or error
        raise DataError(
            f"{final}: cannot be written: {said_why}; the parts before it stay, and the same "
            "command goes on from there"
        ) from error


def open_part(path: Path) -> Any:
    """A part, mapped into memory. Raises DataError if it cannot be read."""
    safetensors = _safetensors()
    try:
        return safetensors.safe_open(path, framework="pt")
    except (OSError, safetensors.SafetensorError) as error:
        raise DataError(f"{path}: is damaged or cannot be read ({error})") from None


def read_part(path: Path, description: SlotDescription) -> SlotPart:
    """Raises DataError unless it is a part of what the description describes."""
    opened = open_part(path)
    said = parse_json((opened.metadata() or {}).get(METADATA, "{}"), path)
    if not isinstance(said, dict) or said.get("fingerprint") != description.fingerprint:
        raise DataError(f"{path}: holds slots of another model than {DESCRIPTION} beside it says")
    ids, outcomes = said.get("ids"), said.get("outcomes")
    if not isinstance(ids, list) or sorted(map(str, ids)) != sorted(opened.keys()):
        raise DataError(f"{path}: is damaged: its ids are not those of its slots")
    if outcomes is not None and [type(value) for value in outcomes] != [bool] * len(ids):
        raise DataError(f"{path}: is damaged: its outcomes are not true or false for each id")
    shapes = [tuple(opened.get_slice(name).get_shape()) for name in ids]
    wanted = (description.num_slots, description.slot_dim)
    for name, shape in zip(ids, shapes, strict=True):
        if len(shape) != 3 or shape[1:] != wanted:
            raise DataError(
                f"{path}: {name} has the shape {list(shape)}, expected [frames, {wanted[0]}, "
                f"{wanted[1]}]"
            )
    return SlotPart(ids, [shape[0] for shape in shapes], outcomes)


def read_frames(opened: Any, name: str, frames: range) -> Tensor:
    """float32 [T K D]: those frames of one video of an open part."""
    read: Tensor = opened.get_slice(name)[frames.start : frames[-1] + 1]
    return read[:: frames.step].clone()  # the rest of the file is not kept mapped for it


def read_outcomes(path: Path, ids: Sequence[str]) -> np.ndarray:
    """bool, one for each of `ids`, from JSON of id -> true or false. Raises DataError naming a
    video that is in one of both alone."""
    try:
        stated = read_json(path)
    except DataError as error:
        raise DataError(f"outcomes {error}") from None
    if not isinstance(stated, dict) or not all(isinstance(v, bool) for v in stated.values()):
        raise DataError(f"outcomes {path} are no JSON object of ids with true or false")
    for name in stated.keys() - set(ids):
        raise DataError(f"outcomes {path} name the video {name!r}, of which there are no slots")
    for name in ids:
        if name not in stated:
            raise DataError(f"video {name!r} has no outcome in {path}")
    return np.array([stated[name] for name in ids], dtype=bool)


def _safetensors() -> Any:
    """The library, or DataError naming the extra that brings it."""
    try:
        import safetensors
        import safetensors.torch
    except ImportError:
        raise DataError(
            "slots on disk need safetensors; install it with: pip install 'slot-data[slots]'"
        ) from None
    return safetensors
