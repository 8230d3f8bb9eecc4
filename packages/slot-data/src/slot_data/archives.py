"""Archives as they are downloaded (.zip, .tar, .tar.gz, .tgz, .tar.bz2, .tar.xz), unpacked once and
safely, whoever made them: plain files and folders below the target, each once, and not much more
bytes than the archive itself has. Links are refused, since with them a path may lead anywhere, and
archives within archives stay as they are."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, cast

from slot_data.json_files import shown
from slot_data.manifest import write_whole
from slot_data.sample import DataError

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
DONE = ".unpacked"
# What an archive may unpack to: pictures are compressed already, and annotations shrink to a tenth.
RATIO = 100
LEAST = 2**30  # bytes, even of a small one
LONGEST_HEADER = 2**20  # bytes, of names and the like
_BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    NotImplementedError,  # a kind of compression that Python does not know
    RuntimeError,  # a password
    ValueError,  # names and numbers that there are not
    OverflowError,
    OSError,
)
ZIP = b"PK\x03\x04"  # the head of its first member
OPENERS: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}


def archives_in(source: Path) -> list[Path]:
    """The archive itself, or those right inside a folder, by name."""
    if source.is_dir():
        return sorted(path for path in source.iterdir() if path.is_file() and _is_named(path))
    return [source]


def _begins_as_zip(archive: Path) -> bool:
    with archive.open("rb") as file:
        return file.read(len(ZIP)) == ZIP


def unpack(archive: Path, target: Path) -> Iterator[int]:
    """Unpacks into `target`, a folder; yields the size of each member that is done, in bytes. What
    was unpacked whole before is not unpacked again.

    Raises DataError if it is no archive or damaged, a member would be written outside `target`, is
    there twice, or is neither file nor folder, or if all would be more than `RATIO` times the
    archive and more than `LEAST`, or more than the disk has room for.
    """
    target.mkdir(parents=True, exist_ok=True)
    done = target / f"{DONE}-{archive.name}"
    if done.exists():
        return
    _require_file(archive)
    members = _Members(archive, target)
    if not zipfile.is_zipfile(archive) and not _is_tar(archive, members):
        if _begins_as_zip(archive):  # a zip lists its members at its end
            raise DataError(f"archive {archive} ends early; download it again, or to its end")
        raise DataError(f"{archive} is no archive; expected {', '.join(SUFFIXES)}")
    try:
        if zipfile.is_zipfile(archive):
            yield from _unzip(archive, target, members)
        else:
            yield from _untar(archive, target, members)
    except DataError:
        raise
    except _BROKEN as error:
        raise DataError(
            f"archive {archive} cannot be unpacked: {shown(str(error), 200)}"
        ) from error
    write_whole(done, b"")


class _Members:
    """What may come out of an archive, and what has."""

    def __init__(self, archive: Path, target: Path) -> None:
        self._archive = archive
        self._most = max(LEAST, RATIO * archive.stat().st_size)
        self._free = shutil.disk_usage(target).free
        self._bytes, self._files = 0, set[PurePosixPath]()

    def admit(self, name: str, size: int, is_folder: bool, is_file: bool) -> None:
        """Raises DataError for a member that is not to be written."""
        who = f"member {shown(name, 200)} of archive {self._archive}"
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in next(iter(path.parts), ""):
            raise DataError(f"{who} would lead outside of its folder")
        if is_folder:
            return
        if not is_file or not path.parts:
            raise DataError(f"{who} is neither a file nor a folder; links are not unpacked")
        if path in self._files:
            raise DataError(f"{who} is there twice")
        self._files.add(path)
        self._bytes += size
        self.require_room(self._bytes)

    def require_room(self, count: int) -> None:
        """Raises DataError if so many bytes are more than the archive may unpack to."""
        if count > self._most:
            raise DataError(
                f"archive {self._archive} would unpack to more than {self._most:,} bytes, {RATIO} "
                "times its own; unpack it yourself where you trust it"
            )
        if count > self._free:
            raise DataError(
                f"archive {self._archive} would unpack to {count:,} bytes and more; the disk has "
                f"{self._free:,}"
            )


def _unzip(archive: Path, target: Path, members: _Members) -> Iterator[int]:
    with zipfile.ZipFile(archive) as content:
        entries = content.infolist()
        for entry in entries:  # all of them first: nothing is written of what is refused
            kind = entry.external_attr >> 28  # of Unix; 0 where another system made it
            is_folder = entry.filename.endswith("/")
            members.admit(entry.filename, entry.file_size, is_folder, kind in (0, 0o10))
        for entry in entries:
            content.extract(entry, target)
            yield entry.file_size


def _untar(archive: Path, target: Path, members: _Members) -> Iterator[int]:
    with _opened_tar(archive, members) as content:
        for entry in content:
            members.admit(entry.name, entry.size, entry.isdir(), entry.isreg())
            content.extract(entry, target, filter="data")
            yield entry.size


@contextmanager
def _opened_tar(archive: Path, members: _Members) -> Iterator[tarfile.TarFile]:
    with archive.open("rb") as file:
        start = file.read(2)
    with (
        OPENERS.get(start, open)(archive, "rb") as file,
        tarfile.open(fileobj=cast(Any, _Bounded(file, members)), mode="r:") as content,
    ):
        yield content


class _Bounded:
    """A file of which no more is read than an archive may unpack to, and without a seek no more
    than `LONGEST_HEADER`: tarfile seeks before each piece of contents, but reads the header of a
    header, as long as it says that it is, at once or piece by piece."""

    def __init__(self, file: Any, members: _Members) -> None:
        self._file, self._members = file, members
        self._unsought = 0  # bytes read since the last seek

    def read(self, size: int = -1) -> bytes:
        self._unsought += size
        if size < 0 or self._unsought > LONGEST_HEADER:
            raise tarfile.ReadError(f"a header has more than {LONGEST_HEADER:,} bytes")
        return self._file.read(size)

    def seek(self, place: int, whence: int = 0) -> int:
        self._members.require_room(place)
        self._unsought = 0
        return self._file.seek(place, whence)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise DataError(f"{path} is neither a folder nor an archive: there is no such file")
    with path.open("rb") as file:
        start = file.read(512).lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise DataError(
            f"{path} is a web page and no archive: the server refused the download, perhaps "
            "because of a quota; download it again"
        )


def _is_tar(path: Path, members: _Members) -> bool:
    try:
        with _opened_tar(path, members):
            return True
    except _BROKEN:
        return False


def _is_named(path: Path) -> bool:
    return path.name.lower().endswith(SUFFIXES)


def link_files(source: Path, target: Path) -> None:
    """Whatever else lies right inside `source` appears beside what was unpacked."""
    for path in source.iterdir():
        place = target / path.name
        if not _is_named(path) and not place.exists() and not path.name.startswith("."):
            place.symlink_to(path.resolve())


def forget(target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
