"""Recipes and ``--set``: what they mean, and the sentence for each mistake."""

from __future__ import annotations

import pytest

from slot_core import ConfigError
from support.options import flatten, load_options, parse_change


def test_a_recipe_states_differences_from_its_preset():
    options = load_options("slot_attention/clevrtex")
    assert options.model.num_slots == 11  # the preset's
    assert options.data.name == "clevrtex"
    assert options.train.batch_size == 64


def test_changes_lie_over_the_recipe_at_any_depth():
    options = load_options(
        "slot_attention/shapes",
        ["model.num_slots=9", "model.encoder.corrector.num_iterations=2", "data.level=textured"],
    )
    assert options.model.num_slots == 9
    assert options.model.encoder.corrector.num_iterations == 2
    assert options.data.dataset_options(training=True)["level"] == "textured"


def test_another_dataset_leaves_out_the_options_of_the_recipes():
    recipe = load_options("savi/shapes").data
    assert recipe.dataset_options(training=True)["min_objects"] == 5
    same = load_options("savi/shapes", ["data.name=shapes", "data.seed=1"]).data
    assert same.dataset_options(training=True) == {
        **recipe.dataset_options(training=True),
        "seed": 1,
    }
    for changes in (
        ["data.root=R", "data.name=movi_d", "data.num_frames=3"],
        ["data={name: movi_d, root: R, num_frames: 3}"],
    ):
        other = load_options("savi/shapes", changes).data
        assert other.name == "movi_d"
        assert other.dataset_options(training=False) == {"root": "R", "num_frames": 3}


def test_another_type_replaces_the_whole_part():
    options = load_options("slot_attention/shapes", ["model.encoder.backbone={type: resnet}"])
    assert options.model.encoder.backbone.type == "resnet"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("[1, 2]", [1, 2]),
        ("null", None),
        ("true", True),
        ("{on: boxes, no: 1}", {"on": "boxes", "no": 1}),
        ("a b", "a b"),
        ("", None),
    ],
)
def test_values_are_yaml_with_scientific_numbers(text, value):
    assert parse_change(f"a.b={text}") == {"a": {"b": value}}


def test_a_recipe_may_be_any_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("model: {preset: slot_attention, num_slots: 5}\ntrain: {num_steps: 7}\n")
    options = load_options(str(path))
    assert (options.model.num_slots, options.train.num_steps) == (5, 7)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["train.batchsize=3"], ["train.batchsize", "batch_size"]),
        (["model.slot_dims=3"], ["slot_dims", "slot_dim"]),
        (["train.num_steps=many"], ["train.num_steps", "many"]),
        (["train.num_steps"], ["train.num_steps", "key.key=value"]),
        (["model.preset=nothing"], ["nothing", "slot_attention"]),
        (["model.preset.num_slots=3"], ["model.preset", "num_slots", "a name"]),
        (["model=3"], ["model", "3"]),
        (["trian.seed=1"], ["trian", "train"]),
        (["train.num_steps={"], ["train.num_steps={", "YAML"]),
        (["data.split=test"], ["data", "split is no option here; set splits.train"]),
        (["data.evaluation.split=test"], ["data", "split is no option here"]),
    ],
)
def test_mistakes_name_the_key(changes, words):
    with pytest.raises(ConfigError) as error:
        load_options("slot_attention/shapes", changes)
    for word in words:
        assert word in str(error.value)


def test_a_file_that_is_not_there_is_not_taken_for_the_name_of_a_recipe(tmp_path):
    (tmp_path / "folder.yaml").mkdir()
    for name, reason in (("mine", "there is no such file"), ("folder", "is a folder, expected a")):
        with pytest.raises(ConfigError, match=rf"{name}\.yaml: {reason}"):
            load_options(str(tmp_path / f"{name}.yaml"))


def test_an_unknown_recipe_lists_those_there_are():
    with pytest.raises(ConfigError, match="slot_attention/shapes"):
        load_options("slot_attention/shape")


@pytest.mark.parametrize(
    "text", ["- 1\n", "a: [", "data: {}\n", "!!python/object/apply:os.getcwd []\n"]
)
def test_files_that_are_no_recipe(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"mine\.yaml"):
        load_options(str(path))


def test_trackers_get_flat_options():
    flat = flatten(load_options("slot_attention/shapes").model_dump(mode="json"))
    assert flat["model.num_slots"] == 7
    assert all(isinstance(value, int | float | str | bool) for value in flat.values())


def test_evaluation_options_lie_over_those_of_training():
    changes = ["data.num_frames=3", "data.seed=5", "data.evaluation={num_frames: 24}"]
    data = load_options("slot_attention/shapes", changes).data
    assert data.dataset_options(training=True) == {"image_size": 64, "num_frames": 3, "seed": 5}
    assert data.dataset_options(training=False) == {"image_size": 64, "num_frames": 24, "seed": 5}


def test_many_changes_do_not_hide_what_is_wrong_with_one():
    changes = [f"train.{key}=1" for key in ("seed", "batch_size", "num_threads", "num_step")]
    with pytest.raises(ConfigError) as caught:
        load_options("slot_attention/shapes", changes)
    assert str(caught.value).endswith(
        "shapes.yaml with 4 changes by --set: unknown key 'train.num_step'; did you mean "
        "'num_steps'?"
    )
    with pytest.raises(ConfigError, match=r"shapes\.yaml --set train\.num_step=1: unknown key"):
        load_options("slot_attention/shapes", changes[3:])
