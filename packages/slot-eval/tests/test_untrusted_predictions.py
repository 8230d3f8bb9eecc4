"""Prediction files of which nobody knows who made them: one sentence, and no memory for claims."""

import io
import json
import resource
import struct
import zipfile
import zlib

import numpy as np
import pytest

from slot_eval import npz_files
from slot_eval.errors import EvalError
from slot_eval.npz_files import read_npz
from slot_eval.physion_vqa import read_answers
from slot_eval.picture_files import open_pictures
from slot_eval.predictions import open_labels
from slot_eval.report import read_result


def refused(call, words):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(EvalError, match=words) as caught:
        call()
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**16  # KiB


def array(descr, shape, content=b""):
    """An .npy file whose head says so."""
    head = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head + content


def write(path, packed=False, **members):
    kind = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path


IDS = array("'<U1'", "(2,)", "ab".encode("utf-32-le"))


@pytest.mark.parametrize(
    ("descr", "shape", "content", "words"),
    [
        ("'|u1'", "(2, 1000000, 1000000)", b"", "does not have the size that it states"),
        ("'|u1'", "(4294967296, 4294967296)", b"", "does not have the size that it states"),
        ("'|u1'", "(2, -1, 1)", b"", "does not have the size that it states"),
        ("'<U0'", "(10000000000,)", b"", "does not have the size that it states"),
        ("'|O'", "(1,)", b"cos\nsystem\n(S'true'\ntR.", "holds pickled data"),
        ("'|u1'", "(2, 0, 5)", b"", "have no pixels"),
        ("'|u1'", "(2, 10000000000, 0)", b"", "have no pixels"),
        ("'|u1'", "x" * 60_000, b"", "cannot be read as an .npz file"),
        ("'|u1'", "(" * 5_000, b"", "cannot be read as an .npz file"),
        ("[('a', '|u1')]", "(2, 1, 1)", b"12", "labels must be integers"),
    ],
)
def test_an_array_that_lies(tmp_path, descr, shape, content, words):
    path = write(tmp_path / "a.npz", ids=IDS, labels=array(descr, shape, content))
    refused(lambda: open_labels(path), words)


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        (array("'<U1'", "(2,)", b"\xff" * 8), "no letter of Unicode"),
        (array("'<U1'", "(2,)", "a\ud800".encode("utf-32-le", "surrogatepass")), "no letter of"),
        (array("'<U1'", "(2,)", "aa".encode("utf-32-le")), "the id 'a' occurs more than once"),
        (array("'<U9999'", "(2,)", ("a" * 19998).encode("utf-32-le")), "occurs more than once"),
        (array("'<U1'", "()", "a".encode("utf-32-le")), "ids must be a list of unicode strings"),
    ],
)
def test_ids_that_are_none(tmp_path, ids, words):
    labels = array("'|u1'", "(2, 1, 1)", b"12")
    refused(lambda: open_labels(write(tmp_path / "a.npz", ids=ids, labels=labels)), words)


def test_many_ids_are_compared_quickly(tmp_path):
    """One by one with all before it, the last of two hundred thousand would take minutes."""
    ids = np.arange(200_001).astype(str)
    ids[-1] = ids[-2]
    np.savez(tmp_path / "a.npz", ids=ids, labels=np.zeros((len(ids), 1, 1), np.uint8))
    refused(lambda: open_labels(tmp_path / "a.npz"), "the id '199999' occurs more than once")


def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch):
    """Compressed zeros are allowed, up to a bound; claims beyond what zeros need are not."""
    zeros = array("'|u1'", "(2, 4096, 4096)", bytes(2**25))
    path = write(tmp_path / "a.npz", packed=True, ids=IDS, labels=zeros)
    monkeypatch.setattr(npz_files, "MOST_BYTES", 2**24)
    refused(lambda: open_labels(path), "holds 33,554,.* bytes of arrays, expected at most 16,777")
    content = bytearray(path.read_bytes())
    place = content.rindex(b"PK\1\2") + 24  # the size in the directory
    content[place : place + 4] = struct.pack("<I", 2**32 - 2)
    path.write_bytes(content)
    refused(lambda: open_labels(path), "claims 4,294,967,294 bytes, more than its")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_that_numpy_never_writes(tmp_path):
    for name, kind, words in (
        ("labels.txt", zipfile.ZIP_STORED, "holds 'labels.txt', which is no array"),
        ("labels.npy", zipfile.ZIP_LZMA, "compressed in a way that numpy does not write"),
        ("ids.npy", zipfile.ZIP_STORED, "holds two arrays of one name"),
    ):
        with zipfile.ZipFile(write(tmp_path / "a.npz", ids=IDS), "a", kind) as archive:
            archive.writestr(name, array("'|u1'", "(2, 1, 1)", b"12"))
        refused(lambda: read_npz(tmp_path / "a.npz"), words)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ids": np.array("a")}, "ids is <U1 of shape"),
        ({"logits": np.zeros((2, 2))}, "logits is float64 of shape"),
        ({"logits": np.array(["1", "2"])}, "logits is <U1 of shape"),
        ({"outcomes": np.array(["a", "b"])}, "outcomes is <U1 of shape"),
        ({"seed": np.array("x")}, "seed is <U1 of shape"),
        ({"step": np.array([1, 2])}, "step is int64 of shape"),
        ({"scenarios": np.array(3)}, "scenarios is int64 of shape"),
    ],
)
def test_answers_of_another_form(tmp_path, changes, words):
    usual = {"ids": np.array(["a", "b"]), "logits": np.zeros(2), "outcomes": np.array([1, 0])}
    numbers = {"seed": np.array(0), "step": np.array(1)}
    np.savez(tmp_path / "a.npz", **{**usual, **numbers, **changes})
    refused(lambda: read_answers(tmp_path / "a.npz"), words)


def huge_png(side):
    def chunk(kind, content):
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b"")


@pytest.mark.filterwarnings("ignore:Image size")
@pytest.mark.parametrize("side", [100_000, 12_000])
@pytest.mark.parametrize(("opened", "what"), [(open_labels, "PNG"), (open_pictures, "picture")])
def test_pictures_that_state_any_size(tmp_path, side, opened, what):
    pytest.importorskip("PIL")
    (tmp_path / "a.png").write_bytes(huge_png(side))
    found = opened(tmp_path)
    refused(lambda: found.load("a"), f"a.png: cannot be read as a {what}")


def test_pictures_that_another_program_would_read(tmp_path):
    image = pytest.importorskip("PIL.Image")
    file = io.BytesIO()
    image.new("RGB", (4, 4)).save(file, "eps")
    (tmp_path / "a.png").write_bytes(file.getvalue())
    refused(lambda: open_pictures(tmp_path).load("a"), "a.png: cannot be read as a picture")


def test_a_result_that_is_nested_without_end(tmp_path):
    (tmp_path / "result.json").write_text("[" * 100_000)
    refused(lambda: read_result(tmp_path), "result.json: cannot be read as a result")
    (tmp_path / "result.json").write_text(json.dumps([]))
    refused(lambda: read_result(tmp_path), "is not a result of slot-eval")
