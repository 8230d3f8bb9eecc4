"""Prepared folders and folders of slots of which nobody knows who made them. Whoever makes one can
make its hashes, too, so what it says is held against what there is."""

import hashlib
import json
import shutil

import numpy as np
import pytest
from scenes import prepared, write_scene
from test_slots import write

from slot_data import DataError, load_dataset_by_name
from slot_data.manifest import manifest_from, read_manifest
from slot_data.slots import Slots


def refused(call, *words):
    with pytest.raises(DataError) as caught:
        call()
    sentence = str(caught.value)
    assert sentence.isprintable()
    assert len(sentence) < 800
    assert all(str(word) in sentence for word in words), sentence


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    root = tmp_path_factory.mktemp("whole")
    for number in range(3):
        write_scene(root / "raw", number)
    prepared(
        "clevrtex", root / "raw", root / "made", ("test",), options={"image_size": 16}, cache=True
    )
    prepared("clevrtex", root / "raw", root / "bare", ("test",), options={"image_size": 16})
    return root


@pytest.fixture
def folder(whole, tmp_path):
    return shutil.copytree(whole / "made", tmp_path / "made")


def load(folder):
    dataset = load_dataset_by_name("clevrtex", split="test", root=folder)
    return [dataset[number] for number in range(len(dataset))]


def rewrite(folder, change):
    """The manifest, changed, with the hash that it then has."""
    path = folder / "prepared.json"
    said = json.loads(path.read_text())
    change(said)
    body = {key: said[key] for key in said if key not in ("format", "hash", "source")}
    body = json.loads(json.dumps(body))
    for split in body["splits"].values():
        split["shards"] = [[shard["content"], shard["left_out"]] for shard in split["shards"]]
        del split["cache"]
    said["hash"] = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps(said))


def shard(said):
    return said["splits"]["test"]["shards"][0]


def test_the_test_makes_hashes_that_are_believed(folder):
    rewrite(folder, lambda said: said["splits"]["test"]["options"].update(max_objects=None))
    assert len(load(folder)) == 3


@pytest.mark.parametrize("name", [
    "../raw/x.parquet", "/etc/x.parquet", "data/../../x.parquet", "data/a/../x.parquet",
    "data\\..\\x.parquet", "index/x.parquet", "data/x.npz", "data/.parquet\n", "data/",
    "x.parquet", "",
])  # fmt: skip
def test_a_file_that_lies_elsewhere(folder, name):
    rewrite(folder, lambda said: shard(said).update(file=name))
    refused(lambda: load(folder), folder / "prepared.json", "is no name of a file in data/")


@pytest.mark.parametrize("name", ["../x.npy", "/x.npy", "cache/../x.npy", "data/x.npy"])
def test_a_cache_that_lies_elsewhere(folder, name):
    rewrite(folder, lambda said: said["splits"]["test"]["cache"].update({name: "0"}))
    refused(lambda: load(folder), folder / "prepared.json", "is no name of a file in cache/")


@pytest.mark.parametrize(
    "change",
    [
        lambda said: shard(said).update(rows="3"),
        lambda said: shard(said).update(rows=True),
        lambda said: shard(said).update(rows=-3),
        lambda said: shard(said).update(bytes=1.5),
        lambda said: shard(said).update(objects={"-1": 1}),
        lambda said: shard(said).update(left_out=[["a", "b", "c"]]),
        lambda said: shard(said).update(left_out=7),
        lambda said: shard(said).update(more=1),
        lambda said: shard(said).pop("rows"),
        lambda said: said["splits"]["test"].update(shards={"a": 1}),
        lambda said: said["splits"]["test"].update(options=[]),
        lambda said: said["splits"]["test"].update(framing=[1]),
        lambda said: said["splits"]["test"].update(keys="video"),
        lambda said: said.update(splits=[]),
        lambda said: said.update(encoding={"pictures": "x"}),
        lambda said: said.update(encoding={"quality": 0}),
        lambda said: said.update(encoding={"a": 0}),
        lambda said: said.update(dataset=["clevrtex"]),
        lambda said: said.update(videos=1),
    ],
)
def test_a_manifest_of_other_types(folder, change):
    path = folder / "prepared.json"
    said = json.loads(path.read_text())
    change(said)
    path.write_text(json.dumps(said))
    refused(lambda: load(folder))


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"a":' * 100_000, "[1, 2]", "7", "", '{"format": 2}', '{"format": NaN}',
     '{"format": 2, "format": 2}', '{"format": {}}', '{"a": "\\ud800"}', "\udcff"],
)  # fmt: skip
def test_a_manifest_that_is_none(folder, text):
    path = folder / "prepared.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    refused(lambda: read_manifest(folder), path)
    refused(lambda: manifest_from(text.encode("utf-8", "surrogateescape"), "hf://x"), "hf://x")


def test_a_manifest_of_many_bytes_is_not_read(folder):
    with (folder / "prepared.json").open("r+b") as file:
        file.truncate(2**27)  # without taking them on the disk
    refused(lambda: load(folder), "has more than")


