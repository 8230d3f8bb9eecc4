"""Configurations: every kind of mistake gives one sentence that names the key."""

from typing import Annotated, Literal

import pytest
from pydantic import Field, PositiveInt, ValidationError, model_validator

from slot_core import ConfigError, InputError, StrictConfig
from slot_core.config import merge


class Square(StrictConfig):
    type: Literal["square"] = "square"
    side: PositiveInt = 1


class Circle(StrictConfig):
    type: Literal["circle"] = "circle"
    radius: PositiveInt = 1
    circle: int = 0  # a key that reads like the tag


class Part(StrictConfig):
    size: tuple[PositiveInt, PositiveInt] = (1, 1)
    part: int = 1  # a key named as the one that holds it
    shape: Annotated[Square | Circle, Field(discriminator="type")] = Square()


class Whole(StrictConfig):
    name: str
    part: Part = Part()
    parts: tuple[Part, ...] = ()
    spare: Part | None = None
    limit: int = 10

    @model_validator(mode="after")
    def check_limit(self) -> "Whole":
        if self.limit < len(self.parts):
            raise ValueError(f"there are {len(self.parts)} parts, limit allows {self.limit}")
        return self


SENTENCES = [
    ({}, "key 'name' is missing"),
    ({"limt": 1}, "unknown key 'limt'; did you mean 'limit'?"),
    ({"zzz": 1}, "unknown key 'zzz'; allowed: limit, name, part, parts, spare"),
    ({"limit": "x"}, "key 'limit' has the value 'x': input should be a valid integer"),
    ({"part": 3}, "key 'part' has the value 3: expected a mapping, with keys of its own"),
    ({"part": {"size": 64}}, "key 'part.size' has the value 64: expected a list, in brackets"),
    ({"part": {"siez": 1}}, "unknown key 'part.siez'; did you mean 'size'?"),
    ({"part": {"part": "x"}}, "key 'part.part' has the value 'x': input should be a valid integer"),
    ({"part": {"size": [1, 0]}}, "key 'part.size.1' has the value 0: input should be greater"),
    ({"part": {"size": [1, 2, 3]}}, "key 'part.size' has the value [1, 2, 3]: tuple should have"),
    ({"parts": [{}, {"siez": 1}]}, "unknown key 'parts.1.siez'; did you mean 'size'?"),
    ({"spare": {"siez": 1}}, "unknown key 'spare.siez'; did you mean 'size'?"),
    ({"part": {"shape": {"side": 2}}}, "key 'part.shape.type' is missing"),
    (
        {"part": {"shape": {"type": "blob"}}},
        "key 'part.shape.type' has the value 'blob': expected one of 'square', 'circle'",
    ),
    (
        {"part": {"shape": {"type": "circle", "side": 2}}},
        "unknown key 'part.shape.side'; allowed: circle, radius, type",
    ),
    (
        {"part": {"shape": {"type": "circle", "circle": "x"}}},
        "key 'part.shape.circle' has the value 'x': input should be a valid integer",
    ),
    ({"limit": 0, "parts": [{}]}, "there are 1 parts, limit allows 0"),
]


@pytest.mark.parametrize(("data", "sentence"), SENTENCES, ids=[s for _, s in SENTENCES])
def test_each_mistake_has_its_sentence(data: dict, sentence: str):
    named = data if not data else {"name": "n", **data}
    with pytest.raises(ConfigError) as caught:
        Whole.parse(named, source="recipe.yaml")
    message = str(caught.value)
    assert message.startswith(f"recipe.yaml: {sentence}")
    assert "\n" not in message
    assert "pydantic" not in message


def test_a_long_value_is_cut_in_the_sentence():
    with pytest.raises(ConfigError) as caught:
        Whole.parse({"name": "n", "limit": "9" * 5000 + "x"}, source="recipe.yaml")
    assert len(str(caught.value)) < 250


def test_a_config_error_is_a_value_error():
    assert issubclass(ConfigError, InputError)
    assert issubclass(InputError, ValueError)


def test_a_configuration_survives_json():
    data = {"name": "n", "part": {"shape": {"type": "circle", "radius": 3}}, "spare": {}}
    config = Whole.parse(data, source="test")
    assert isinstance(config.part.shape, Circle)
    assert Whole.parse(config.model_dump(mode="json"), source="test") == config


def test_a_configuration_is_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        Part().part = 2


def test_defaults_are_validated_too():
    class Wrong(StrictConfig):
        size: PositiveInt = 0

    with pytest.raises(ConfigError, match="key 'size' has the value 0"):
        Wrong.parse({}, source="test")


def test_a_change_of_another_type_replaces_the_whole_part():
    base = {"backbone": {"type": "resnet", "depth": 34}, "width": 3}
    changed = merge(base, {"backbone": {"type": "cnn", "kernel_size": 3}})
    assert changed == {"backbone": {"type": "cnn", "kernel_size": 3}, "width": 3}
    assert merge(base, {"backbone": {"type": "resnet", "num_stages": 2}}) == {
        "backbone": {"type": "resnet", "depth": 34, "num_stages": 2},
        "width": 3,
    }
    assert merge(base, {"backbone": {"depth": 18}}) == {
        "backbone": {"type": "resnet", "depth": 18},
        "width": 3,
    }


def test_merging_leaves_both_sides_as_they_were():
    base, changes = {"a": {"b": 1, "c": {"d": 2}}}, {"a": {"c": {"d": 3}}, "e": 4}
    assert merge(base, changes) == {"a": {"b": 1, "c": {"d": 3}}, "e": 4}
    assert base == {"a": {"b": 1, "c": {"d": 2}}}
    assert changes == {"a": {"c": {"d": 3}}, "e": 4}
