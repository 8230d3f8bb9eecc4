"""SlotDiffusion's encoder on DINO in our model: the original code's numbers, and what is read.

The original code was run on a ViT smaller than any published one (``reference/README.md``), so
its sizes are stated beside the constructor arguments, as ``vit_config``.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from slot_core import CheckpointError, ConfigError, SlotEncoder
from slot_core.backbones.vit import VARIANTS
from slot_decoders.models import SlotAutoencoderConfig
from slot_decoders.models.build import build_encoder
from slot_decoders.models.configs import ViTConfig
from slot_decoders.models.state_dicts import StateDictMap
from slot_decoders.models.state_dicts.slotdiffusion_encoder import (
    IGNORED,
    EncoderSide,
    encoder_names,
)

Near = Callable[[Tensor, Tensor, float], None]
Tensors = dict[str, Tensor]
REFERENCE = Path(__file__).parent / "reference"
SIDE = ("resolution", "slot_dict", "enc_dict")


def read_config(described: dict[str, Any]) -> SlotAutoencoderConfig:
    """Our configuration of the original's encoder, on the small ViT."""
    arguments = {key: described["args"][key] for key in SIDE}
    shared = EncoderSide.parse(arguments, source="reference").shared()
    vit = described["vit_config"]
    backbone = ViTConfig(
        patch_size=vit["patch_size"],
        hidden_dim=vit["hidden_size"],
        num_layers=vit["num_hidden_layers"],
        num_heads=vit["num_attention_heads"],
        mlp_ratio=vit["intermediate_size"] // vit["hidden_size"],
        image_size=vit["image_size"],
    )
    encoder = shared["encoder"].model_copy(update={"backbone": backbone})
    return SlotAutoencoderConfig(**{**shared, "encoder": encoder})


def load_encoder(described: dict[str, Any], weights: Tensors) -> SlotEncoder:
    config = read_config(described)
    encoder = build_encoder(config)
    own = {f"encoder.{name}": value for name, value in encoder.state_dict().items()}
    names = StateDictMap(
        encoder_names(config.encoder), IGNORED, frozenset({"encoder.initializer.slots"})
    )
    converted = names.to_ours(weights, own, source="reference")
    back = names.to_theirs(converted)
    assert back.keys() == weights.keys() - IGNORED.keys()
    assert all(torch.equal(value, weights[name].float()) for name, value in back.items())
    encoder.load_state_dict({k.removeprefix("encoder."): v for k, v in converted.items()})
    return encoder.eval()


def outputs_of(encoder: SlotEncoder, img: Tensor) -> Tensors:
    """Our outputs under the foreign names, without the axis of time."""
    video = (img * 0.5 + 0.5)[:, None]
    with torch.no_grad():
        out = encoder(video)
        return {
            "encoder_feat": encoder.backbone(img),
            "encoder_out": encoder.features(video)[0][:, 0],
            "slots": out.slots[:, 0],
            "masks_train_mode": out.attention[:, 0].unflatten(-1, out.feature_size),
        }


@pytest.fixture
def stored() -> tuple[dict[str, Any], Tensors, Tensors]:
    """Description, weights, and the other tensors."""
    described = json.loads((REFERENCE / "dino_encoder.json").read_text())
    tensors = load_file(REFERENCE / "dino_encoder.safetensors")
    weights = {k.removeprefix("weights."): v for k, v in tensors.items() if "weights." in k}
    return described, weights, {k: v for k, v in tensors.items() if "weights." not in k}


def test_the_encoder_gives_the_numbers_of_the_original_code(stored: tuple, assert_near: Near):
    described, weights, expected = stored
    made = outputs_of(load_encoder(described, weights), expected["img"])
    for name in ("encoder_feat", "encoder_out", "slots", "masks_train_mode"):
        assert_near(made[name], expected[name], 1e-5)


