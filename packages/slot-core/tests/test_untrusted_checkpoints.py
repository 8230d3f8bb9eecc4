"""Checkpoints of which nobody knows who made them: one sentence, no code, no memory for claims."""

import json
import pickle
import resource
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tiny_hub_model import TinyModel, make_tiny_model

from slot_core import CheckpointError, InputError
from slot_core.hub import read_weights
from slot_core.memory_budget import LEAST
from slot_core.pickled_weights import read_pickled

DESCRIPTION = {"format_version": 1, "model_class": "TinyModel", "config": {"dim": 4}}


def peak() -> int:
    """Bytes that this process has ever had in memory at once."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def refused(call: Callable[[], Any], words: str) -> str:
    before = peak()
    with pytest.raises(InputError, match=words) as caught:
        call()
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600
    assert peak() - before < 2**28
    return str(caught.value)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    make_tiny_model().save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 100_000, "nested more than 64 deep"),
        ('{"a":' * 100_000, "nested more than 64 deep"),
        ('{"config":' + "[" * 70 + "]" * 70 + "}", "nested more than 64 deep"),
        ('{"config": {"dim": NaN}}', "NaN is no number"),
        ('{"config": {"dim": -Infinity}}', "-Infinity is no number"),
        ('{"config": {"dim": 1e999}}', "1e999 is too large a number"),
        ('{"config": {"dim": 1' + "0" * 5000 + "}}", "is not readable JSON"),
        ('{"config": {"dim": 1, "dim": 2}}', "key 'dim' stands there twice"),
        ('{"a\\nb": 1, "a\\nb": 2}', "stands there twice"),
        ('{"config": {"\\ud800": 1}}', "is not readable JSON"),
        (" " * (2**20 + 1), "more than 1,048,576 bytes"),
        ("", "is not readable JSON"),
        ("null", "expected a JSON object"),
        (json.dumps({**DESCRIPTION, "a\nb\x1b[31m": 1}), "unknown key"),
        (json.dumps({**DESCRIPTION, "model_class": ["x"]}), "'model_class' is missing or not of"),
        (json.dumps({**DESCRIPTION, "model_class": "../x\n" * 99}), "holds a .*, expected TinyMo"),
        (json.dumps({**DESCRIPTION, "config": {"a\nb": 1}}), "unknown key"),
        (json.dumps({**DESCRIPTION, "config": {"dim": [[1]] * 999}}), "'dim' has the value"),
        (json.dumps({**DESCRIPTION, "config": {"part": 7}}), "'part' has the value 7"),
        (json.dumps({**DESCRIPTION, "config": {"dim": "4" * 10_000}}), "'dim' has the value"),
    ],
    ids=range(20),
)
def test_a_configuration_is_refused_in_one_sentence(saved: Path, text: str, words: str):
    (saved / "config.json").write_text(text)
    said = refused(lambda: TinyModel.from_pretrained(saved), words)
    assert "config.json" in said


def test_a_configuration_in_other_letters_is_refused(saved: Path):
    for encoding in ("utf-16", "latin1"):
        (saved / "config.json").write_bytes('{"ö": 1}'.encode(encoding))
        refused(lambda: TinyModel.from_pretrained(saved), "is not readable JSON")


@pytest.mark.parametrize("size", [2**20, 10**8, 2**40])
def test_a_size_without_its_weights_takes_no_memory(saved: Path, size: int):
    described = {**DESCRIPTION, "config": {"dim": size, "part": {"width": 1_000}}}
    (saved / "config.json").write_text(json.dumps(described))
    said = refused(lambda: TinyModel.from_pretrained(saved), "asks for a model of many times the")
    assert str(saved / "config.json") in said


def test_what_fits_the_budget_is_compared_with_the_weights(saved: Path):
    assert LEAST > 4 * 1_000 * 1_000
    described = {**DESCRIPTION, "config": {"dim": 1_000, "part": {"width": 1_000}}}
    (saved / "config.json").write_text(json.dumps(described))
    refused(lambda: TinyModel.from_pretrained(saved), "has the shape")


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, torch.int64])
def test_weights_of_another_kind_of_number(saved: Path, dtype: torch.dtype):
    weights = read_weights(saved / "model.safetensors")
    weights["linear.bias"] = weights["linear.bias"].to(dtype)
    save_file({name: value.clone() for name, value in weights.items()}, saved / "other")
    (saved / "other").replace(saved / "model.safetensors")
    refused(lambda: TinyModel.from_pretrained(saved), f"linear.bias is of {dtype}")


@pytest.mark.parametrize(
    "header",
    [
        b"[" * 100_000,
        b'{"a": {"dtype": "F32", "shape": [1000000000000], "data_offsets": [0, 4000000000000]}}',
        b'{"a": {"dtype": "F32", "shape": [4611686018427387904, 4], "data_offsets": [0, 0]}}',
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}}',
        b'{"a": {"dtype": "X", "shape": [1], "data_offsets": [0, 4]}}',
        b"{}" + b" " * 98 + b"\xff",
    ],
)
def test_a_header_of_weights_that_lies(saved: Path, header: bytes):
    path = saved / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(64))
    refused(lambda: TinyModel.from_pretrained(saved), "is damaged or truncated")
    path.write_bytes(struct.pack("<Q", 2**62) + header)
    refused(lambda: TinyModel.from_pretrained(saved), "is damaged or truncated")


# --- pickles ------------------------------------------------------------------------------------


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


class Memory:
    """Asks for more than there is when it is unpickled, by what torch allows."""

    def __reduce__(self) -> tuple[Any, ...]:
        return bytearray, (2**60,)


@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle", "inside"])
def test_code_in_a_pickle_is_never_run(tmp_path: Path, kind: str):
    path, bomb = tmp_path / "a.pth", Bomb(tmp_path / "exploded")
    content = {"a": torch.ones(3), "more": [bomb] if kind == "inside" else bomb}
    if kind == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind != "legacy")
    refused(lambda: read_pickled(path), "a.pth: holds Python objects besides tensors")
    assert not (tmp_path / "exploded").exists()


def test_memory_that_a_pickle_asks_for(tmp_path: Path):
    torch.save({"a": Memory()}, tmp_path / "a.pth")
    refused(lambda: read_pickled(tmp_path / "a.pth"), "a.pth: ")


def test_a_pickle_that_unpacks_to_more_than_it_is(tmp_path: Path):
    """torch unpacks what it never packs: a thousand times the file."""
    torch.save({"a": torch.zeros(2**20)}, tmp_path / "plain.pth")
    with (
        zipfile.ZipFile(tmp_path / "plain.pth") as plain,
        zipfile.ZipFile(tmp_path / "packed.pth", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for member in plain.infolist():
            packed.writestr(member.filename, plain.read(member))
    refused(lambda: read_pickled(tmp_path / "packed.pth"), "claims to hold more bytes than it has")
    assert read_pickled(tmp_path / "plain.pth")["a"].shape == (2**20,)


def test_a_pickle_that_is_damaged_anywhere(tmp_path: Path):
    path = tmp_path / "a.pth"
    torch.save({"a": torch.arange(5), "b": {"step": 3}}, path)
    whole = path.read_bytes()
    refusals = 0
    for place in range(0, len(whole), 7):
        flipped = whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :]
        for content in (flipped, whole[:place]):
            path.write_bytes(content)
            try:
                read_pickled(path)
            except CheckpointError as error:
                refusals += str(error).isprintable()
    assert refusals > len(whole) // 7
