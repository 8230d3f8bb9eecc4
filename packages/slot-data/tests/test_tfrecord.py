"""TFRecord files and tf.train.Example messages, against their definitions and real files."""

import gzip
import os
import re
from pathlib import Path

import numpy as np
import pytest
from movi_files import counted, crc32c, example, tfrecord, varint

from slot_data import DataError
from slot_data.tf_example import TFExample
from slot_data.tfrecord import crc32c as fast_crc32c
from slot_data.tfrecord import records_of

PNG = b"\x89PNG\r\n\x1a\n"
RECORDS = [b"", b"first", bytes(range(256)) * 5]


def write(folder, content):
    path = folder / "some.tfrecord-00000-of-00001"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("text", "checksum"),
    [  # RFC 3720, appendix B.4, and the check value of the algorithm
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
        (b"123456789", 0xE3069283),
        (b"", 0),
    ],
)
def test_checksums_are_the_published_ones(text, checksum):
    assert fast_crc32c(text) == checksum


@pytest.mark.parametrize("length", [2047, 2048, 2051, 8192, 8193, 20_001])
def test_long_texts_have_the_checksum_of_the_definition(length):
    text = np.random.default_rng(length).bytes(length)
    assert fast_crc32c(text) == crc32c(text)


def test_records_are_found_and_read_back(tmp_path):
    path = write(tmp_path, tfrecord(RECORDS))
    records = records_of(path)
    for record, content in zip(records, RECORDS, strict=True):
        with record.mapped() as text:
            assert text[record.start : record.stop] == content
        record.verify()
    assert str(records[1]) == f"record 1 of {path}"


def test_a_damaged_record_is_found_by_its_checksum(tmp_path):
    content = bytearray(tfrecord(RECORDS))
    content[-100] ^= 1
    records = records_of(write(tmp_path, content))
    records[1].verify()
    with pytest.raises(DataError, match=r"record 2 of .* is damaged: its checksum does not fit"):
        records[2].verify()


def test_faults_of_files_are_named(tmp_path):
    whole = tfrecord(RECORDS)
    for length, number in ((8, 0), (25, 1), (len(whole) - 1, 2)):
        with pytest.raises(DataError, match=rf"00001 is cut off within record {number}$"):
            records_of(write(tmp_path, whole[:length]))
    with pytest.raises(DataError, match="00001 is empty; expected a TFRecord file"):
        records_of(write(tmp_path, b""))
    with pytest.raises(DataError, match="is compressed by GZIP; expected an uncompressed"):
        records_of(write(tmp_path, gzip.compress(whole)))
    with pytest.raises(DataError, match="is no TFRecord file: its first length does not fit"):
        records_of(write(tmp_path, b"<html>Quota exceeded</html>"))
    with pytest.raises(DataError, match="is damaged at byte 16: the length of a record does not"):
        records_of(write(tmp_path, whole[:16] + b"\1" + whole[17:]))
    with pytest.raises(DataError, match="missing cannot be read: No such file"):
        records_of(tmp_path / "missing")


def test_a_length_that_looks_like_gzip_is_none(tmp_path):
    """0x8b1f bytes: the first two bytes of the file are those of a GZIP file."""
    content = bytes(0x8B1F)
    assert tfrecord([content])[:2] == gzip.compress(b"")[:2]
    (record,) = records_of(write(tmp_path, tfrecord([content])))
    assert record.stop - record.start == 0x8B1F


def test_a_file_that_shrinks_meanwhile_is_named(tmp_path):
    path = write(tmp_path, tfrecord(RECORDS))
    record = records_of(path)[2]
    path.write_bytes(tfrecord(RECORDS[:1]))
    with pytest.raises(DataError, match="the file has been cut off since it was opened"):
        record.verify()


