"""Open a checkpoint without knowing what is in it."""

from __future__ import annotations

from pathlib import Path

import torch

from slot_core import CheckpointError, HubModel
from slot_core.hub import CONFIG, locate_checkpoint, read_description
from slot_decoders.models.slot_autoencoder import SlotAutoencoder

MODEL_CLASSES: dict[str, type[HubModel]] = {"SlotAutoencoder": SlotAutoencoder}


def load_model(
    repo_or_folder: str | Path,
    *,
    revision: str | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
) -> SlotAutoencoder:
    """The model of a checkpoint, in eval mode.

    Args:
        repo_or_folder: a folder or a repository id such as ``"org/name"``. Of a training run's
            folder the newest checkpoint is taken.
        revision: branch, tag or commit on the Hub.
        device: where to put it.
        dtype: to convert the weights to; None keeps theirs.

    Raises:
        CheckpointError: if there is none, it is damaged, or its weights are not exactly those
            that its configuration asks for.
        ConfigError: if its ``config.json`` has an unknown, missing or unusable key.
    """
    folder = locate_checkpoint(published_half(repo_or_folder), revision)
    name = read_description(folder)["model_class"]
    if name not in MODEL_CLASSES:
        raise CheckpointError(
            f"{folder / CONFIG}: model_class is '{name}', expected {', '.join(MODEL_CLASSES)}"
        )
    model = MODEL_CLASSES[name].from_pretrained(folder, device=device, dtype=dtype)
    assert isinstance(model, SlotAutoencoder)
    return model


def published_half(repo_or_folder: str | Path) -> str | Path:
    """``model/`` inside a training checkpoint or a run's last checkpoint; else the same place."""
    for inside in ("checkpoints/last/model", "last/model", "model"):
        folder = Path(repo_or_folder, inside)
        if (folder / CONFIG).is_file():
            return folder
    return repo_or_folder
