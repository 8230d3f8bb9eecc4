"""Checkpoints in a folder: what is saved loads bit for bit, and nothing else loads at all."""

import json
import os
import resource
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_hub_model import TinyConfig, TinyModel, fingerprint, make_tiny_model
from torch import Tensor, nn

from slot_core import CheckpointError, ConfigError, HubModel, InputError, ModelCard


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    folder = tmp_path / "saved"
    make_tiny_model(seed=1).save_pretrained(folder)
    return folder


def sentence_of_loading(folder: Path, error: type[InputError] = CheckpointError) -> str:
    with pytest.raises(error) as caught:
        TinyModel.from_pretrained(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_is_no_checkpoint_and_not_asked_of_the_hub(saved: Path):
    told = sentence_of_loading(saved / "config.json")
    assert told.endswith("config.json: is a file; expected a checkpoint's folder or a repository")


# --- what is saved comes back -------------------------------------------------------------------


def test_a_saved_model_comes_back_bit_for_bit(saved: Path):
    model, loaded = make_tiny_model(seed=1), TinyModel.from_pretrained(saved)
    assert fingerprint(loaded) == fingerprint(model)
    assert loaded.config == model.config
    assert loaded.steps.item() == 18
    assert torch.equal(loaded.gains, model.gains)  # made anew from the configuration
    assert not loaded.training
    features = torch.rand(2, 4)
    assert torch.equal(loaded.linear(features), model.linear(features))


def test_a_checkpoint_is_three_files(saved: Path):
    assert {path.name for path in saved.iterdir()} == {
        "config.json",
        "model.safetensors",
        "README.md",
    }
    description = json.loads((saved / "config.json").read_text())
    assert description == {
        "format_version": 1,
        "model_class": "TinyModel",
        "config": {"dim": 4, "part": {"width": 5, "gains": [1.0, 2.0]}},
    }


def test_saving_again_replaces_what_was_there(saved: Path):
    wider = make_tiny_model(seed=2, dim=7)
    wider.save_pretrained(saved)
    assert fingerprint(TinyModel.from_pretrained(saved)) == fingerprint(wider)
    assert len(list(saved.iterdir())) == 3


def test_weights_keep_their_dtype_unless_another_is_asked_for(tmp_path: Path):
    make_tiny_model().to(torch.bfloat16).save_pretrained(tmp_path)
    loaded = TinyModel.from_pretrained(tmp_path)
    assert loaded.linear.weight.dtype == torch.bfloat16
    assert loaded.steps.dtype == torch.int64
    converted = TinyModel.from_pretrained(tmp_path, dtype=torch.float64)
    assert {p.dtype for p in converted.parameters()} == {torch.float64}
    assert converted.steps.dtype == torch.int64
    assert torch.equal(converted.linear.weight, loaded.linear.weight.double())


def test_the_device_is_the_one_asked_for(saved: Path):
    assert {p.device.type for p in TinyModel.from_pretrained(saved).parameters()} == {"cpu"}
    meta = TinyModel.from_pretrained(saved, device="meta")
    assert {value.device.type for value in meta.state_dict().values()} == {"meta"}


def test_a_file_changed_in_place_does_not_reach_into_a_loaded_model(saved: Path):
    loaded = TinyModel.from_pretrained(saved)
    before = fingerprint(loaded)
    with (saved / "model.safetensors").open("r+b") as file:
        file.seek(-8, os.SEEK_END)
        file.write(b"\xff" * 8)
    assert fingerprint(loaded) == before


# --- what is not exactly that is refused --------------------------------------------------------


def change_weights(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")


def change_description(folder: Path, **values: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda w: w.pop("linear.bias"), "lacks weights linear.bias"),
        (lambda w: w.pop("steps"), "lacks weights steps"),
        (lambda w: w.update(extra=torch.ones(1)), "has the unknown weights extra"),
        (
            lambda w: w.update({"linear.weight": torch.ones(4, 5)}),
            "linear.weight has the shape [4, 5], the configuration asks for [5, 4]",
        ),
        (lambda w: w.clear(), "lacks weights linear.bias, linear.weight, norm.bias and 2 more"),
    ],
    ids=["missing", "missing buffer", "surplus", "shape", "empty"],
)
def test_other_weights_than_the_configuration_asks_for(
    saved: Path, change: Callable[[dict[str, Tensor]], object], expected: str
):
    change_weights(saved, change)
    assert sentence_of_loading(saved) == f"{saved / 'model.safetensors'}: {expected}"


