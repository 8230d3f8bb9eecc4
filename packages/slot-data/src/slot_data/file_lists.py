"""The files of a folder: those below it in the order in which people number them, those that are
missing, and the lines of a list.

Links are followed, since people keep their data on other disks. Names that begin with a dot, of
files and of folders, are left out: they are what systems, archives and notebooks leave behind, such
as `._000001.jpg` and `.ipynb_checkpoints`.
"""

import os
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from slot_data.sample import DataError


def files_below(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """All files below `folder` of these kinds, in the order of their paths, 2 before 10. Raises
    DataError if a folder in it cannot be read, or is a link to one that holds it, which would never
    end."""
    found = []
    for place, folders, names in os.walk(folder, onerror=_refuse_unreadable, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in folders:
            _refuse_loop(Path(place, name))
        found += [
            Path(place, name)
            for name in names
            if Path(name).suffix.lower() in suffixes and not name.startswith(".")
        ]
    return sorted(found, key=lambda path: (_natural(path.as_posix()), path))


def path_below(root: Path, path: Path) -> str:
    """What an id is made of. Raises DataError if it is no UTF-8: it could be neither hashed nor
    written to results."""
    name = path.relative_to(root).as_posix()
    try:
        name.encode()
    except UnicodeEncodeError:
        raise DataError(f"the name {str(path)!r} is not UTF-8; rename it") from None
    return name


def names_in(folder: Path) -> set[str]:
    """The names of what is in a folder; none where there is no folder."""
    if not folder.is_dir():
        return set()
    with os.scandir(folder) as entries:  # up to 200,000: no path for each
        return {entry.name for entry in entries if not entry.name.startswith(".")}


def lines_of(path: Path, dataset: str) -> list[str]:
    """The lines of a list, whatever ends them, without the mark that some editors begin with.
    Raises DataError if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"list {path} of {dataset} cannot be read: {error}") from error


def first_of(root: Path, places: Sequence[str], dataset: str) -> Path:
    """The first of these places in `root` that is there. Raises DataError if there is none."""
    for place in places:
        if (root / place).exists():
            return root / place
    raise DataError(f"root {root} of {dataset} holds none of {', '.join(places)}")


def require_files(folder: Path, names: Sequence[str], what: str) -> None:
    """Raises DataError, calling the files `what`, if one of them is not in the folder."""
    if later():
        return
    present = names_in(folder)
    missing = [name for name in names if name not in present]
    if missing:
        raise DataError(
            f"{len(missing)} of the {len(names)} {what} are missing in {folder}; "
            f"{missing[0]} is the first"
        )


def _refuse_unreadable(error: OSError) -> None:
    raise DataError(f"folder {error.filename} cannot be read: {error.strerror}") from error


def _refuse_loop(folder: Path) -> None:
    if folder.is_symlink() and folder.parent.resolve().is_relative_to(folder.resolve()):
        raise DataError(f"{folder} is a link to {folder.resolve()}, which holds it itself")


def require_links_inside(folder: Path) -> None:
    """Raises DataError if a link below `folder` leads out of it."""
    whole = folder.resolve()
    for place, folders, files in os.walk(folder):
        for entry in map(Path(place).joinpath, folders + files):
            if entry.is_symlink() and not entry.resolve().is_relative_to(whole):
                raise DataError(
                    f"{entry} is a link to {entry.resolve()}, outside of {folder}; "
                    "--follow-links reads it all the same"
                )


_later: ContextVar[bool] = ContextVar("later", default=False)


@contextmanager
def missing_files_found_later() -> Iterator[None]:
    """Datasets that are opened meanwhile do not ask whether all their files are there: a missing
    one is found when its sample is read."""
    token = _later.set(True)
    try:
        yield
    finally:
        _later.reset(token)


def later() -> bool:
    return _later.get()


def _natural(text: str) -> list[str | int]:
    return [int(part) if part.isdecimal() else part for part in re.split(r"([0-9]+)", text)]
