"""Open a checkpoint without knowing what is in it, or start another model from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from slot_core import CheckpointError, ConfigError, HubModel, InputError, fingerprint
from slot_core.errors import printable
from slot_core.hub import (
    CONFIG,
    WEIGHTS,
    check_weights,
    locate_checkpoint,
    read_description,
    read_weights,
)
from slot_decoders.models.build import MODEL_CLASSES
from slot_decoders.models.pretrained_autoencoder import load_autoencoder
from slot_decoders.models.slot_autoencoder import SlotAutoencoder
from slot_decoders.models.slot_dynamics_model import SlotDynamicsModel
from slot_decoders.models.tokenizer_model import TokenizerModel
from slot_decoders.tokenizers import AutoencoderKL, AutoencoderTiny


def load_model(
    repo_or_folder: str | Path,
    *,
    revision: str | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    changes: Mapping[str, Any] | None = None,
) -> Any:
    """The model of a checkpoint, in eval mode, of the class that its ``config.json`` names.

    Args:
        repo_or_folder: a folder or a repository id such as ``"org/name"``. Of a training run's
            folder the newest checkpoint is taken.
        revision: branch, tag or commit on the Hub.
        device: where to put it.
        dtype: to convert the weights to; None keeps theirs.
        changes: to its configuration, nested as for ``presets``, which the weights must fit as
            they are. ``{"num_slots": 11}`` looks for more objects than it was trained with,
            where first slots are drawn or clustered; learned ones are as many as were learned.

    Raises:
        CheckpointError: if there is none, it is damaged, or its weights are not exactly those
            that its configuration asks for.
        ConfigError: if its ``config.json`` or ``changes`` have an unknown, missing or unusable
            key.
    """
    folder = locate_checkpoint(published_half(repo_or_folder), revision)
    name = read_description(folder)["model_class"]
    if name not in MODEL_CLASSES:
        raise CheckpointError(
            f"{folder / CONFIG}: model_class is '{printable(name)}', expected "
            f"{', '.join(MODEL_CLASSES)}"
        )
    return MODEL_CLASSES[name].from_pretrained(folder, device=device, dtype=dtype, changes=changes)


def start_from(
    model: HubModel,
    repo_or_folder: str | Path,
    fresh: Sequence[str] = ("encoder.predictor",),
    *,
    revision: str | None = None,
) -> None:
    """Give ``model`` the weights of another checkpoint, apart from parts that start fresh.

    So a video model starts from a picture model: all weights are the same but for the predictor,
    which pictures do not need. A conditioned one also has other first slots:
    ``fresh=("encoder.predictor", "encoder.initializer")``.

    Args:
        model: keeps its device and its precision.
        repo_or_folder: as for ``load_model``.
        fresh: parts of ``model`` whose weights stay as they are; what the checkpoint has of
            them is left out.
        revision: branch, tag or commit on the Hub.

    Raises:
        CheckpointError: if there is no such checkpoint, it is damaged, or any weight outside
            ``fresh`` is missing, surplus or of another shape.
        InputError: if the model has no weights in a part of ``fresh``.
    """
    folder = locate_checkpoint(published_half(repo_or_folder), revision)
    read_description(folder)
    weights = {n: v for n, v in read_weights(folder / WEIGHTS).items() if not _inside(n, fresh)}
    for part in fresh:
        kept = {n: v for n, v in model.state_dict().items() if _inside(n, [part])}
        if not kept:
            raise InputError(f"the model has no weights in '{part}' that could start fresh")
        weights |= kept
    check_weights(model, weights, source=str(folder / WEIGHTS))
    model.load_state_dict(weights, strict=True)


def start_tokenizer(
    model: HubModel, repo_or_folder: str | Path, *, revision: str | None = None
) -> None:
    """Give the decoder of ``model`` the tokenizer of a checkpoint, trained before.

    Args:
        model: its decoder has a tokenizer; it keeps its device and its precision. An encoder that
            looks at tokens of the same tokenizer is given it, too.
        repo_or_folder: of a ``TokenizerModel``, as for ``load_model``; where the tokenizer is a
            pre-trained autoencoder, of that, as diffusers writes it.
        revision: branch, tag or commit on the Hub.

    Raises:
        CheckpointError: if there is no such checkpoint, it is damaged, or of another kind.
        ConfigError: if it was trained on other preprocessing, or its tokenizer is another than
            the model's; the sentence names the first key that differs.
        InputError: if the decoder has no tokenizer.
    """
    own = getattr(getattr(model, "decoder", None), "tokenizer", None)
    if own is None:
        raise InputError(
            f"this {type(model).__name__} has no tokenizer that could be trained before"
        )
    wanted: Any = model.config
    if isinstance(own, AutoencoderKL | AutoencoderTiny):
        load_autoencoder(own, wanted.preprocessing, repo_or_folder, revision=revision)
        return
    trained = load_model(repo_or_folder, revision=revision)
    if not isinstance(trained, TokenizerModel):
        raise CheckpointError(
            f"{repo_or_folder}: holds a {type(trained).__name__}, expected a TokenizerModel"
        )
    for part, theirs, ours in (
        ("preprocessing", trained.config.preprocessing, wanted.preprocessing),
        ("decoder.tokenizer", trained.config.tokenizer, wanted.decoder.tokenizer),
    ):
        if difference := first_difference(theirs.model_dump(), ours.model_dump(), part):
            raise ConfigError(f"{repo_or_folder}: is another tokenizer; {difference}")
    own.load_state_dict(trained.tokenizer.state_dict(), strict=True)
    if isinstance(model, SlotAutoencoder) and model.config.looks_at_its_tokens:
        looking: Any = model.encoder.backbone
        looking.tokenizer.load_state_dict(trained.tokenizer.state_dict(), strict=True)


def start_decoder(
    model: SlotDynamicsModel, repo_or_folder: str | Path, *, revision: str | None = None
) -> None:
    """Give a model of dynamics the decoder of the model whose slots it predicts.

    Args:
        model: its decoder is of the same configuration; it keeps its device and its precision.
        repo_or_folder: of a ``SlotAutoencoder``, as for ``load_model``.
        revision: branch, tag or commit on the Hub.

    Raises:
        CheckpointError: if there is no such checkpoint, it is damaged, of another kind, or not
            the one that found the slots.
        ConfigError: naming the first key in which the two models differ.
        InputError: if the model has no decoder.
    """
    if model.decoder is None:
        raise InputError("this model of slots has no decoder; state it as model.decoder")
    trained = load_model(repo_or_folder, revision=revision)
    if not isinstance(trained, SlotAutoencoder):
        raise CheckpointError(
            f"{repo_or_folder}: holds a {type(trained).__name__}, expected a SlotAutoencoder"
        )
    found_by = fingerprint(published_half(repo_or_folder), revision)
    if model.config.slots_of not in (None, found_by):
        raise CheckpointError(
            f"{repo_or_folder}: is the model {found_by[:12]}, but the slots are of "
            f"{str(model.config.slots_of)[:12]}"
        )
    parts = ("num_slots", "slot_dim", "preprocessing", "decoder")
    theirs, ours = (
        config.model_dump(include=set(parts)) for config in (trained.config, model.config)
    )
    if difference := first_difference(theirs, ours):
        raise ConfigError(f"{repo_or_folder}: has another decoder; {difference}")
    model.decoder.load_state_dict(trained.decoder.state_dict(), strict=True)


def first_difference(
    theirs: Any, ours: Any, key: str = "", *, other: str = "the model's"
) -> str | None:
    """Where two configurations differ first, in words; None if they are equal.

    ``other`` is what the sentence calls ``ours``.
    """
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for name in sorted(theirs.keys() | ours.keys()):
            inner = f"{key}.{name}" if key else name
            if found := first_difference(theirs.get(name), ours.get(name), inner, other=other):
                return found
        return None
    return None if theirs == ours else f"its {key} is {theirs!r}, {other} is {ours!r}"


def _inside(name: str, parts: Sequence[str]) -> bool:
    return any(name == part or name.startswith(f"{part}.") for part in parts)


def published_half(repo_or_folder: str | Path) -> str | Path:
    """``model/`` inside a training checkpoint or a run's last checkpoint; else the same place."""
    for inside in ("checkpoints/last/model", "last/model", "model"):
        folder = Path(repo_or_folder, inside)
        if (folder / CONFIG).is_file():
            return folder
    return repo_or_folder