@pytest.mark.parametrize("kept", [0, 4, 8, 60, 0.5, 0.9, -1])
def test_a_truncated_weights_file(saved: Path, kept: float):
    path = saved / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if 0 < kept < 1 else int(kept)])
    assert sentence_of_loading(saved).startswith(f"{path}: is damaged or truncated (")


def test_a_missing_weights_file(saved: Path):
    (saved / "model.safetensors").unlink()
    path = saved / "model.safetensors"
    assert sentence_of_loading(saved) == f"{path}: the weights file is missing"


def test_a_folder_without_configuration(saved: Path):
    (saved / "config.json").unlink()
    assert sentence_of_loading(saved) == f"{saved}: is no checkpoint, config.json is missing"


@pytest.mark.parametrize("content", ["", '{"format_version": 1, "mod', "\x00\xff"])
def test_a_damaged_configuration(saved: Path, content: str):
    (saved / "config.json").write_text(content, encoding="latin-1")
    sentence = sentence_of_loading(saved)
    assert sentence.startswith(f"{saved / 'config.json'}: is not readable JSON (")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("[1]", "expected a JSON object with format_version, model_class, config"),
        ("{}", "key 'format_version' is missing or not of type int"),
        (
            '{"format_version": 1, "model_class": "TinyModel"}',
            "key 'config' is missing or not of type dict",
        ),
    ],
)
def test_json_that_describes_no_model(saved: Path, content: str, expected: str):
    (saved / "config.json").write_text(content)
    assert sentence_of_loading(saved) == f"{saved / 'config.json'}: {expected}"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"format_version": 2}, "format_version is 2, this slot-core reads 1; install the version"),
        ({"model_class": "Other"}, "holds a Other, expected TinyModel"),
        ({"weights": "x"}, "unknown key 'weights'; allowed: format_version, model_class, config"),
    ],
)
def test_a_description_of_something_else(saved: Path, values: dict, expected: str):
    change_description(saved, **values)
    assert sentence_of_loading(saved).startswith(f"{saved / 'config.json'}: {expected}")


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"dmi": 3}, "unknown key 'dmi'; did you mean 'dim'?"),
        ({"part": {"widht": 3}}, "unknown key 'part.widht'; did you mean 'width'?"),
        ({"dim": 0}, "key 'dim' has the value 0: input should be greater than 0"),
    ],
)
def test_a_configuration_with_a_mistake(saved: Path, config: dict, expected: str):
    change_description(saved, config=config)
    sentence = sentence_of_loading(saved, ConfigError)
    assert sentence == f"{saved / 'config.json'}: {expected}"


@pytest.mark.parametrize("name", ["no/such/folder/here", "/no/such", "two words", "~"])
def test_a_place_that_is_neither_folder_nor_repository(name: str):
    with pytest.raises(CheckpointError) as caught:
        TinyModel.from_pretrained(name)
    assert str(caught.value) == f"{name}: there is no such folder"


def test_a_folder_has_no_revisions(saved: Path):
    with pytest.raises(CheckpointError) as caught:
        TinyModel.from_pretrained(saved, revision="v2")
    assert str(caught.value) == (
        f"{saved}: is a folder on this machine, which has no revision 'v2'; leave the revision "
        "out, or name a repository of the Hub"
    )


def test_a_model_must_say_how_it_is_built():
    with pytest.raises(TypeError, match="must define from_config"):
        HubModel.from_config(TinyConfig())


# --- saving leaves whole files or what was there ------------------------------------------------


