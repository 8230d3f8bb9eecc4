"""Names and constructor arguments of foreign checkpoints: read whole, or refused by name."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from slot_core import CheckpointError, ConfigError
from slot_core.config import merge
from slot_decoders.models import SlotAutoencoderConfig, presets
from slot_decoders.models.state_dicts import convert, get_origin, unwrap

Make = Callable[[dict[str, Any]], dict[str, Tensor]]
Change = Callable[[dict[str, Any]], Mapping[str, Any]]


def test_names_go_there_and_back(arguments: dict, foreign_weights: Make):
    weights = foreign_weights(arguments)
    model = convert(weights, arguments)
    names = get_origin("slotdiffusion").state_dict_map(model.config)
    back = names.to_theirs(model.state_dict())
    assert back.keys() == weights.keys() - names.ignored.keys()
    for name, value in back.items():
        assert torch.equal(value, weights[name]), name
    assert all(names.ignored.values())  # each with its reason


def test_half_precision_is_widened_and_wrappers_are_taken_off(small: dict, foreign_weights: Make):
    weights = {name: value.half() for name, value in foreign_weights(small).items()}
    wrapped = {"state_dict": {f"module.{name}": v for name, v in weights.items()}, "it": 7}
    model = convert(wrapped, small)
    assert {value.dtype for value in model.state_dict().values()} == {torch.float32}
    first = model.state_dict()["encoder.initializer.slots"]
    assert torch.equal(first, weights["init_latents"][0].float())


@pytest.mark.parametrize("name", ["init_latents", "encoder.0.0.bias", "decoder.2.weight"])
def test_a_missing_surplus_or_misshapen_tensor_is_named(
    small: dict, foreign_weights: Make, name: str
):
    weights = foreign_weights(small)
    with pytest.raises(CheckpointError, match=rf"file: lacks weights {name}$"):
        convert({k: v for k, v in weights.items() if k != name}, small, source="file")
    with pytest.raises(CheckpointError, match=rf"file: has the unknown weights other\.{name}$"):
        convert({**weights, f"other.{name}": weights[name]}, small, source="file")
    with pytest.raises(CheckpointError, match=rf"file: {name} has the shape .* asks for \["):
        convert({**weights, name: weights[name][:, None]}, small, source="file")


@pytest.mark.parametrize(
    ("resolution", "broadcast", "tensor", "sizes"),
    [
        ([16, 16], [8, 8], "decoder", r"\[1, 4, 4, 4\], the configuration asks for \[1, 8, 8, 4\]"),
        ([72, 72], [18, 18], "encoder", r"\[1, 16, 16, 4\], .* asks for \[1, 36, 36, 4\]"),
    ],
)
def test_positions_of_another_size_are_named(
    small: dict, foreign_weights: Make, resolution: list, broadcast: list, tensor: str, sizes: str
):
    other = merge(small, {"resolution": resolution, "dec_dict": {"dec_resolution": broadcast}})
    with pytest.raises(
        CheckpointError, match=rf"file: {tensor}_pos_embedding\.grid has the shape {sizes}"
    ):
        convert(foreign_weights(small), other, source="file")


def test_many_missing_tensors_are_counted(small: dict, foreign_weights: Make):
    weights = {k: v for k, v in foreign_weights(small).items() if "mlp" not in k}
    with pytest.raises(CheckpointError, match=r"mlp\.1\.bias and 3 more$"):
        convert(weights, small)


@pytest.mark.parametrize(
    ("checkpoint", "sentence"),
    [
        ({}, "holds no state dict"),
        ([1], "holds no state dict"),
        ({"state_dict": None}, "holds no state dict"),
        ({"a": 3}, "'a' holds a int, expected a tensor"),
        ({3: torch.ones(1)}, "'3' holds a Tensor, expected a tensor"),
    ],
    ids=str,
)
def test_what_is_no_state_dict(checkpoint: object, sentence: str):
    with pytest.raises(CheckpointError, match=f"file: {sentence}"):
        unwrap(checkpoint, source="file")


def test_a_part_that_their_code_lacks_is_named(small: dict, foreign_weights: Make):
    config = presets.configure(
        "slot_attention", {"encoder": {"initializer": {"type": "gaussian"}}}, source="test"
    )
    with pytest.raises(
        CheckpointError, match=r"no counterpart of our 'encoder\.initializer\.mean'"
    ):
        convert(foreign_weights(small), config)


def test_a_model_that_their_code_lacks_is_named(small: dict, foreign_weights: Make):
    with pytest.raises(ConfigError, match="their code has no decoder of the type 'feature_mlp'"):
        convert(foreign_weights(small), presets.DINOSAUR)


def test_their_published_arguments_are_our_preset():
    """slotdiffusion/img_based/configs/sa/sa_clevrtex_params-res128.py."""
    arguments = {
        "resolution": (128, 128),
        "slot_dict": {
            "num_slots": 11,
            "slot_size": 192,
            "slot_mlp_size": 384,
            "num_iterations": 3,
        },
        "enc_dict": {"resnet": "resnet18", "use_layer4": False, "enc_out_channels": 192},
        "dec_dict": {
            "dec_channels": (192, 128, 128, 128, 128),
            "dec_resolution": (8, 8),
            "dec_ks": 5,
            "dec_norm": "",
        },
        "loss_dict": {"use_img_recon_loss": True},
    }
    described = {"cls": "slotdiffusion.img_based.models.SA", "args": arguments, "seed": 3}
    for given in (arguments, described):
        config = get_origin("slotdiffusion").read_config(given, source="test")
        assert config == presets.SLOT_ATTENTION


def test_their_published_arguments_of_savi_are_our_preset():
    """slotdiffusion/video_based/configs/savi/savi_movi{d,e}_params-res128.py."""
    predictor = {
        "pred_type": "transformer",
        "pred_rnn": False,
        "pred_norm_first": True,
        "pred_num_layers": 2,
        "pred_num_heads": 4,
        "pred_ffn_dim": 768,
        "pred_sg_every": None,
    }
    arguments = {
        "resolution": (128, 128),
        "clip_len": 3,
        "slot_dict": {
            "num_slots": 15,
            "slot_size": 192,
            "slot_mlp_size": 384,
            "num_iterations": 2,
        },
        "enc_dict": {
            "resnet": "resnet18",
            "use_layer4": False,
            "enc_out_channels": 192,
            "replace_stride_with_dilation": [False, False, False],
        },
        "dec_dict": {
            "dec_channels": (192, 64, 64, 64, 64),
            "dec_resolution": (8, 8),
            "dec_ks": 5,
            "dec_norm": "",
        },
        "pred_dict": predictor,
        "loss_dict": {"use_img_recon_loss": True},
    }
    described = {"cls": "slotdiffusion.video_based.models.savi.SAVi", "args": arguments}
    assert get_origin("slotdiffusion").read_config(described, source="test") == presets.SAVI


def published(reference_data: Path, folder: str, *keys: str) -> dict[str, dict[str, Any]]:
    """The keys that a model is built from, of each configuration file in a folder of theirs."""
    recipes = json.loads((reference_data / "golden" / "recipes.json").read_text())
    keys = ("resolution", "slot_dict", "enc_dict", "dec_dict", "loss_dict", *keys)
    return {
        name: {key: recipe[key] for key in keys}
        for name, recipe in recipes.items()
        if f"/{folder}/" in name
    }


def test_every_published_slot_attention_configuration_is_read(reference_data: Path):
    found = published(reference_data, "sa")
    assert len(found) == 2
    for name, arguments in found.items():
        config = get_origin("slotdiffusion").read_config(arguments, source=name)
        assert isinstance(config, SlotAutoencoderConfig)
        assert config.num_slots == arguments["slot_dict"]["num_slots"]


def test_every_published_savi_configuration_is_read(reference_data: Path):
    found = published(reference_data, "savi", "pred_dict")
    assert len(found) == 4
    for name, arguments in found.items():
        described = {"cls": "SAVi", "args": arguments | {"clip_len": 3}}
        config = get_origin("slotdiffusion").read_config(described, source=name)
        if "movid" in name or "movie" in name:
            assert config == presets.SAVI
        else:  # MOVi-Solid and MOVi-Tex: plain convolutions, fewer slots
            backbone = {"type": "cnn", "strides": [2]}
            changes = {"num_slots": 12, "encoder": {"backbone": backbone}}
            assert config == presets.configure("savi", changes, source="test")


def changed(**changes: object) -> Change:
    """Some arguments different from the smallest model's."""
    return lambda small: merge(small, changes)


