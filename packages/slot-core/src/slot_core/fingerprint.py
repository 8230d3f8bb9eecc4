"""Which checkpoint is it? Slots mean something to the model that found them and to nothing else,
so what was computed from slots says whose they were."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from slot_core.errors import CheckpointError
from slot_core.hub import WEIGHTS, locate_checkpoint, read_description

PIECE = 2**20  # bytes read at once


def fingerprint(repo_or_folder: str | Path, revision: str | None = None) -> str:
    """SHA-256 of a checkpoint's class, configuration and weights, as 64 hexadecimal digits.

    It is the same wherever the checkpoint lies, and says nothing of its model card.

    Args:
        repo_or_folder: a folder, or a repository id such as ``"org/name"``.
        revision: branch, tag or commit on the Hub.

    Raises:
        CheckpointError: if there is no such checkpoint or it cannot be read.
    """
    folder = locate_checkpoint(repo_or_folder, revision)
    description = json.dumps(read_description(folder), sort_keys=True)
    total = hashlib.sha256(description.encode())
    try:
        with (folder / WEIGHTS).open("rb") as file:
            while piece := file.read(PIECE):
                total.update(piece)
    except FileNotFoundError:
        raise CheckpointError(f"{folder / WEIGHTS}: the weights file is missing") from None
    return total.hexdigest()
