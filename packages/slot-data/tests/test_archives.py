"""Archives of which nobody knows who made them: nothing but plain files and folders comes out, each
where it belongs, and not very much more than went in."""

import bz2
import contextlib
import gzip
import io
import lzma
import tarfile
import zipfile
from typing import Any

import pytest

from slot_data import DataError, archives
from slot_data.archives import unpack


def unpacked(archive, target):
    for _ in unpack(archive, target):
        pass


def refused(archive, tmp_path):
    """The sentence, after which nothing lies anywhere but in the target."""
    target = tmp_path / "target"
    with pytest.raises(DataError) as caught:
        unpacked(archive, target)
    sentence = str(caught.value)
    assert str(archive) in sentence
    assert sentence.isprintable()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([archive.name, "target"])
    assert not list(target.rglob(".unpacked*"))
    return sentence


def write_tar(path, *members, mode: Any = "w"):
    """members: (name, content, what else is said of it)."""
    with tarfile.open(path, mode) as archive:
        for name, content, more in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            for key, value in more.items():
                setattr(member, key, value)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, b"Z"],
)
@pytest.mark.parametrize("linkname", ["x", "../../x", "/etc/passwd"])
def test_what_is_neither_file_nor_folder(tmp_path, kind, linkname):
    more = {"type": kind, "linkname": linkname}
    archive = write_tar(tmp_path / "a.tar", ("x", b"1", {}), ("y", b"", more))
    assert "member 'y'" in (said := refused(archive, tmp_path))
    assert "neither a file nor a folder; links are not unpacked" in said


@pytest.mark.parametrize(
    "name", ["../x", "a/../../x", "/x", "//x", "..", "C:/x", "a\\..\\..\\x", "a/..\\..\\x"]
)
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_members_that_lead_outside(tmp_path, name, kind):
    archive = tmp_path / f"a.{kind}"
    if kind == "tar":
        write_tar(archive, (name, b"1", {}))
    else:
        with zipfile.ZipFile(archive, "w") as content:
            content.writestr(zipfile.ZipInfo(name), b"1")
    assert "would lead outside of its folder" in refused(archive, tmp_path)


@pytest.mark.parametrize("name", ["", ".", "./"])
def test_members_of_no_name(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as content:
        content.writestr(zipfile.ZipInfo(name), b"1")
    if name == "./":  # a folder that is there already
        unpacked(tmp_path / "a.zip", tmp_path / "target")
    else:
        assert "neither a file nor a folder" in refused(tmp_path / "a.zip", tmp_path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("other", ["a/x", "./a/x", "a//x"])
def test_a_member_that_is_there_twice(tmp_path, other):
    assert "is there twice" in refused(
        write_tar(tmp_path / "a.tar", ("a/x", b"1", {}), (other, b"2", {})), tmp_path
    )
    (tmp_path / "a.tar").unlink()
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as content:
        content.writestr("a/x", b"1")
        content.writestr(other, b"2")
    (tmp_path / "target").rename(tmp_path / "b-target")
    with pytest.raises(DataError, match="is there twice"):
        unpacked(tmp_path / "b.zip", tmp_path / "target")
    assert not list((tmp_path / "target").iterdir())  # a zip is looked through before


def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch):
    """Zeros shrink to a thousandth; with a lower bound a small file shows it."""
    monkeypatch.setattr(archives, "LEAST", 2**20)
    zeros = bytes(2**24)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as content:
        content.writestr("x", zeros)
    assert "would unpack to more than" in refused(tmp_path / "a.zip", tmp_path)
    (tmp_path / "a.zip").unlink()
    for suffix in ("gz", "bz2", "xz"):
        archive = write_tar(tmp_path / f"a.tar.{suffix}", ("x", zeros, {}), mode=f"w:{suffix}")
        assert "would unpack to more than" in refused(archive, tmp_path)
        assert not (tmp_path / "target/x").exists()
        archive.unlink()


def test_a_size_that_is_claimed_takes_no_room(tmp_path):
    """A sparse file of a million million bytes is a few bytes in a tar, and on the disk as well."""
    member = tarfile.TarInfo("x")
    member.size = 2**40
    (tmp_path / "a.tar").write_bytes(member.tobuf(tarfile.GNU_FORMAT) + bytes(10240))
    assert "would unpack to more than" in refused(tmp_path / "a.tar", tmp_path)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_header_that_states_much_is_not_read_into_memory(tmp_path, kind):
    """tarfile would read eight thousand million zeros, at once or in pieces as later ones do."""
    header = tarfile.TarInfo("x")
    header.type, header.size = kind, 2**33
    first, zeros = tarfile.TarInfo("y").tobuf(), bytes(2**20)
    states = header.tobuf(tarfile.GNU_FORMAT)
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(states + zeros, 1))
    assert "is no archive" in refused(tmp_path / "a.tar.gz", tmp_path)
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(first + states + zeros, 1))
    assert "a header has more than 1,048,576 bytes" in refused(tmp_path / "a.tar.gz", tmp_path)


