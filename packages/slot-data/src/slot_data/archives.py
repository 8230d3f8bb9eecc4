"""Archives as they are downloaded (.zip, .tar, .tar.gz, .tgz, .tar.bz2, .tar.xz), unpacked once and
safely: nothing is written outside the target, and no link leads out of it."""

import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from slot_data.manifest import write_whole
from slot_data.sample import DataError

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
DONE = ".unpacked"
_BROKEN = (
    zipfile.BadZipFile,
    tarfile.ReadError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,  # a kind of compression that Python does not know
    RuntimeError,  # a password
    OSError,
)


def archives_in(source: Path) -> list[Path]:
    """The archive itself, or those right inside a folder, by name."""
    if source.is_dir():
        return sorted(path for path in source.iterdir() if path.is_file() and _is_named(path))
    return [source]


def unpack(archive: Path, target: Path) -> Iterator[int]:
    """Unpacks into `target`, a folder; yields the size of each member that is done, in bytes. What
    was unpacked whole before is not unpacked again.

    Raises DataError if it is no archive or damaged, or a member would be written outside `target`,
    is a link that leads out of it, or neither file nor folder.
    """
    target.mkdir(parents=True, exist_ok=True)
    done = target / f"{DONE}-{archive.name}"
    if done.exists():
        return
    _require_archive(archive)
    try:
        if zipfile.is_zipfile(archive):
            yield from _unzip(archive, target)
        else:
            yield from _untar(archive, target)
    except tarfile.FilterError as error:
        member = error.tarinfo.name
        raise DataError(
            f"member {member!r} of archive {archive} would lead outside of its folder"
        ) from error
    except _BROKEN as error:
        raise DataError(f"archive {archive} cannot be unpacked: {error}") from error
    write_whole(done, b"")


def _unzip(archive: Path, target: Path) -> Iterator[int]:
    with zipfile.ZipFile(archive) as content:
        for member in content.infolist():
            path = PurePosixPath(member.filename.replace("\\", "/"))
            # zipfile itself would quietly write these elsewhere, or a link as a file
            if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
                raise DataError(
                    f"member {member.filename!r} of archive {archive} would lead outside of its "
                    "folder"
                )
            if member.external_attr >> 28 == 0o12:
                raise DataError(f"member {member.filename!r} of archive {archive} is a link")
            content.extract(member, target)
            yield member.file_size


def _untar(archive: Path, target: Path) -> Iterator[int]:
    with tarfile.open(archive) as content:
        for member in content:
            content.extract(member, target, filter="data")
            yield member.size


def _require_archive(path: Path) -> None:
    if not path.is_file():
        raise DataError(f"{path} is neither a folder nor an archive: there is no such file")
    with path.open("rb") as file:
        start = file.read(512).lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise DataError(
            f"{path} is a web page and no archive: the server refused the download, perhaps "
            "because of a quota; download it again"
        )
    if not zipfile.is_zipfile(path) and not _is_tar(path):
        raise DataError(f"{path} is no archive; expected {', '.join(SUFFIXES)}")


def _is_tar(path: Path) -> bool:
    try:
        return tarfile.is_tarfile(path)
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
