"""A ``config.json`` of which nobody knows who wrote it: every number has a bound, and within the
bounds a model takes no more memory than its weights have a right to."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slot_core import ConfigError, InputError
from slot_core.memory_budget import LEAST
from slot_decoders.models import SlotAutoencoder, load_model, presets
from slot_decoders.models.build import MODEL_CLASSES


def unbounded(schema: Any, place: str) -> Iterator[str]:
    """Where a JSON schema lets numbers or lists be as large as one likes."""
    if isinstance(schema, list):
        for number, inner in enumerate(schema):
            yield from unbounded(inner, f"{place}.{number}")
    if not isinstance(schema, dict):
        return
    fixed = {"enum", "const"} & schema.keys()
    if schema.get("type") == "integer" and not fixed and "maximum" not in schema:
        yield f"{place} is an integer of any size"
    if schema.get("type") == "array" and "maxItems" not in schema:
        yield f"{place} is a list of any length"
    for key, inner in schema.items():
        if key != "default":
            yield from unbounded(inner, f"{place}.{key}")


@pytest.mark.parametrize("name", MODEL_CLASSES)
def test_every_number_and_every_list_has_a_bound(name: str):
    schema = MODEL_CLASSES[name].config_class.model_json_schema()
    assert len(schema["$defs"]) > 0
    assert list(unbounded(schema, name)) == []


def test_an_unbounded_number_would_be_seen():
    schema = {"properties": {"a": {"type": "integer"}, "b": {"type": "array"}}}
    assert list(unbounded(schema, "x")) == [
        "x.properties.a is an integer of any size",
        "x.properties.b is a list of any length",
    ]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_slots", 10**9),
        ("slot_dim", 10**8),
        ("slot_dim", 2**70),
        ("preprocessing.image_size", [100_000, 100_000]),
        ("preprocessing.mean", [float("inf"), 0, 0]),
        ("preprocessing.std", [float("nan"), 1, 1]),
        ("decoder.channels", [10**8]),
        ("decoder.channels", [8] * 10_000),
        ("encoder.corrector.num_iterations", 10**9),
        ("encoder.slot_noise", float("inf")),
        ("decoder.broadcast_size", [10**6, 10**6]),
        ("decoder.kernel_size", 10**6 + 1),
    ],
)
def test_a_size_beyond_all_sense_is_refused_by_its_key(key: str, value: Any):
    changes: Any = value
    for part in reversed(key.split(".")):
        changes = {part: changes}
    with pytest.raises(ConfigError, match=f"config.json: key '{key}") as caught:
        presets.configure("slot_attention", changes, source="config.json")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


def enlarged(config: Any, key: str = "") -> Any:
    """The configuration with every number at its bound, or near it."""
    largest = {"image_size": 4096, "broadcast_size": 4096, "num_layers": 256, "num_slots": 4096}
    if isinstance(config, dict):
        return {name: enlarged(value, name) for name, value in config.items()}
    if isinstance(config, list):
        return [enlarged(value, key) for value in config]
    wide = ("channels", "slot_dim", "hidden_dim", "model_dim", "feature_dim", "projection_dim")
    if isinstance(config, int) and not isinstance(config, bool):
        return largest.get(key, 65_536 if key in wide else config)
    return config


@pytest.mark.parametrize("name", presets.PRESETS)
def test_the_largest_allowed_model_takes_no_memory_without_its_weights(
    name: str, model: SlotAutoencoder, tmp_path: Path
):
    """With the weights of a tiny model beside it."""
    model.save_pretrained(tmp_path)
    preset = presets.PRESETS[name]
    kind = next(kind for kind, made in MODEL_CLASSES.items() if made.config_class is type(preset))
    described = json.loads((tmp_path / "config.json").read_text())
    described |= {"model_class": kind, "config": enlarged(preset.model_dump(mode="json"))}
    (tmp_path / "config.json").write_text(json.dumps(described))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    with pytest.raises(InputError, match=r"config\.json: |the configuration|weights") as caught:
        load_model(tmp_path)
    assert str(caught.value).isprintable()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before < 4 * LEAST
