"""Whatever the parsers of ours are given, they give a value or one sentence: see tools/fuzz.py,
which does the same with many more inputs."""

import gzip
import struct
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from fuzz import MOST_MEMORY, fuzz
from fuzz_inputs import array_file
from fuzz_targets import TARGETS, read_predictions, read_tfrecord
from slot_data.tfrecord import masked_crc32c


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("count", [400, pytest.param(4_000, marks=pytest.mark.slow)])
def test_a_value_or_one_sentence(name: str, count: int, tmp_path: Path):
    tally = fuzz(TARGETS[name](), count, tmp_path, start=count)
    assert tally.inputs >= count
    assert 0 < tally.parsed < tally.inputs
    assert tally.memory <= MOST_MEMORY


@pytest.mark.parametrize("name", TARGETS)
def test_unfit_inputs_are_found_and_shrunk(name: str, tmp_path: Path):
    """A reader with a bug of its own: what is no value and no sentence does not pass."""

    def read(content: object, folder: Path) -> bool:
        if TARGETS[name]().read(content, folder):
            return True
        raise KeyError("a bug")

    with pytest.raises(KeyError, match="a bug"):
        fuzz(replace(TARGETS[name](), read=read), 100, tmp_path)


def test_memory_that_is_taken_is_seen(tmp_path: Path):
    def read(content: object, folder: Path) -> bool:
        return content != b"x" * (2 * MOST_MEMORY)

    with pytest.raises(AssertionError, match="bytes of memory for one input"):
        fuzz(replace(TARGETS["tfrecord"](), read=read), 1, tmp_path)


def test_texts_of_no_letters_are_refused_however_many(tmp_path: Path):
    """Ten thousand million empty ids take no byte in the file, and all memory as a list."""
    with zipfile.ZipFile(tmp_path / "made.npz", "w") as archive:
        archive.writestr("ids.npy", array_file("'<U0'", "(10000000000,)", b""))
        archive.writestr("labels.npy", array_file("'|u1'", "(10000000000, 0, 1)", b""))
    assert not read_predictions((tmp_path / "made.npz").read_bytes(), tmp_path)


def test_zeros_of_a_compressed_record_are_not_kept_in_memory(tmp_path: Path):
    """Four thousand million of them are four million bytes; a record states so many."""
    length = struct.pack("<Q", 2**32)
    content = gzip.compress(length + struct.pack("<I", masked_crc32c(length)) + bytes(2**20))
    assert not read_tfrecord(content, tmp_path)
