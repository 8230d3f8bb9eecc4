"""Datasets by name: the cards, the options, and what importing the package loads."""

# pyright: reportTypedDictNotRequiredAccess=false
# (a sample of `shapes` always has labels)

import importlib.metadata
import json
import subprocess
import sys
from typing import Any, cast

import pytest
from test_clevrtex import write_scene

from slot_data import DataError, Shapes, catalog, load_dataset_by_name
from slot_data.augmentations import augmentations_by_name
from slot_data.options import allowed_options, check_options, parse_option
from slot_data.presets import PRESETS
from slot_data.sample import Configured, SampleDataset

LIST_MODULES = """
import pkgutil, sys
import numpy, numpy.random, torch, torch.utils.data, PIL.Image, PIL.ImageOps, typer
before = {name.partition(".")[0] for name in sys.modules}
import slot_data
for module in pkgutil.iter_modules(slot_data.__path__):
    __import__(f"slot_data.{module.name}")
after = {name.partition(".")[0] for name in sys.modules}
print(*sorted(after - before - set(sys.stdlib_module_names)))
"""


def test_names_and_cards():
    assert catalog.names()[:3] == ["shapes", "folder", "clevrtex"]
    assert len(set(catalog.names())) == len(catalog.names())
    for name in catalog.names():
        card = catalog.card(name)
        assert card.name == name
        assert all((card.description, card.objects, card.licence, card.preprocessing))
        assert card.citation
    assert catalog.card("clevrtex").splits["train"] == 40_000
    assert catalog.card("clevrtex").num_slots == 11


def test_the_card_of_shapes_tells_the_truth():
    card = catalog.card("shapes")
    for split, size in card.splits.items():
        dataset = load_dataset_by_name("shapes", split=split)
        assert isinstance(dataset, SampleDataset)
        assert len(dataset) == size
    dataset = Shapes()
    counts = [int(dataset[index]["labels"].max()) for index in range(400)]
    shares = [counts.count(number) / 400 for number in (3, 4, 5, 6)]
    assert set(counts) == {3, 4, 5, 6}
    assert max(shares) - min(shares) < 0.12, "each equally often"
    assert card.num_slots == max(counts) + 1


def test_options_reach_the_dataset():
    dataset = load_dataset_by_name("shapes", split="test", image_size=32, num_frames=2, seed=4)
    assert dataset[0]["video"].shape == (2, 3, 32, 32)
    assert dataset[0]["id"] == "test-4-000000"


def test_a_dataset_knows_all_of_its_options(tmp_path):
    dataset = load_dataset_by_name("shapes", split="test", level="textured", num_samples=3)
    settings = cast(Configured, dataset).settings
    assert settings.keys() == {"name", "split", "preset", *allowed_options(Shapes)}
    assert (settings["name"], settings["split"], settings["preset"]) == ("shapes", "test", None)
    assert (settings["level"], settings["num_samples"]) == ("textured", 3)
    assert (settings["image_size"], settings["num_frames"]) == (64, 1), "which nobody gave"
    write_scene(tmp_path, 0)
    options: Any = {"root": tmp_path, "preset": "slotdiffusion", "image_size": 64}
    dataset = load_dataset_by_name("clevrtex", split="all", **options)
    settings = cast(Configured, dataset).settings
    assert settings["preset"] == "slotdiffusion"
    assert settings["root"] == str(tmp_path)
    assert settings["image_size"] == 64, "what is given wins over the preset"
    assert settings["antialias"] is False, "the preset over the default"
    assert settings["interpolation"] == "bilinear", "the default, which nobody gave"
    assert json.loads(json.dumps(settings)) == settings


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        (
            "shape",
            {},
            f"dataset 'shape' is not one of {', '.join(catalog.names())}; did you mean 'shapes'?",
        ),
        (
            "shapes",
            {"size": 64},
            "dataset 'shapes' has no option 'size'; it has num_samples, image_size, num_frames, "
            "level, seed, min_objects, max_objects, speed, outcome_from",
        ),
        (
            "shapes",
            {"image_size": "64"},
            "option image_size of dataset 'shapes' is '64'; expected an integer",
        ),
        (
            "shapes",
            {"image_size": True},
            "option image_size of dataset 'shapes' is True; expected an integer",
        ),
        (
            "shapes",
            {"num_samples": 2.5},
            "option num_samples of dataset 'shapes' is 2.5; expected an integer or none",
        ),
        ("folder", {}, "dataset 'folder' needs the option root"),
        ("clevrtex", {"image_size": 64}, "dataset 'clevrtex' needs the option root"),
        (
            "folder",
            {"root": "x", "antialias": 1},
            "option antialias of dataset 'folder' is 1; expected true or false",
        ),
        (
            "folder",
            {"root": 5},
            "option root of dataset 'folder' is 5; expected a text or a path",
        ),
    ],
)
def test_bad_names_and_options_are_named(name, options, sentence):
    with pytest.raises(DataError) as error:
        load_dataset_by_name(name, split="train", **options)
    assert str(error.value) == sentence


