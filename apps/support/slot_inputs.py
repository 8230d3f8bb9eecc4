"""Slots mean something to the model that found them alone: what is trained on them remembers whose
they were, and refuses others. Files hold them in single precision, whatever the models'."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from slot_core import ConfigError, InputError
from slot_data.slots import Slots
from slot_decoders.models import ModelConfig, RelationReadoutConfig, SlotDynamicsConfig


def told_of_slots(config: ModelConfig, *datasets: Any) -> ModelConfig:
    """The configuration of a model, with the fingerprint of the model whose slots it learns from.

    Args:
        config: of any model; one that is not given slots is returned as it is.
        datasets: that it is trained and scored on; None where there is none.

    Raises:
        ConfigError: if their slots are of another number or width than the model's.
        InputError: if they are not slots, or of different models.
    """
    if not isinstance(config, SlotDynamicsConfig | RelationReadoutConfig):
        return config
    for dataset in datasets:
        if dataset is None:
            continue
        if not isinstance(dataset, Slots):
            raise InputError(
                f"a {type(config).__name__.removesuffix('Config')} learns from slots; write them "
                "with apps/extract_slots.py and set data.name=slots"
            )
        check_slots(config, dataset)
        if config.slots_of is None:
            config = config.model_copy(update={"slots_of": dataset.description.fingerprint})
    return config


def check_slots(config: SlotDynamicsConfig | RelationReadoutConfig, dataset: Slots) -> None:
    """Raise unless a model of this configuration can be given the slots of ``dataset``."""
    described = dataset.description
    for key in ("num_slots", "slot_dim"):
        found, wanted = getattr(described, key), getattr(config, key)
        if found != wanted:
            raise ConfigError(
                f"{dataset.folder}: holds slots whose {key} is {found}, the model's is {wanted}"
            )
    if config.slots_of not in (None, described.fingerprint):
        raise InputError(
            f"{dataset.folder}: holds slots of the model {described.fingerprint[:12]} (then at "
            f"{described.model}), but this one learns from those of {config.slots_of[:12]}"
        )


def precision(part: nn.Module) -> torch.dtype:
    """Of a part's weights, in which it takes its slots."""
    return next(part.parameters()).dtype