REFUSED: dict[str, tuple[Change, str]] = {
    "class": (
        lambda small: {"cls": "slotdiffusion.video_based.models.Wizard", "args": small},
        "key 'cls' names the class 'Wizard', expected SA, SAVi",
    ),
    "args": (lambda _: {"cls": "SA", "args": [1]}, "key 'args' holds no constructor arguments"),
    "surplus": (changed(clip_len=3), "unknown key 'clip_len'; allowed: dec_dict, enc_dict"),
    "surplus inside": (changed(enc_dict={"mae": "vits"}), r"unknown key 'enc_dict\.mae'"),
    "missing": (lambda _: {"resolution": [16, 16]}, "key 'slot_dict' is missing"),
    "missing inside": (
        lambda small: small | {"slot_dict": {"num_slots": 3}},
        r"key 'slot_dict\.slot_size' is missing",
    ),
    "norm": (changed(dec_dict={"dec_norm": "gn"}), r"key 'dec_dict\.dec_norm' has the value 'gn'"),
    "encoder norm": (changed(enc_dict={"enc_norm": "bn"}), r"'enc_dict\.enc_norm' has the value"),
    "no backbone": (
        lambda small: small | {"enc_dict": {"enc_out_channels": 8}},
        "'enc_channels' is missing; expected for an encoder of plain convolutions",
    ),
    "no layer4": (
        lambda small: small | {"enc_dict": {"enc_out_channels": 8, "resnet": "resnet18"}},
        "'use_layer4' is missing; expected for an encoder of resnet18",
    ),
    "grey pictures": (changed(enc_dict={"enc_channels": [1, 4]}), "begins with 1, expected 3"),
    "slot width": (
        changed(dec_dict={"dec_channels": [9, 4, 6]}),
        r"'dec_dict.dec_channels' begins with 9, expected slot_size, 8",
    ),
    "even kernel": (
        changed(dec_dict={"dec_ks": 4}),
        r"'dec_dict\.dec_ks' has the value 4: expected an odd number",
    ),
    "even kernel of the encoder": (
        changed(enc_dict={"enc_ks": 2}),
        r"'enc_dict\.enc_ks' has the value 2: expected an odd number",
    ),
    "other loss": (
        lambda small: small | {"loss_dict": {"use_img_recon_loss": False}},
        r"'loss_dict\.use_img_recon_loss' has the value False",
    ),
}


