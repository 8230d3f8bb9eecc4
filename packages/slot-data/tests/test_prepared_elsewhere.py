"""A prepared folder through plain `datasets`: whole, streamed, and divided between processes; and
its samples streamed."""

import shutil

import movi_files

# pyright: reportTypedDictNotRequiredAccess=false
# (the samples asked for labels here have them)
import numpy as np
import pytest
from PIL import Image
from scenes import assert_same, prepared, write_scene
from torch.utils.data import DataLoader

from slot_data import DataError, load_dataset_by_name
from slot_data.prepared_stream import PreparedStream

pytestmark = pytest.mark.usefixtures("arrow_cache")
TEST = 7


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Seven pictures for testing in several files, and two for validation."""
    root = tmp_path_factory.mktemp("scenes")
    for number in (*range(TEST), 5000, 5001):
        write_scene(root / "raw", number)
    manifest = prepared("clevrtex", root / "raw", root / "made", ("validation", "test"),
                        shard_bytes=3_000, options={"image_size": 32})  # fmt: skip
    assert len(manifest.splits["test"].shards) >= 2
    return root / "made"


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    root = tmp_path_factory.mktemp("clips")
    for number in range(2):
        bits = np.random.default_rng(number)
        frames = bits.integers(256, size=(5, 8, 8, 3), dtype=np.uint8)
        movi_files.write_numbered(root / f"raw/MOVi-D/test/{number:08d}", frames, frames[..., 0])
    prepared("movi_d", root / "raw", root / "made", ("test",))
    return root


def ids(rows):
    return [row["id"] for row in rows]


def test_datasets_finds_splits_and_decodes_pictures(folder):
    from datasets import load_dataset

    rows = load_dataset(str(folder))
    assert {split: len(part) for split, part in rows.items()} == {"validation": 2, "test": TEST}
    raw = load_dataset_by_name("clevrtex", split="test", root=folder)
    row = rows["test"][3]
    assert row["id"] == raw[3]["id"]
    picture, mask = row["video"][0], row["labels"][0]
    assert isinstance(picture, Image.Image)
    assert np.array_equal(np.asarray(picture).transpose(2, 0, 1), raw[3]["video"][0])
    assert np.array_equal(np.asarray(mask), raw[3]["labels"][0])


@pytest.mark.parametrize("streaming", [False, True])
def test_datasets_divides_it_between_processes(folder, streaming):
    from datasets import load_dataset
    from datasets.distributed import split_dataset_by_node

    rows = load_dataset(str(folder), split="test", streaming=streaming)
    parts = [ids(split_dataset_by_node(rows, rank=rank, world_size=2)) for rank in range(2)]
    assert all(parts)
    assert sorted(parts[0] + parts[1]) == ids(rows)
    assert len(ids(rows)) == len(set(ids(rows))) == TEST


def test_streamed_samples_are_those_of_the_folder(folder):
    dataset = load_dataset_by_name("clevrtex", split="test", root=folder)
    streamed = list(PreparedStream(str(folder), split="test"))
    assert len(streamed) == len(dataset)
    for index, sample in enumerate(streamed):
        assert_same(sample, dataset[index])


def test_processes_and_workers_stream_each_sample_once(folder):
    seen = []
    for rank in range(2):
        stream = PreparedStream(str(folder), split="test", rank=rank, world_size=2)
        seen += ids(DataLoader(stream, batch_size=None, num_workers=2))
    assert sorted(seen) == ids(load_dataset_by_name("clevrtex", split="test", root=folder))


def test_streamed_clips_are_those_of_the_raw_videos(clips):
    options = {"num_frames": 2, "stride": 2, "clips": "every", "preset": "slotdiffusion"}
    raw = load_dataset_by_name("movi_d", split="test", root=clips / "raw", **options)
    streamed = list(PreparedStream(f"file://{clips / 'made'}", split="test", **options))
    assert len(streamed) == len(raw) == 6
    for index, sample in enumerate(streamed):
        assert_same(sample, raw[index])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"root": "no"}, r"no/prepared.json cannot be read"),
        ({"split": "train"}, "split 'train' is not in .*; prepared are validation, test"),
        ({"rank": 2, "world_size": 2}, r"rank is 2, not in \[0, 2\)"),
        ({"image_size": 64}, "was prepared with image_size 32, not 64"),
        ({"colour": 1}, "has no option 'colour'"),
        ({"preset": "none"}, "dataset 'clevrtex' has no preset 'none'"),
    ],
)
def test_what_cannot_be_streamed_is_an_error(folder, options, sentence):
    with pytest.raises(DataError, match=sentence):
        PreparedStream(**{"root": str(folder), "split": "test", **options})


@pytest.mark.parametrize("damage", ["gone", "cut", "other"])
def test_a_file_that_cannot_be_streamed_is_one_sentence(folder, tmp_path, damage):
    copy = shutil.copytree(folder, tmp_path / "copy")
    files = sorted(copy.glob("data/test-*.parquet"))
    if damage == "gone":
        files[-1].unlink()
    elif damage == "cut":
        files[-1].write_bytes(files[-1].read_bytes()[:-100])
    else:
        files[-1].write_bytes(b"no Parquet at all, " * 10)
    with pytest.raises(DataError, match="copy: a Parquet file cannot be read: ") as told:
        list(PreparedStream(str(copy), split="test"))
    assert "\n" not in str(told.value)
