"""A cache on disk of what the frozen parts of a model make of the training data.

A tokenizer's codes and a frozen backbone's feature maps are the same in every epoch, so they are
computed once for each sample, when it is first seen, and read from then on, also by other runs
on the same data. They lie in a folder of their own for everything that they follow from: the
weights, their configuration, the preprocessing, the options of the dataset, and of feature maps
mixed precision (codes are made without). Changed files in the dataset's folder are not noticed;
then delete the cache.

A file holds what was made of one sample. It is written beside its place and renamed, so processes
may share the folder and a killed run leaves nothing half-written.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from slot_core import ConfigError, InputError
from slot_data.order import Key
from slot_decoders.models import SlotAutoencoder
from slot_eval.provenance import model_hash
from support.options import RunOptions

FILES_IN_FOLDER = 1_000


class FrozenOutputs:
    """The cache of one model and one dataset.

    Args:
        folders: what is kept -> where.
        model: whose frozen parts make it.
    """

    def __init__(self, folders: dict[str, Path], model: SlotAutoencoder) -> None:
        self.folders = folders
        self.model = model

    def of(self, keys: Sequence[Key], video: Tensor) -> dict[str, dict[str, Tensor]]:
        """The keyword argument of the model's ``forward`` for a batch.

        Call it under the autocast of the training step, if there is one.

        Args:
            keys: of the batch's samples, in its order.
            video: of the batch, on its device.

        Raises:
            InputError: if a file cannot be read or written.
        """
        indices = [index for _, index in keys]
        kept = {name: [self._read(name, index) for index in indices] for name in self.folders}
        known = {
            name: [value for value in values if value is not None] for name, values in kept.items()
        }
        if all(len(values) == len(indices) for values in known.values()):
            stacked = {name: torch.from_numpy(np.stack(values)) for name, values in known.items()}
            return {"known": {name: value.to(video.device) for name, value in stacked.items()}}
        made = self.model.look_ahead(video)
        for name, values in kept.items():
            for index, value, new in zip(indices, values, made[name].cpu(), strict=True):
                if value is None:
                    self._write(name, index, new.numpy())
        return {"known": made}

    def _path(self, name: str, index: int) -> Path:
        folder = self.folders[name] / f"{index // FILES_IN_FOLDER:06d}"
        return folder / f"{index % FILES_IN_FOLDER:03d}.npy"

    def _read(self, name: str, index: int) -> np.ndarray | None:
        path = self._path(name, index)
        try:
            return np.load(path, allow_pickle=False)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, EOFError):
            raise InputError(f"{path}: is damaged; delete it, it is made again") from None

    def _write(self, name: str, index: int, value: np.ndarray) -> None:
        path = self._path(name, index)
        unfinished = path.with_suffix(f".{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with unfinished.open("wb") as file:
                np.save(file, value)
            unfinished.replace(path)
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({error.strerror})") from None


def open_cache(options: RunOptions, model: Any, dataset: Any) -> FrozenOutputs | None:
    """The cache that ``train.cache`` asks for; None where it is not set.

    Raises:
        ConfigError: if the model has no frozen part, one that draws at random, or samples look
            different in every epoch.
    """
    if options.train.cache is None:
        return None
    if options.data.augmentations:
        named = ", ".join(map(str, options.data.augmentations))
        raise ConfigError(
            f"train.cache keeps what frozen parts make of a sample, but data.augmentations "
            f"({named}) change it in every epoch; leave one out"
        )
    parts = model.frozen_parts if isinstance(model, SlotAutoencoder) else {}
    if not parts:
        raise ConfigError(
            f"train.cache keeps what frozen parts make of a sample, but this "
            f"{type(model).__name__} trains all of its parts"
        )
    for name, part in parts.items():
        if not getattr(part, "deterministic", True):
            raise ConfigError(
                f"train.cache keeps what frozen parts make of a sample, but the {name} are drawn "
                f"anew each time; set model.decoder.tokenizer.posterior=mode"
            )
    root = Path(options.train.cache)
    precision = options.train.mixed_precision
    folders = {name: root / f"{name}-{_key(name, model, dataset, precision)}" for name in parts}
    return FrozenOutputs(folders, model)


def _key(name: str, model: SlotAutoencoder, dataset: Any, precision: str) -> str:
    """A hash of all that ``name`` follows from."""
    config: Any = model.config
    own = config.encoder.preprocessing if name == "maps" else None
    follows_from = {
        "weights": model_hash(model.frozen_parts[name]),
        "part": config.encoder.backbone if name == "maps" else config.decoder.tokenizer,
        "preprocessing": own or config.preprocessing,
        "data": dict(dataset.settings),
        "samples": len(dataset),
    }
    if name == "maps" and precision != "no":
        follows_from["precision"] = precision
    stated = json.dumps(follows_from, sort_keys=True, default=_plain)
    return hashlib.sha256(stated.encode()).hexdigest()[:16]


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else str(value)