def test_a_map_without_end_is_not_read_into_memory(tmp_path):
    """Where a file of gaps has its pieces stands before them, as long as the map itself states."""
    first, member = tarfile.TarInfo("y"), tarfile.TarInfo("x")
    member.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
    places = b"99999999\n" + b"0\n" * 2**20
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as content:
        member.size = len(places)
        content.addfile(first)
        content.addfile(member, io.BytesIO(places))
    assert "a header has more than 1,048,576 bytes" in refused(tmp_path / "a.tar", tmp_path)


def test_archives_in_archives_stay_as_they_are(tmp_path):
    inner = write_tar(tmp_path / "inner.tar", ("x", b"1", {})).read_bytes()
    (tmp_path / "inner.tar").unlink()
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as content:
        content.writestr("in/inner.tar", inner)
    unpacked(tmp_path / "a.zip", tmp_path / "target")
    assert [p.name for p in (tmp_path / "target").rglob("*") if p.is_file()] == [
        ".unpacked-a.zip", "inner.tar"]  # fmt: skip


@pytest.mark.parametrize("suffix", ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"])
def test_archives_that_are_cut_off_or_damaged(tmp_path, suffix):
    """At any place: an error of ours, or, where the damage does no harm, the files."""
    contents = {f"{number}.txt": bytes(range(256)) * 5 for number in range(4)}
    whole = tmp_path / f"a.{suffix}"
    if suffix == "zip":
        with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in contents.items():
                archive.writestr(name, content)
    else:
        mode = f"w:{suffix.partition('.')[2]}"
        write_tar(whole, *((name, content, {}) for name, content in contents.items()), mode=mode)
    content = whole.read_bytes()
    for number, place in enumerate(range(0, len(content), max(1, len(content) // 23))):
        flipped = content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :]
        for damaged in (content[:place], flipped):
            whole.write_bytes(damaged)
            with contextlib.suppress(DataError):
                unpacked(whole, tmp_path / f"{number}-{len(damaged)}")


def test_the_first_part_of_a_download_is_told_as_such(tmp_path):
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as content:
        content.writestr("x", bytes(range(256)) * 5)
    (tmp_path / "a.zip").write_bytes(whole.getvalue()[:700])
    told = refused(tmp_path / "a.zip", tmp_path)
    assert told == f"archive {tmp_path / 'a.zip'} ends early; download it again, or to its end"


def test_whole_archives_of_each_kind(tmp_path):
    plain = write_tar(tmp_path / "a.tar", ("x/y.txt", b"1" * 5000, {})).read_bytes()
    for suffix, pack in (("gz", gzip), ("bz2", bz2), ("xz", lzma)):
        (tmp_path / f"a.tar.{suffix}").write_bytes(pack.compress(plain))
    for archive in sorted(tmp_path.glob("a.*")):
        unpacked(archive, tmp_path / archive.name.replace(".", "-"))
        found = tmp_path / archive.name.replace(".", "-") / "x/y.txt"
        assert found.read_bytes() == b"1" * 5000
