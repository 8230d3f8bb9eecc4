"""Every recipe builds its model, at full size, and trains two steps, at a tiny one."""

from __future__ import annotations

import pytest

import train
from slot_decoders.models import build_model
from support.command_line import run
from support.options import RECIPES, load_options

NAMES = sorted(str(path.relative_to(RECIPES).with_suffix("")) for path in RECIPES.rglob("*.yaml"))


def test_all_recipes_are_found():
    assert len(NAMES) == 3


@pytest.mark.parametrize("name", NAMES)
def test_builds_at_full_size(name):
    options = load_options(name)
    model = build_model(options.model)
    assert sum(parameter.numel() for parameter in model.parameters()) > 50_000


@pytest.mark.parametrize("name", NAMES)
def test_trains_two_steps(tmp_path, tiny, name):
    arguments = tiny(tmp_path / "run", recipe=name, **{"train.num_steps": 2})
    with pytest.raises(SystemExit) as stopped:
        run(train.main, arguments)
    assert not stopped.value.code
    assert (tmp_path / "run" / "checkpoints" / "last" / "model" / "config.json").exists()
