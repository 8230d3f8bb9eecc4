"""The published weights of a ViT, and how its pictures were normalised.

From a repository on the Hub or a folder in its layout, as transformers writes it: config.json,
model.safetensors (in older repositories pytorch_model.bin) and preprocessor_config.json. Loading
is strict: the repository must hold the very network that was built. transformers' own loading is
not used, as it fills missing weights with random ones.

The values of preprocessor_config.json are those of the pre-training: for all of
``slot_core.backbones.vit.VARIANTS`` ImageNet's mean (0.485, 0.456, 0.406) and standard deviation
(0.229, 0.224, 0.225). SlotDiffusion normalises with 0.5 and 0.5 instead. Which one a model uses is
part of its own configuration and saved with it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from slot_core.backbones.vit import ViT, hub_name
from slot_core.errors import CheckpointError
from slot_core.hub import CONFIG, WEIGHTS, check_weights, locate_checkpoint, read_weights
from slot_core.json_files import read_json
from slot_core.pickled_weights import read_pickled

PICKLED_WEIGHTS, PREPROCESSING = "pytorch_model.bin", "preprocessor_config.json"

# Kind of ViT -> what config.json calls it.
MODEL_TYPES = {"dino": "vit", "dinov2": "dinov2"}
# What must agree, by the names of config.json.
KEYS = (
    "patch_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "image_size",
    "hidden_act",
    "layer_norm_eps",
    "qkv_bias",
)
MORE_KEYS = {"dino": ("intermediate_size",), "dinov2": ("mlp_ratio", "use_swiglu_ffn")}
# Weights that serve other uses of the network.
UNUSED = ("pooler.dense.weight", "pooler.dense.bias", "embeddings.mask_token")
FINAL_NORM = ("layernorm.weight", "layernorm.bias")  # of which a ViT may do without


def load_pretrained(
    backbone: ViT, repo_or_folder: str | Path, *, revision: str | None = None
) -> None:
    """Load the weights of a pre-trained network into ``backbone``, in its own dtype and place.

    Args:
        backbone: built with the network's own sizes, as ``VARIANTS`` lists them.
        repo_or_folder: a folder, or a repository id such as ``"facebook/dino-vits8"``.
        revision: branch, tag or commit on the Hub.

    Raises:
        CheckpointError: if it cannot be found or read, or holds another network.
    """
    folder = locate_checkpoint(repo_or_folder, revision, files=(CONFIG, WEIGHTS))
    _check_network(backbone, folder / CONFIG)
    path = folder / WEIGHTS
    if not path.is_file():
        folder = locate_checkpoint(repo_or_folder, revision, files=(CONFIG, PICKLED_WEIGHTS))
        path = folder / PICKLED_WEIGHTS
    weights = read_weights(path) if path.name == WEIGHTS else _read_pickled_weights(path)
    unused = UNUSED if backbone.final_norm else UNUSED + FINAL_NORM
    weights = {
        hub_name(name, backbone.kind): value
        for name, value in weights.items()
        if name not in unused
    }
    check_weights(backbone, weights, source=str(path))
    backbone.load_state_dict(weights, strict=True)


def preprocessing_of(
    repo_or_folder: str | Path, *, revision: str | None = None
) -> dict[str, tuple[float, float, float]]:
    """``mean`` and ``std`` of the colours, in [0, 1], that a pre-trained network expects.

    Args:
        repo_or_folder: a folder, or a repository id such as ``"facebook/dino-vits8"``.
        revision: branch, tag or commit on the Hub.

    Raises:
        CheckpointError: if it cannot be found, or its preprocessor_config.json does not tell.
    """
    folder = locate_checkpoint(repo_or_folder, revision, files=(PREPROCESSING,))
    path = folder / PREPROCESSING
    description = _read_object(path)
    colours: dict[str, tuple[float, float, float]] = {}
    for name in ("mean", "std"):
        try:
            red, green, blue = description[f"image_{name}"]
            colours[name] = (float(red), float(green), float(blue))
        except (KeyError, TypeError, ValueError):
            raise CheckpointError(
                f"{path}: key 'image_{name}' is missing or does not hold three numbers"
            ) from None
    return colours


def _check_network(backbone: ViT, path: Path) -> None:
    """Raise CheckpointError unless config.json describes the network of ``backbone``."""
    description = _read_object(path)
    expected = MODEL_TYPES[backbone.kind]
    if description.get("model_type") != expected:
        raise CheckpointError(
            f"{path}: model_type is '{description.get('model_type')}', expected '{expected}', as "
            f"the ViT is of kind '{backbone.kind}'"
        )
    own: Any = backbone.network.config
    defaults = type(own)()  # of what the file does not state
    differences = [
        f"{key} is {found}, expected {getattr(own, key)}"
        for key in (*KEYS, *MORE_KEYS[backbone.kind])
        if (found := description.get(key, getattr(defaults, key))) != getattr(own, key)
    ]
    if differences:
        raise CheckpointError(f"{path}: {'; '.join(differences)}, as the ViT was built")


def _read_object(path: Path) -> dict[str, Any]:
    try:
        description = read_json(path)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: the file is missing") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: is not readable JSON ({error})") from None
    if not isinstance(description, dict):
        raise CheckpointError(f"{path}: expected a JSON object")
    return description


def _read_pickled_weights(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise CheckpointError(f"{path.parent}: has neither {WEIGHTS} nor {PICKLED_WEIGHTS}")
    weights = read_pickled(path)
    named = isinstance(weights, dict) and all(isinstance(name, str) for name in weights)
    if not named or not all(isinstance(value, Tensor) for value in weights.values()):
        raise CheckpointError(f"{path}: holds no weights by name")
    return weights