@pytest.fixture
def umask() -> Iterator[Callable[[int], int]]:
    before = os.umask(0)
    os.umask(before)
    yield os.umask
    os.umask(before)


@pytest.mark.parametrize(("mask", "expected"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_permissions_follow_the_umask(
    tmp_path: Path, umask: Callable[[int], int], mask: int, expected: int
):
    umask(mask)
    make_tiny_model().save_pretrained(tmp_path / "new")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "new").iterdir()}
    assert modes == {expected}


@contextmanager
def disk_with_room_for(num_bytes: int) -> Iterator[None]:
    """Writing a file beyond that size fails as on a full disk (Python ignores the signal)."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize(
    ("room", "dim", "data"),
    [(100, 4, ""), (10_000, 1000, ""), (50_000, 4, "x" * 100_000)],
    ids=["not even a header", "half of the weights", "weights but no card"],
)
def test_a_full_disk_leaves_the_last_checkpoint_as_it_was(
    saved: Path, room: int, dim: int, data: str
):
    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    with (
        disk_with_room_for(room),
        pytest.raises(CheckpointError, match=f"cannot save the model to {saved}: .*too large"),
    ):
        make_tiny_model(seed=2, dim=dim).save_pretrained(saved, card=ModelCard(data=data))
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before
    assert fingerprint(TinyModel.from_pretrained(saved)) == fingerprint(make_tiny_model(seed=1))


def test_a_place_that_cannot_be_written(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CheckpointError, match="cannot save the model to"):
        make_tiny_model().save_pretrained(tmp_path / "file")


# --- what could not be loaded is not saved ------------------------------------------------------


class OtherLinear(nn.Linear):
    """Of the same weights, so they would load, into a model that computes something else."""


@pytest.mark.parametrize(
    ("part", "sentence"),
    [
        (OtherLinear(4, 5), "the model's linear is a OtherLinear, but .* describes a Linear there"),
        (nn.Sequential(nn.Linear(4, 5)), "the model's linear is a Sequential, but"),
        (nn.Linear(4, 6), r"linear.bias has the shape \[6\], but its configuration describes \[5"),
    ],
)
def test_a_part_that_the_configuration_does_not_describe(
    tmp_path: Path, part: nn.Module, sentence: str
):
    model = make_tiny_model()
    model.linear = part  # pyright: ignore[reportAttributeAccessIssue]: what the test is about
    with pytest.raises(CheckpointError, match=sentence):
        model.save_pretrained(tmp_path / "saved")
    assert not (tmp_path / "saved").exists()


def test_a_part_beside_those_that_the_configuration_describes(tmp_path: Path):
    model = make_tiny_model()
    model.more = nn.Identity()
    with pytest.raises(CheckpointError, match=r"more is a Identity, .* describes no such part"):
        model.save_pretrained(tmp_path / "saved")


class Mine(TinyModel):
    """A part of one's own in its place: in ``from_config``, as the sentence says. Not buildable
    without memory, as it reads a value."""

    @classmethod
    def from_config(cls, config: Any) -> TinyModel:
        model = cls(config)
        assert model.gains.sum().item() == 3.0
        model.linear = OtherLinear(config.dim, config.part.width)
        return model


def test_a_subclass_that_builds_its_part_saves_and_loads(tmp_path: Path):
    model = Mine.from_config(TinyConfig())
    drawn = torch.random.get_rng_state()
    model.save_pretrained(tmp_path)
    assert torch.equal(torch.random.get_rng_state(), drawn)
    loaded = Mine.from_pretrained(tmp_path)
    assert type(loaded.linear) is OtherLinear
    assert fingerprint(loaded) == fingerprint(model)


class Twice(TinyModel):
    """Two parts that share their weights."""

    def __init__(self, config: TinyConfig) -> None:
        super().__init__(config)
        self.again = self.linear


def test_weights_that_are_there_twice_are_refused(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"linear.weight and again.weight are the same mem"):
        Twice(TinyConfig()).save_pretrained(tmp_path / "saved")