REFUSED_PREDICTORS: dict[str, tuple[dict[str, Any], str]] = {
    "kind": ({"pred_type": "gru"}, r"key 'pred_dict\.pred_type' has the value 'gru'"),
    "no size": ({"pred_ffn_dim": None}, "'pred_ffn_dim' is missing; expected for a transformer"),
    "surplus": (
        {"pred_heads": 3},
        r"unknown key 'pred_dict\.pred_heads'; did you mean 'pred_num_h",
    ),
}


@pytest.mark.parametrize("case", REFUSED_PREDICTORS)
def test_predictors_that_have_no_counterpart_are_refused(small_video: dict, case: str):
    change, sentence = REFUSED_PREDICTORS[case]
    small_video["args"]["pred_dict"] |= change
    with pytest.raises(ConfigError, match=sentence):
        get_origin("slotdiffusion").read_config(small_video, source="config.json")


def test_a_video_model_states_its_predictor(small_video: dict):
    for key in ("pred_dict", "clip_len"):
        lacking = {name: value for name, value in small_video["args"].items() if name != key}
        with pytest.raises(ConfigError, match=f"key '{key}' is missing"):
            get_origin("slotdiffusion").read_config(small_video | {"args": lacking}, source="x")


@pytest.mark.parametrize("case", REFUSED)
def test_arguments_that_have_no_counterpart_are_refused(small: dict, case: str):
    change, sentence = REFUSED[case]
    with pytest.raises(ConfigError, match=sentence) as caught:
        get_origin("slotdiffusion").read_config(change(small), source="config.json")
    assert str(caught.value).startswith("config.json: ")


def test_an_unknown_code_base_is_refused():
    with pytest.raises(
        ConfigError, match="no checkpoints of 'slotfusion' are known, only of slotd"
    ):
        get_origin("slotfusion")
