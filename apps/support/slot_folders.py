"""Writing slots of many videos: part by part, over several processes, resumable at any time.

Which videos a part holds follows from the dataset's order, and what is computed together from the
part alone. So parts are the same bytes whichever process makes them and however often it was
killed before.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from accelerate import Accelerator
from torch import Tensor
from tqdm import tqdm

from slot_core import InputError
from slot_data.slot_files import (
    DESCRIPTION,
    SlotDescription,
    part_path,
    read_description,
    write_description,
    write_part,
)

FLOAT = 4  # bytes
# Slots of the videos of these numbers, by id, and their outcomes where there are any.
Compute = Callable[[range], tuple[dict[str, Tensor], Sequence[bool] | None]]


def write_slots(
    processes: Accelerator,
    folder: Path,
    description: SlotDescription,
    num_frames: int,
    compute: Compute,
) -> None:
    """Compute and write the parts that ``folder`` lacks, each process its share of them.

    Args:
        processes: that share the work.
        folder: of one split; created, or begun before with the same description.
        description: of what is to be there in the end.
        num_frames: of the first video, from which the size is told before anything is computed.
        compute: what a part holds.

    Raises:
        InputError: if the folder holds other slots, or the disk is too small.
        DataError: if a part cannot be written.
    """
    if processes.is_main_process:
        begin(folder, description, num_frames)
    processes.wait_for_everyone()
    missing = [p for p in range(description.num_parts) if not part_path(folder, p).exists()]
    processes.wait_for_everyone()  # before the first of them is there
    mine = missing[processes.process_index :: processes.num_processes]
    with tqdm(
        total=sum(len(description.videos_of(part)) for part in mine),
        unit="video",
        desc=folder.name,
        disable=None if processes.is_main_process else True,
    ) as progress:
        for part in mine:
            videos = description.videos_of(part)
            slots, outcomes = compute(videos)
            if len(slots) < len(videos):
                raise InputError(f"two of the videos {videos.start} to {videos[-1]} have one id")
            write_part(folder, part, slots, outcomes, description.fingerprint)
            progress.update(len(videos))
    processes.wait_for_everyone()


def begin(folder: Path, description: SlotDescription, num_frames: int) -> None:
    """Say how large it becomes, and make the folder or go on with it."""
    slot_bytes = num_frames * description.num_slots * description.slot_dim * FLOAT
    size = description.num_videos * slot_bytes
    print(
        f"{folder}: {description.num_videos:,} videos of {num_frames} frames with "
        f"{description.num_slots} slots of width {description.slot_dim}, "
        f"{readable(size)} in {description.num_parts:,} parts"
    )
    if (folder / DESCRIPTION).exists():
        check_same(folder, description)
    elif folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder}: is not empty and holds no slots; choose another --out")
    present = sum(
        path.stat().st_size
        for part in range(description.num_parts)
        if (path := part_path(folder, part)).exists()
    )
    inside = next(place for place in (folder, *folder.parents) if place.exists())
    free = shutil.disk_usage(inside).free
    if size - present > free:
        raise InputError(
            f"{folder}: needs {readable(size - present)}, but only {readable(free)} are free"
        )
    if present:
        print(f"{folder}: {readable(present)} of it are there already")
    write_description(folder, description)


def check_same(folder: Path, description: SlotDescription) -> None:
    """Raise InputError, naming the difference, if the folder was begun for other slots."""
    before, now = asdict(read_description(folder)), asdict(description)
    for key in now:
        if key != "model" and before[key] != now[key]:  # the same model may have moved
            raise InputError(
                f"{folder}: holds other slots; their {key} is {before[key]!r}, these have "
                f"{now[key]!r}"
            )


def readable(num_bytes: int) -> str:
    """A number of bytes in the unit that suits it."""
    size = float(num_bytes)
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
