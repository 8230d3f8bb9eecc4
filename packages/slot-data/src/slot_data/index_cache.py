"""What was read from a large annotation file once, kept as arrays for the next time.

The annotations of COCO's training pictures are 450 MB of JSON and take half a minute and some
gigabytes to parse, in every process and at every start. The arrays that are made of them lie in

    $SLOT_DATA_CACHE, else $XDG_CACHE_HOME/slot-data, else ~/.cache/slot-data

and never beside the data, which may be read-only or shared. A kept index is found by a hash of the
file's bytes, so it fits a copy of the file elsewhere and never another content; and its arrays are
mapped into memory, so that processes and loader workers share them. The folder may be deleted at
any time. Where it cannot be written, the file is parsed each time.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

KEPT_FROM = 2**24  # bytes: smaller files are parsed in less than two seconds
LIST = "arrays.txt"


def cached_arrays(
    path: Path, kind: str, build: Callable[[], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """What `build` makes of the file, or made of it earlier. The arrays are not to be changed.

    kind: a name for what `build` does; another one whenever its result changes.

    Raises what `build` raises, also where the file cannot be read.
    """
    try:
        if path.stat().st_size < KEPT_FROM:
            return build()
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return build()  # which says what is wrong with it
    folder = cache_folder() / f"{kind}-{digest[:32]}"
    found = _load(folder)
    if found is None:
        found = build()
        _save(folder, found)
    return found


def cache_folder() -> Path:
    stated = os.environ.get("SLOT_DATA_CACHE")
    if stated:
        return Path(stated).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "slot-data"


def _load(folder: Path) -> dict[str, np.ndarray] | None:
    """None where nothing is kept, or not all of it is left."""
    try:
        names = (folder / LIST).read_text(encoding="utf-8").split()
        return {name: np.lib.format.open_memmap(folder / f"{name}.npy", mode="r") for name in names}
    except (OSError, ValueError):
        return None


def _save(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    """All or nothing: written beside the place and then renamed."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix="part-", dir=folder.parent))
    except OSError:
        return
    try:
        for name, array in arrays.items():
            np.save(part / f"{name}.npy", array)
        (part / LIST).write_text("\n".join(arrays), encoding="utf-8")
        if _load(folder) is None:
            shutil.rmtree(folder, ignore_errors=True)  # the rest of one
        part.rename(folder)
    except OSError:  # the disk is full, or another process was faster
        shutil.rmtree(part, ignore_errors=True)
