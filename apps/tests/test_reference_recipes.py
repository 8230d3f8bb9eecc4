"""Our recipes have every value of SlotDiffusion's configuration files (``reference_options``)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import reference_options as table

from support.options import RECIPES
from support.reference_names import own_recipe

COPY = Path(__file__).parent / "data" / "slotdiffusion_recipes.json"
THEIRS: dict[str, dict[str, Any]] = json.loads(COPY.read_text())


def test_the_copy_is_the_original():
    if "SLOT_REFERENCE_DATA" not in os.environ:
        pytest.skip("SLOT_REFERENCE_DATA is not set")
    original = Path(os.environ["SLOT_REFERENCE_DATA"], "golden", "recipes.json")
    assert json.loads(original.read_text()) == THEIRS


def test_each_of_theirs_is_one_of_ours():
    assert len(THEIRS) == 38
    own = {own_recipe(name) for name in THEIRS}
    assert len(own) == 38
    ours = {str(path.relative_to(RECIPES).with_suffix("")) for path in RECIPES.rglob("*.yaml")}
    assert own <= ours
    assert own_recipe("slot_attention/clevrtex") == "slot_attention/clevrtex"


def place_of(key: str, model: str) -> tuple[str, Any]:
    """In which table a key stands, and what it says there; what is said of one model goes first."""
    special = (table.MAPPED_FOR, table.CONSTANT_FOR, table.LEFT_OUT_FOR)
    general = (table.MAPPED, table.CONSTANT, table.LEFT_OUT)
    name: Any
    tables: Any
    for name, tables in (((model, key), special), (key, general)):
        for kind, entries in zip(("mapped", "constant", "left out"), tables, strict=True):
            if name in entries:
                return kind, entries[name]
    pytest.fail(f"nothing is said of the key '{key}' of {model}")


@pytest.mark.parametrize("name", THEIRS)
def test_every_value_is_ours(name: str):
    recipe = table.flat(THEIRS[name])
    own = table.own_options(name)
    compared = 0
    for key, value in recipe.items():
        kind, entry = place_of(key, recipe["model"])
        if kind == "constant":
            assert value == entry[0], key
        if kind != "mapped":
            continue
        path, convert = entry if isinstance(entry, tuple) else (entry, None)
        expected = value if convert is None else convert(value, recipe)
        if table.is_rounded(key, recipe):
            expected = pytest.approx(expected, rel=0.01)
        assert table.option(own, path) == expected, (key, path)
        compared += 1
    assert compared > 15
    if "dec_lr" not in recipe:
        assert own["optimizer"]["decoder_learning_rate"] is None


def test_the_table_holds_no_key_that_no_recipe_has():
    keys = {(recipe["model"], key) for recipe in THEIRS.values() for key in table.flat(recipe)}
    names = {key for _, key in keys}
    assert table.MAPPED.keys() | table.CONSTANT.keys() | table.LEFT_OUT.keys() <= names
    special = table.MAPPED_FOR.keys() | table.CONSTANT_FOR.keys() | table.LEFT_OUT_FOR.keys()
    assert special <= keys
