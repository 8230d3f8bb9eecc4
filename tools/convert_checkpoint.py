"""Turn other people's weights into a checkpoint that ``load_model`` opens.

    uv run python tools/convert_checkpoint.py --from slotdiffusion --weights model.pth \
        --config config.json --out converted
    uv run python tools/convert_checkpoint.py --weights savi_movid_params-res128.pth \
        --recipe savi_movid_params-res128 --out converted

``--recipe`` takes the names of our recipes and those of SlotDiffusion's, which its released weights
bear; ``--set`` changes its options as in training. ``config.json`` holds the constructor arguments
of their model under their original names: ``{"cls": "SAVi", "args": {...}}``, or the arguments
alone for ``SA``; of ``--from steve`` and ``--from slate`` the arguments of their training scripts.
Every tensor of the file must be used or be one that we know to need no counterpart. A ``.pth`` is
opened as tensors only: code in it is never run.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from slot_core import CheckpointError, ConfigError, ModelCard
from slot_core.hub import read_weights as read_safetensors
from slot_core.json_files import read_json
from slot_core.model_card import NOT_STATED, license_id, public_command
from slot_core.pickled_weights import read_pickled
from slot_decoders.models import ModelConfig
from slot_decoders.models.state_dicts import ORIGINS, convert, get_origin

APPS = Path(__file__).resolve().parents[1] / "apps"
sys.path.insert(0, str(APPS))  # recipes are read, and errors told, as the apps do it

from support.command_line import run  # noqa: E402
from support.options import load_options  # noqa: E402
from support.reference_names import own_recipe  # noqa: E402


def convert_checkpoint(
    weights: Annotated[Path, typer.Option(help="A .safetensors or a .pth file.")],
    out: Annotated[Path, typer.Option(help="Folder to write; must not exist or be empty.")],
    origin: Annotated[
        str, typer.Option("--from", help=f"The code it was trained with: {', '.join(ORIGINS)}.")
    ] = "slotdiffusion",
    config: Annotated[
        Path | None,
        typer.Option(
            help="JSON of the model's original constructor arguments; of steve and slate, of their "
            "training script's."
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="Instead of --config: a recipe of ours or of SlotDiffusion's, by name."),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="key.key=value, over the recipe's option; repeatable."),
    ] = None,
    averaged: Annotated[
        bool, typer.Option(help="Take the running average of the weights that training kept.")
    ] = False,
    card_data: Annotated[
        str, typer.Option(help="For the model card: what it was trained on.")
    ] = NOT_STATED,
    card_license: Annotated[
        str, typer.Option(help="For the model card: SPDX identifier of the weights' licence.")
    ] = ModelCard.license,
) -> None:
    """Turn other people's weights into a checkpoint that load_model opens."""
    get_origin(origin)
    licensed = license_id(card_license)
    refuse_existing(out)
    described = read_description(config, recipe, changes or (), origin)
    model = convert(
        read_weights(weights), described, origin=origin, averaged=averaged, source=str(weights)
    )
    command = public_command(["python", *sys.argv])
    card = ModelCard(data=card_data, command=command, license=licensed)
    model.save_pretrained(out, card=card)
    slots = f" with {model.num_slots} slots" if hasattr(model, "num_slots") else ""
    print(f"{out}: {type(model).__name__}{slots}")


def refuse_existing(folder: Path) -> None:
    """Raise CheckpointError where ``folder`` could not be written without losing something."""
    if folder.exists() and not folder.is_dir():
        raise CheckpointError(f"--out {folder}: is a file, expected a folder to write")
    if folder.is_dir() and any(folder.iterdir()):
        raise CheckpointError(f"--out {folder}: is not empty, expected a new or empty folder")


def read_description(
    config: Path | None, recipe: str | None, changes: Sequence[str], origin: str
) -> ModelConfig:
    """The model's configuration from ``--config`` or ``--recipe``, whichever was given."""
    if (config is None) == (recipe is None):
        raise ConfigError("give either --config or --recipe, exactly one of them")
    if recipe is not None:
        return load_options(own_recipe(recipe), changes).model
    assert config is not None
    if changes:
        raise ConfigError("--set changes a recipe, but --config is given; change that file instead")
    try:
        described = read_json(config)
    except FileNotFoundError:
        raise ConfigError(f"--config {config}: there is no such file") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"--config {config}: is not readable JSON ({error})") from None
    if not isinstance(described, dict):
        raise ConfigError(f"--config {config}: expected a JSON object of constructor arguments")
    return get_origin(origin).read_config(described, source=str(config))


def read_weights(path: Path) -> Any:
    """What a weights file holds; of a ``.pth`` only tensors and plain containers are read."""
    if not path.is_file():
        raise CheckpointError(f"--weights {path}: there is no such file")
    try:
        if path.suffix == ".safetensors":
            return read_safetensors(path)
        if path.suffix in (".pth", ".pt", ".tar"):
            return read_pickled(path)
    except CheckpointError as error:
        raise CheckpointError(f"--weights {error}") from None
    raise CheckpointError(f"--weights {path}: expected a .safetensors or a .pth file")


if __name__ == "__main__":
    run(convert_checkpoint)
