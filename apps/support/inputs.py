"""What a model is given of a batch: the video and what it is told of its objects, or slots.

A conditional model is told where the objects of the first frame are. In training and in scoring
that comes from the true labels, as in SAVi (Kipf et al. 2021, arXiv 2111.12594, section 2.3); of
your own videos you tell it yourself (``apps/predict.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from slot_core import ConfigError, HubModel, InputError
from slot_data.boxes import conditioning_from_labels
from slot_decoders.models import RelationReadoutModel, SlotAutoencoder, SlotDynamicsModel


def inputs_of(model: HubModel, batch: Mapping[str, Any], device: torch.device) -> tuple[Any, ...]:
    """The positional arguments of the model's ``forward`` for a collated batch.

    Raises:
        InputError, DataError: as ``conditioning_of`` does.
    """
    if isinstance(model, SlotDynamicsModel | RelationReadoutModel):
        return slots_of(model, batch, device)
    video = batch["video"].to(device, non_blocking=True)
    if isinstance(model, SlotAutoencoder):
        return video, conditioning_of(model, batch)
    return (video,)


def training_frames(model: HubModel, sample: Mapping[str, Any]) -> int:
    """How many frames a sample has; give one as training sees them.

    Raises:
        ConfigError: if a predictor is to learn from videos of one frame, which tell it nothing.
    """
    frames = len(sample["slots"] if "slots" in sample else sample["video"])
    predicts = isinstance(model, SlotAutoencoder) and model.encoder.predictor is not None
    if predicts and frames == 1:
        raise ConfigError(
            "the model predicts slots from frame to frame, but a sample has one frame; set "
            "data.num_frames, or model.encoder.predictor=null"
        )
    return frames


def slots_of(
    model: SlotDynamicsModel | RelationReadoutModel, batch: Mapping[str, Any], device: torch.device
) -> tuple[Tensor, ...]:
    """Slots, and the video or the answers where the model learns from them.

    Raises:
        InputError: if the batch lacks what it needs.
    """
    second = "outcome"
    if isinstance(model, SlotDynamicsModel):
        second = "video" if model.config.image_loss_weight else None
    for key, option in (("slots", "name=slots"), ("video", "pixels=true"), ("outcome", "outcomes")):
        if key in ("slots", second) and key not in batch:
            raise InputError(
                f"{type(model).__name__} learns from {key}, which the dataset does not give; set "
                f"data.{option}"
            )
    keys = ["slots"] if second is None else ["slots", second]
    return tuple(batch[key].to(device, non_blocking=True) for key in keys)


def conditioning_of(model: SlotAutoencoder, batch: Mapping[str, Any]) -> Tensor | None:
    """What ``model`` wants to be told of a collated batch, on its device; None for nothing.

    Raises:
        InputError: if it is told of objects and the batch has no labels.
        DataError: if a frame has more objects than the model has slots.
    """
    kind = model.conditioned_on
    if kind is None:
        return None
    if "labels" not in batch:
        raise InputError(
            f"the model is conditioned on {kind} of the objects in the first frame, but the "
            f"dataset has no labels to take them from"
        )
    told = conditioning_from_labels(kind, batch["labels"][:, 0], model.num_slots)
    return told.to(next(model.parameters()).device)
