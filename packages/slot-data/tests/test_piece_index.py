"""Where pictures and texts lie in a Parquet file: every piece is found again, whatever its size,
and a damaged index is named."""

import pickle

import numpy as np
import pyarrow.parquet as pq
import pytest

from slot_data import DataError
from slot_data.encodings import Encoding
from slot_data.piece_index import PieceFile
from slot_data.shards import STATE, ShardWriter
from slot_data.source_rows import Reading
from slot_data.stored_rows import features_of

BITS = np.random.default_rng(0)
LENGTHS = [0, 1, 3, 70_000, 2_000_000, 5]  # of pieces: from nothing to more than a page


def write(folder, rows):
    for name in (STATE, "data", "index"):
        (folder / name).mkdir()
    keys = {"video", "labels", "scenario", "outcome"}
    features = features_of(keys, True, Encoding())
    writer = ShardWriter(folder, "train", features, 10**9)
    for row in rows:
        writer.add(Reading(row["id"], row, None))
    writer.close()
    (shard,) = writer.shards
    return folder / shard.file, folder / shard.index


def a_row(number, lengths):
    pieces = [BITS.bytes(length) for length in lengths]
    row = {"id": f"ä{number}", "height": number, "width": 2, "video": pieces}
    row["clip_ids"] = [f"ä{number}/{frame}" for frame in range(len(lengths))]
    if number % 2:  # every other row has no such entries
        row |= {"labels": [piece[:1] for piece in pieces], "scenario": "Roll", "outcome": True}
    return row


@pytest.fixture
def written(tmp_path):
    rows = [a_row(0, LENGTHS), a_row(1, LENGTHS[::-1])]
    rows += [a_row(number, [number] * (1 + number % 3)) for number in range(2, 250)]
    return rows, *write(tmp_path, rows)


def test_every_piece_is_found_again(written):
    rows, parquet, index = written
    assert pq.read_metadata(parquet).num_row_groups == 3
    file = PieceFile(parquet, index)
    assert len(file) == len(rows)
    for reader in (file, pickle.loads(pickle.dumps(file))):
        for number in (0, 1, 2, 99, 100, 101, 249):
            row, there = rows[number], reader.row(number)
            for key in ("id", "height", "width", "scenario", "outcome"):
                assert there[key] == row.get(key), key
            for key in ("video", "clip_ids", "labels"):
                found = there[key]
                assert (None if found is None else list(found)) == row.get(key), key


def test_any_reader_of_parquet_finds_the_same(written):
    rows, parquet, _ = written
    table = pq.read_table(parquet).to_pylist()
    assert [[piece["bytes"] for piece in row["video"]] for row in table] == [
        row["video"] for row in rows
    ]


def test_a_file_that_was_written_anew_is_mapped_anew(tmp_path):
    (tmp_path / "a").mkdir()
    parquet, index = write(tmp_path / "a", [a_row(0, [4])])
    before = list(PieceFile(parquet, index).row(0)["video"])
    (tmp_path / "b").mkdir()
    other, other_index = write(tmp_path / "b", [a_row(0, [4])])
    other.replace(parquet)
    other_index.replace(index)
    assert list(PieceFile(parquet, index).row(0)["video"]) != before


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, r"train-00000.npz cannot be read: No such file"),
        (b"", r"train-00000.npz is damaged"),
        (b"PK\x03\x04 and more", r"train-00000.npz is damaged"),
        ({"rows": np.zeros((1, 2), int)}, r"train-00000.npz is damaged"),
        ({"other": np.zeros((1, 4), int)}, r"train-00000.npz is damaged"),
        (
            {"rows": np.zeros((2, 4), int), "id": np.zeros((1, 2), int)},
            "damaged: its columns do",
        ),
        ({"rows": np.array([[object()]])}, r"train-00000.npz is damaged"),
    ],
)
def test_a_damaged_index_is_named(tmp_path, content, sentence):
    parquet, index = write(tmp_path, [a_row(0, [4])])
    if content is None:
        index.unlink()
    elif isinstance(content, bytes):
        index.write_bytes(content)
    else:
        np.savez(index, **content)
    with pytest.raises(DataError, match=sentence):
        PieceFile(parquet, index)
