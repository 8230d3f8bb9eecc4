"""Folders of runs of which nobody knows who made them: nothing in them runs code or never ends."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from slot_core import CheckpointError
from slot_core.hub import read_weights
from support.checkpoints import RunFolder, damage_of, read_state


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


def test_code_in_a_training_state_is_never_run(tmp_path: Path):
    """Nor anything in a state of the optimizer or of a generator."""
    (tmp_path / "state").mkdir()
    for place in ("optimizer", "average", "random"):
        state = {"step": 3, place: {"state": {0: Bomb(tmp_path / "exploded")}}}
        torch.save(state, tmp_path / "state/state.pt")
        with pytest.raises(CheckpointError, match=r"state\.pt: holds Python objects") as caught:
            read_state(tmp_path)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "exploded").exists()
    (tmp_path / "state/state.pt").unlink()
    with pytest.raises(CheckpointError, match=r"state\.pt: the file is missing"):
        read_state(tmp_path)


def test_weights_that_are_a_pickle_are_not_opened(tmp_path: Path):
    torch.save({"a": Bomb(tmp_path / "exploded")}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"model\.safetensors: is damaged"):
        read_weights(tmp_path / "model.safetensors")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("name", ["/dev/zero", "../../outside", "endless", "model/../../outside"])
def test_checksums_of_what_lies_elsewhere(tmp_path: Path, name: str):
    """To take the sum of /dev/zero would never end."""
    (tmp_path / "outside").write_text("x")
    checkpoint = tmp_path / "run/step-00000001"
    (checkpoint / "model").mkdir(parents=True)
    (checkpoint / "endless").symlink_to("/dev/zero")
    (checkpoint / "checksums.json").write_text(json.dumps({name: "0"}))
    assert damage_of(checkpoint) == f"{checkpoint / name}: is missing"


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", '{"a": 1, "a": 2}', "\udcff", '{"a": [1]}'])
def test_options_and_checksums_that_are_none(tmp_path: Path, text: str):
    (tmp_path / "checksums.json").write_bytes(os.fsencode(text))
    damage = damage_of(tmp_path)
    assert damage is not None
    assert "\n" not in damage
    (tmp_path / "options.json").write_bytes(os.fsencode(text))
    with pytest.raises(ValueError, match=r"options\.json|holds another run") as caught:
        RunFolder(tmp_path, {"seed": 1}, resume=True)
    assert "\n" not in str(caught.value)
