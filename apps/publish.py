"""Publish a checkpoint on the Hugging Face Hub, as it lies on disk, with its card.

    python apps/publish.py runs/slot_attention-shapes NAME/slot-attention-shapes --license mit
    python apps/publish.py converted NAME/savi-movi-d --private

Of a run the newest checkpoint is taken. It is loaded first, so that what others cannot open is not
published. A licence that is given goes into the card that is uploaded, and the one on disk stays as
it is. ``hf auth login`` says who you are, or the variable HF_TOKEN.
"""

from __future__ import annotations

import support.starting  # noqa: F401  (before the seconds that torch takes to import)

# isort: split

from pathlib import Path
from typing import Annotated

import typer

from slot_core import CheckpointError
from slot_core.hub import CARD, push_folder
from slot_core.model_card import license_id, with_license
from slot_decoders.models import load_model
from slot_decoders.models.load import published_half
from support.command_line import run


def main(
    checkpoint: Annotated[Path, typer.Argument(help="folder of a model or a run")],
    repository: Annotated[str, typer.Argument(help="NAME/REPOSITORY; made if there is none")],
    private: Annotated[bool, typer.Option("--private", help="a new one for you alone")] = False,
    message: Annotated[str, typer.Option(help="of the commit")] = "Upload model",
    licence: Annotated[
        str | None,
        typer.Option("--license", help="of the weights: mit, cc-by-4.0, ...; the card's if not"),
    ] = None,
) -> None:
    """Publish a checkpoint with its card."""
    licensed = None if licence is None else license_id(licence)
    folder = Path(published_half(checkpoint))
    if not folder.is_dir():
        raise CheckpointError(f"{checkpoint}: there is no such folder")
    model = load_model(folder)
    if not (folder / CARD).is_file():
        raise CheckpointError(f"{folder}: has no {CARD} that says where the model is from")
    card = (folder / CARD).read_text(encoding="utf-8")
    address = push_folder(
        folder,
        repository,
        private=private,
        commit_message=message,
        card=None if licensed is None else with_license(card, licensed),
    )
    print(f"{repository}: {type(model).__name__}, {address}")


if __name__ == "__main__":
    run(main)
