"""The files below a folder, in the order in which people number them."""

import os
import re
from collections.abc import Collection
from pathlib import Path


def files_below(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """All files below `folder` of these kinds, in the order of their paths, 2 before 10. Names
    that begin with a dot are left out."""
    found = [
        Path(place, name)
        for place, _, names in os.walk(folder, followlinks=True)
        for name in names
        if Path(name).suffix.lower() in suffixes and not name.startswith(".")
    ]
    return sorted(found, key=lambda path: (_natural(path.as_posix()), path))


def _natural(text: str) -> list[str | int]:
    return [int(part) if part.isdecimal() else part for part in re.split(r"([0-9]+)", text)]