def test_splits_and_options_that_lack_what_they_need(folder):
    rewrite(folder, lambda said: said["splits"]["test"].update(options={}))
    refused(lambda: load_dataset_by_name("clevrtex", split="test", root=folder, variant="camo"))
    rewrite(folder, lambda said: said["splits"]["test"].update(shards=[]))
    refused(lambda: load(folder), "is empty")


@pytest.mark.parametrize(
    "change",
    [
        lambda index: index.update(rows=index["rows"].astype(float)),
        lambda index: index.update(rows=index["rows"][:, :2]),
        lambda index: index.update(rows=index["rows"][0]),
        lambda index: index["rows"].__setitem__((0, 0), 10**12),
        lambda index: index["rows"].__setitem__((0, 0), -1),
        lambda index: index["rows"].__setitem__((0, 1), 10**9),
        lambda index: index["rows"].__setitem__((0, 1), 17),
        lambda index: index["video"].__setitem__((0, 0), -5),
        lambda index: index["video"].__setitem__((0, 1), 10**12),
        lambda index: index["video"].__setitem__((0, 1), -7),
        lambda index: index["video"].__setitem__((0, 0), 2**63 - 1),
        lambda index: index["labels"].__setitem__((0, 0), 3),
        lambda index: index["id"].__setitem__((0, 1), 10**6),
        lambda index: index.pop("id"),
        lambda index: index.pop("video"),
        lambda index: index.pop("rows"),
        lambda index: index.update(rows=index["rows"].astype(object)),
    ],
)
def test_an_index_that_lies(whole, tmp_path, change):
    folder = shutil.copytree(whole / "bare", tmp_path / "bare")
    path = folder / "index/test-00000.npz"
    with np.load(path, allow_pickle=False) as content:
        index = dict(content)
    change(index)
    np.savez(path, **index)
    refused(lambda: load(folder))


def test_an_index_that_unpacks_to_more_than_it_is(folder):
    path = folder / "index/test-00000.npz"
    np.savez_compressed(path, rows=np.zeros((2**20, 4), np.int64))
    refused(lambda: load(folder), path, "it is compressed")


@pytest.mark.parametrize("array", [
    np.zeros((3, 2), "O"), np.zeros((3, 1, 1), "U3"), np.zeros(3), np.array(1), np.zeros((9, 4, 4)),
    np.zeros((3, 1, 1), [("a", int)]),
])  # fmt: skip
def test_a_cache_that_lies(folder, array):
    np.save(folder / "cache/test-labels.npy", array)
    refused(lambda: load(folder), folder / "cache/test-labels.npy")


# --- slots --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_videos": 10**9}, "num_videos"),
        ({"num_videos": 10**9, "videos_per_part": 1}, "parts of"),
        ({"num_videos": 2**80}, "expected a number from 1 on"),
        ({"videos_per_part": 0}, "videos_per_part is 0"),
        ({"videos_per_part": True}, "videos_per_part is True; expected an integer"),
        ({"num_slots": "3"}, "num_slots is '3'; expected an integer"),
        ({"num_slots": 10**9}, "has the shape"),
        ({"slot_dim": -1}, "slot_dim is -1"),
        ({"options": [1]}, "options is [1]; expected an object"),
        ({"data": None}, "data is None; expected a text"),
        ({"fingerprint": "b"}, "holds slots of another model"),
    ],
)
def test_a_description_of_slots_that_lies(tmp_path, changes, words):
    write(tmp_path / "test")
    path = tmp_path / "test/slots.json"
    if changes == {"num_videos": 10**9}:
        words = "parts of"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    refused(lambda: Slots("test", tmp_path), words)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"format": 1, "format": 1}', "null", '"x"', ""])
def test_a_description_of_slots_that_is_none(tmp_path, text):
    write(tmp_path / "test")
    (tmp_path / "test/slots.json").write_text(text)
    refused(lambda: Slots("test", tmp_path), tmp_path / "test/slots.json")


@pytest.mark.parametrize("said", ["[" * 100_000, "[]", '{"ids": 7}', '{"ids": ["x"]}'])
def test_a_part_of_slots_whose_words_lie(tmp_path, said):
    from safetensors.torch import load_file, save_file

    write(tmp_path / "test")
    path = tmp_path / "test/slots-00001.safetensors"
    tensors = {name: value.clone() for name, value in load_file(path).items()}
    if said.startswith('{"'):
        said = json.dumps({**json.loads(said), "fingerprint": "a" * 64, "outcomes": None})
    save_file(tensors, path, metadata={"slots": said})
    refused(lambda: Slots("test", tmp_path), path)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a": NaN}', '{"a": true, "a": true}', "[]"])
def test_outcomes_that_are_none(tmp_path, text):
    write(tmp_path / "test")
    (tmp_path / "o.json").write_text(text)
    refused(lambda: Slots("test", tmp_path, outcomes=tmp_path / "o.json"), tmp_path / "o.json")