def test_the_encoder_equals_the_original_on_every_picture(reference_data: Path, assert_near: Near):
    folder = reference_data / "golden" / "sa_ldm_dino_a"
    described = json.loads((folder / "config.json").read_text())
    weights, inputs, outputs = (
        load_file(folder / f"{name}.safetensors") for name in ("state_dict", "inputs", "outputs")
    )
    of_encoder = {n: v for n, v in weights.items() if not n.startswith(("dm_decoder.", "loss."))}
    made = outputs_of(load_encoder(described, of_encoder), inputs["img"])
    for name, value in made.items():
        assert_near(value, outputs[name], 1e-5)


def test_a_weight_that_is_missing_or_unknown_is_named(stored: tuple):
    described, weights, _ = stored
    name = "encoder.dino.encoder.layer.1.attention.attention.key.bias"
    with pytest.raises(CheckpointError, match=f"lacks weights {name}$"):
        load_encoder(described, {k: v for k, v in weights.items() if k != name})
    with pytest.raises(CheckpointError, match=r"unknown weights encoder\.dino\.head\.bias$"):
        load_encoder(described, {**weights, "encoder.dino.head.bias": weights[name]})


def test_dinov2_has_no_counterpart(stored: tuple):
    described, weights, _ = stored
    config = read_config(described)
    backbone = config.encoder.backbone.model_copy(update={"kind": "dinov2"})
    names = encoder_names(config.encoder.model_copy(update={"backbone": backbone}))
    with pytest.raises(CheckpointError, match=r"no counterpart of our 'encoder\.backbone\.x'"):
        StateDictMap(names).to_ours(weights, {"encoder.backbone.x": torch.ones(1)}, source="it")


# --- constructor arguments ----------------------------------------------------------------------

ARGUMENTS = {
    "resolution": [224, 224],
    "slot_dict": {"num_slots": 6, "slot_size": 192, "slot_mlp_size": 384, "num_iterations": 3},
    "enc_dict": {
        "dino": "dino-vits8",
        "patch_size": 8,
        "small_size": True,
        "enc_out_channels": 192,
        "resolution": [224, 224],
    },
}


def parse(**changes: Any) -> dict[str, Any]:
    enc_dict = {**ARGUMENTS["enc_dict"], **changes}
    return EncoderSide.parse({**ARGUMENTS, "enc_dict": enc_dict}, source="it").shared()


@pytest.mark.parametrize("small_size", [True, False])
@pytest.mark.parametrize("patch_size", [8, 16])
def test_the_arguments_name_a_published_network(patch_size: int, small_size: bool):
    shared = parse(patch_size=patch_size, small_size=small_size)
    expected = VARIANTS[f"dino-vit{'s' if small_size else 'b'}{patch_size}"]
    assert shared["encoder"].backbone == ViTConfig(**expected, frozen=True)
    assert shared["preprocessing"].image_size == (224, 224)
    assert shared["preprocessing"].mean == shared["preprocessing"].std == (0.5, 0.5, 0.5)


def test_every_published_configuration_with_dino_is_read(reference_data: Path):
    recipes = json.loads((reference_data / "golden" / "recipes.json").read_text())
    found = [recipe for recipe in recipes.values() if "dino" in recipe.get("enc_dict", {})]
    assert len(found) == 2
    for recipe in found:
        side = EncoderSide.parse({key: recipe[key] for key in SIDE}, source="recipe").shared()
        assert side["encoder"].backbone == ViTConfig(**VARIANTS["dino-vits8"])
        assert side["slot_dim"] == recipe["slot_dict"]["slot_size"]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no patch size": ({"patch_size": None}, "'patch_size' is missing; expected for an encoder of"),
    "no size": ({"small_size": None}, "'small_size' is missing; expected for an encoder of dino-v"),
    "other patches": ({"patch_size": 14}, r"key 'enc_dict\.patch_size' has the value 14"),
    "other pictures": (
        {"resolution": [448, 224]},
        r"'enc_dict.resolution' is \(448, 224\), expected 'resolution', \(224, 224\)",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_arguments_that_describe_no_such_network_are_refused(case: str):
    changes, sentence = REFUSED[case]
    with pytest.raises(ConfigError, match=sentence):
        parse(**changes)
