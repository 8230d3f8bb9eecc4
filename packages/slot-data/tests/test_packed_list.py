"""A list in one block of memory behaves like a list."""

import pickle
from pathlib import Path

import pytest

from slot_data.packed_list import PackedList

OBJECTS = [Path("a/b"), "ü", ("x", 1), None, list(range(1000))]


def test_it_gives_what_was_put_in():
    packed = PackedList(iter(OBJECTS))
    assert list(packed) == OBJECTS
    assert len(packed) == 5
    assert packed[-1] == OBJECTS[-1]
    assert packed[1:4:2] == OBJECTS[1:4:2]
    assert list(pickle.loads(pickle.dumps(packed))) == OBJECTS
    with pytest.raises(IndexError):
        packed[5]


def test_it_may_be_empty():
    assert list(PackedList([])) == []
