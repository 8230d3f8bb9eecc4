"""Edits of sets of slots, the original code's mixing, and concepts."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from slot_core import InputError
from support.slot_sets import SlotEdits, compose, find_concepts, shifted


def numbers(edits: SlotEdits, scene: str) -> list[str]:
    return [f"{slot.scene}{slot.number}" for slot in edits.sets[scene]]


def test_edits_do_what_they_say():
    edits = SlotEdits({"a": 3, "b": 3})
    edits.remove("1")
    assert numbers(edits, "a") == ["a0", "a2"]
    assert numbers(edits, "b") == ["b0", "b2"]
    edits.swap("a:2", "b:0")
    assert numbers(edits, "a") == ["a0", "b0"]
    assert numbers(edits, "b") == ["a2", "b2"]
    edits.insert("a:0", "b")
    assert numbers(edits, "b") == ["a2", "b2", "a0"]
    edits.move("b:2", "a")
    assert numbers(edits, "a") == ["a0", "b0", "b2"]
    assert numbers(edits, "b") == ["a2", "a0"]


def test_slots_of_an_edited_scene_are_those_that_were_found():
    found = {"a": torch.randn(4, 3, 2), "b": torch.randn(1, 3, 2)}
    edits = SlotEdits({"a": 3, "b": 3})
    edits.remove("a:0")
    edits.insert("b:2", "a")
    slots = edits.slots_of("a", found)
    assert torch.equal(slots[:, :2], found["a"][:, 1:])
    assert torch.equal(slots[:, 2], found["b"][:, 2].expand(4, -1))
    edits.insert("a:1", "b")
    with pytest.raises(InputError, match="a has 4 frames and b 1; slots go between videos of one"):
        edits.slots_of("b", found)


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (("remove", "9"), "'9' names slot 9 of a, which has the slots 0 to 2"),
        (("remove", "b:4"), "'b:4' names slot 4 of b, which has the slots 0 to 2"),
        (("remove", "c:1"), "there is no picture 'c'; there are a, b"),
        (("remove", "a"), "'a' names no slot; expected a number, or PICTURE:NUMBER"),
        (("swap", "1", "b:1"), "'1' names a slot of every picture; expected PICTURE:NUMBER"),
        (("insert", "a:1", "c"), "there is no picture 'c'; there are a, b"),
    ],
    ids=str,
)
def test_what_cannot_be_edited_is_named(edit: tuple, sentence: str):
    name, *words = edit
    with pytest.raises(InputError, match=sentence):
        getattr(SlotEdits({"a": 3, "b": 3}), name)(*words)


def test_a_slot_is_taken_out_once_and_one_stays():
    edits = SlotEdits({"a": 2})
    edits.remove("1")
    with pytest.raises(InputError, match="a:1 is not there any more"):
        edits.remove("a:1")
    edits.remove("0")
    with pytest.raises(InputError, match="no slot of a is left"):
        edits.slots_of("a", {"a": torch.zeros(1, 2, 3)})


def test_scenes_are_shifted_as_by_hand():
    slots = torch.arange(6).view(3, 1, 2, 1).float()  # scene 0 has 0 and 1, scene 1 has 2 and 3
    assert shifted(slots).flatten().tolist() == [0, 3, 2, 5, 4, 1]


def test_scenes_are_shifted_as_by_the_original_code():
    """More slots than scenes, as many, and fewer; pictures and videos."""
    data = os.environ.get("SLOT_REFERENCE_DATA")
    if data is None:
        pytest.skip("SLOT_REFERENCE_DATA is not set")
    folder = Path(data) / "golden" / "compose"
    given, expected = (load_file(folder / f"{n}.safetensors") for n in ("inputs", "outputs"))
    assert len(given) == 8
    for name, slots in given.items():
        videos = slots if slots.ndim == 4 else slots[:, None]
        assert torch.equal(shifted(videos).view_as(slots), expected[name]), name


def test_concepts_are_what_is_alike_and_scenes_hold_one_of_each():
    centres = torch.tensor([[0.0, 9.0], [9.0, 0.0], [-9.0, -9.0]])
    slots = centres.repeat(5, 1) + 0.1 * torch.randn(15, 2)
    concepts = find_concepts(slots, 3, seed=0)
    assert len(np.unique(concepts)) == 3
    assert all(len(np.unique(concepts[kind::3])) == 1 for kind in range(3))
    scenes = compose(slots, concepts, 7, seed=0)
    assert scenes.shape == (7, 1, 3, 2)
    nearest = torch.cdist(scenes.flatten(0, 1), centres).argmin(-1)
    assert (nearest.sort(dim=1).values == torch.arange(3)).all()
    with pytest.raises(InputError, match="16 concepts cannot be found among 15 slots"):
        find_concepts(slots, 16, seed=0)