def test_every_kind_of_feature_is_decoded():
    integers = [0, 1, 127, 128, 300, 65535, 2**31, 2**63 - 1, -1, -(2**63)]
    floats = [0.0, 1.5, -2.25]
    message = example({"a/b": integers, "floats": floats, "texts": [b"", b"x" * 200], "none": []})
    found = TFExample(b"??" + message + b"??", 2, 2 + len(message), "record 7")
    assert found.integers("a/b").tolist() == integers
    assert found.floats("floats").tolist() == floats
    texts = [(b"??" + message)[part] for part in found.texts("texts")]
    assert texts == [b"", b"x" * 200]
    assert len(found.integers("none")) == len(found.floats("none")) == len(found.texts("none")) == 0
    assert "floats" in found
    assert "float" not in found


def entry(key, feature):
    return counted(1, counted(1, counted(1, key) + counted(2, feature)))


def test_numbers_that_are_not_packed_are_read_too():
    """One field for each number: kind 0 for integers, 5 for floats."""
    ones = b"".join(varint(1 << 3 | 0) + varint(value) for value in (5, 300, 7))
    found = TFExample(message := entry(b"n", counted(3, ones)), 0, len(message), "m")
    assert found.integers("n").tolist() == [5, 300, 7]
    ones = b"".join(varint(1 << 3 | 5) + np.float32(value).tobytes() for value in (0.5, 4))
    found = TFExample(message := entry(b"n", counted(2, ones)), 0, len(message), "m")
    assert found.floats("n").tolist() == [0.5, 4]


def test_fields_in_another_order_and_unknown_ones_are_taken():
    feature = counted(3, counted(1, b"\5"))
    strange = varint(9 << 3 | 1) + bytes(8) + varint(9 << 3 | 0) + varint(1000)
    turned = counted(2, feature) + counted(1, b"n") + strange
    message = counted(1, counted(1, turned) + strange) + strange
    assert TFExample(message, 0, len(message), "m").integers("n").tolist() == [5]


def test_faults_of_messages_are_named():
    message = example({"n": [5, 6], "t": [b"abc"]})
    found = TFExample(message, 0, len(message), "record 7")
    with pytest.raises(DataError, match=r"^record 7 has no feature 'flow'$"):
        found.integers("flow")
    with pytest.raises(DataError, match="feature 't' of record 7 holds bytes; expected floats"):
        found.floats("t")
    for broken, words in (
        (message[:-1], "a field reaches beyond its message"),
        (b"\x80" * 12, "a number that does not end"),
        (b"\x0b", "a field of the unknown kind 3"),
        (entry(b"\xff", b""), "invalid start byte"),
    ):
        with pytest.raises(DataError, match=f"record 7 is no tf.train.Example: .*{words}"):
            TFExample(broken, 0, len(broken), "record 7")
    for kind, method, content in ((3, "integers", b"\x80\x80"), (2, "floats", b"\0" * 5)):
        broken = entry(b"n", counted(kind, counted(1, content)))
        with pytest.raises(DataError, match="feature 'n' of record 7 is damaged: "):
            getattr(TFExample(broken, 0, len(broken), "record 7"), method)("n")


def test_real_files_agree_with_an_independent_reading():
    """The first PNG after a feature's name, and names by a regular expression."""
    reference = os.environ.get("SLOT_REFERENCE_DATA")
    if reference is None:
        pytest.skip("SLOT_REFERENCE_DATA names no folder of reference data")
    paths = sorted(Path(reference, "samples", "movi_tfds").rglob("*.tfrecord-*"))
    assert len(paths) == 5
    for path in paths:
        whole = path.read_bytes()
        (record,) = records_of(path)
        record.verify()
        with record.mapped() as content:
            found = TFExample(content, record.start, record.stop, str(record))
            for key in ("video", "segmentations", "depth"):
                parts = found.texts(key)
                name = bytes([10, len(key)]) + key.encode() + b"\x12"
                assert parts[0].start == whole.index(PNG, whole.index(name)), key
                assert len(parts) == 24
                assert all(content[part][:8] == PNG for part in parts)
                assert all(content[part][-8:-4] == b"IEND" for part in parts)
            assert found.integers("metadata/num_frames").tolist() == [24]
            assert len(found.integers("forward_flow")) == 24 * 128 * 128 * 2
            names = set(re.findall(rb"\n[\x01-\x7f](metadata/\w+)\x12", whole))
            assert names
            assert all(name.decode() in found for name in names)
