"""What is kept of an annotation file: found again, never stale, and never in the way."""

import numpy as np
import pytest

from slot_data import index_cache
from slot_data.index_cache import cached_arrays

ARRAYS = {"names": np.array(["a", "bc"]), "values": np.arange(5.0), "none": np.zeros((0, 2))}


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """The folder of what is kept, of files of any size."""
    monkeypatch.setattr(index_cache, "KEPT_FROM", 0)
    monkeypatch.setenv("SLOT_DATA_CACHE", str(tmp_path / "kept"))
    return tmp_path / "kept"


@pytest.fixture
def read(tmp_path):
    """Reads a file, and says how often it has been parsed."""
    path = tmp_path / "data" / "file.json"
    path.parent.mkdir()
    builds = []

    def call(content=b"content"):
        path.write_bytes(content)

        def build():
            builds.append(path.read_bytes())
            return ARRAYS

        found = cached_arrays(path, "kind-1", build)
        assert found.keys() == ARRAYS.keys()
        assert all(np.array_equal(found[name], ARRAYS[name]) for name in ARRAYS)
        return len(builds)

    return call


def test_a_file_is_parsed_once_and_nothing_is_written_beside_it(kept, read, tmp_path):
    assert [read(), read(), read()] == [1, 1, 1]
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["file.json"]
    (folder,) = kept.iterdir()
    assert folder.name.startswith("kind-1-")


def test_another_content_of_the_same_size_is_parsed_again(kept, read):
    assert [read(b"abc"), read(b"abd"), read(b"abc")] == [1, 2, 2]


def test_what_is_kept_may_be_damaged_or_deleted(kept, read):
    read()
    (folder,) = kept.iterdir()
    (folder / "values.npy").write_bytes((folder / "values.npy").read_bytes()[:-8])
    assert [read(), read()] == [2, 2]
    (folder / "names.npy").unlink()
    assert [read(), read()] == [3, 3]
    (folder / "arrays.txt").unlink()
    assert [read(), read()] == [4, 4]
    assert list(kept.iterdir()) == [folder]


def test_a_place_that_cannot_be_written_is_done_without(kept, read):
    kept.write_text("a file where a folder is needed")
    assert [read(), read()] == [1, 2]


def test_small_files_are_not_kept(kept, read, monkeypatch):
    monkeypatch.setattr(index_cache, "KEPT_FROM", 8)
    assert [read(b"seven__"), read(b"seven__")] == [1, 2]
    assert not kept.exists()


def test_the_folder_is_the_users(monkeypatch, tmp_path):
    monkeypatch.delenv("SLOT_DATA_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert index_cache.cache_folder() == tmp_path / "slot-data"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert index_cache.cache_folder() == tmp_path / ".cache/slot-data"