@pytest.mark.parametrize(
    ("dataset", "text", "pair"),
    [
        ("shapes", "image_size=96", ("image_size", 96)),
        ("shapes", "num_samples=none", ("num_samples", None)),
        ("shapes", "level=textured", ("level", "textured")),
        ("folder", "antialias=False", ("antialias", False)),
        ("folder", "root=a=b", ("root", "a=b")),
        ("folder", "root=7", ("root", "7")),
        ("folder", "centre_crop=none", ("centre_crop", None)),
    ],
)
def test_options_of_a_command_line(dataset, text, pair):
    assert parse_option(dataset, catalog.card(dataset).loader, text) == pair


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("image_size", "option 'image_size' is not of the form key=value"),
        ("size=3", "has no option 'size'"),
        ("image_size=big", "is 'big'; expected an integer"),
        ("image_size=none", "is 'none'; expected an integer"),
    ],
)
def test_bad_options_of_a_command_line(text, words):
    with pytest.raises(DataError) as error:
        parse_option("shapes", Shapes, text)
    assert words in str(error.value)


def test_every_option_of_every_dataset_accepts_its_own_default():
    for name in catalog.names():
        loader = catalog.card(name).loader
        options = {
            option: "." if parameter.default is parameter.empty else parameter.default
            for option, parameter in allowed_options(loader).items()
        }
        check_options(name, loader, options)


def test_every_preset_is_of_a_dataset_and_sets_what_it_has():
    assert set(PRESETS) <= set(catalog.names())
    for name, presets in PRESETS.items():
        card = catalog.card(name)
        assert catalog.presets(name) == presets
        for preset in presets.values():
            assert preset.description
            augmentations_by_name(preset.augmentations)
            for split in (*card.splits, *preset.by_split):
                options = preset.options_of(split)
                check_options(name, card.loader, {"root": ".", **options})
                assert parse_option_all(name, options) == options
            assert set(preset.by_split) <= set(card.splits)
    assert catalog.presets("shapes") == {}


def parse_option_all(name, options):
    """The options, written on a command line and read again."""
    return dict(catalog.parse_option(name, f"{key}={value}") for key, value in options.items())


def test_a_preset_on_a_command_line():
    assert catalog.parse_option("coco", "preset=dinosaur") == ("preset", "dinosaur")
    with pytest.raises(DataError, match="dataset 'coco' has no preset 'x'; it has slotdiffusion"):
        catalog.parse_option("coco", "preset=x")
    with pytest.raises(DataError, match="dataset 'folder' has no preset 'x'; it has none"):
        load_dataset_by_name("folder", split="all", preset="x", root=".")


def test_the_entry_point_for_evaluation():
    (entry,) = importlib.metadata.entry_points(group="slot_eval.datasets", name="slot-data")
    assert entry.load() is load_dataset_by_name


@pytest.mark.slow
def test_importing_needs_numpy_torch_pillow_and_typer_only():
    command = [sys.executable, "-c", LIST_MODULES]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["slot_data"]
