"""Where a result comes from: the model's hash and configuration, the data's card, and how far it is
from what the protocol's authors do."""

import hashlib
from collections.abc import Mapping
from typing import Any

import torch

from slot_eval.protocols import DataSet, Protocol


def of_model(model: Any) -> dict[str, Any]:
    """What a result says of a model, as arguments of ``make_result``."""
    return {
        "model_hash": model_hash(model),
        "model_structure": model_structure(model),
        "model_config": model_config(model),
    }


def model_hash(model: Any) -> str | None:
    """A fingerprint of a model's weights, by name, type, shape and value; None if it has none.

    The same weights have the same hash wherever they were loaded from.
    """
    if not isinstance(model, torch.nn.Module):
        return None
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        tensor = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def model_structure(model: Any) -> str | None:
    """A fingerprint of the names and shapes of a model's weights and of its number of slots, which
    no weight may show; None if it has none.

    Equal for models that differ in their seed alone.
    """
    if not isinstance(model, torch.nn.Module):
        return None
    shapes = sorted((name, list(tensor.shape)) for name, tensor in model.state_dict().items())
    structure = (shapes, getattr(model, "num_slots", None))
    return hashlib.sha256(repr(structure).encode()).hexdigest()[:16]


def model_config(model: Any) -> dict[str, Any] | None:
    """The configuration of a model that has one of pydantic's; None of others."""
    config: Any = getattr(model, "config", None)
    return config.model_dump(mode="json") if hasattr(config, "model_dump") else None


def departures(
    protocol: Protocol,
    data: str,
    split: str,
    options: Mapping[str, Any],
    size: tuple[int, int] | None,
    source: str | None,
) -> list[str]:
    """In what a run differs from its protocol, one sentence each; empty where it does not."""
    found = []
    if protocol.masks != "model" and source not in (None, protocol.masks):
        found.append(f"masks of the {source}, {protocol.id} takes those of the {protocol.masks}")
    name = data.rpartition(":")[2]
    theirs = next((one for one in protocol.data if one.name == name), None)
    if theirs is None:
        return [*found, f"{protocol.id} is not published on {name}"]
    return [*found, *data_departures(protocol, theirs, split, options, size)]


def data_departures(
    protocol: Protocol,
    theirs: DataSet,
    split: str,
    options: Mapping[str, Any],
    size: tuple[int, int] | None,
) -> list[str]:
    """In what the data differs from what the protocol's authors score."""
    found, name = [], theirs.name
    if split != theirs.split:
        found.append(f"{name} {split}, {protocol.id} scores {theirs.split}")
    if theirs.size is not None and size is not None and size != (theirs.size, theirs.size):
        found.append(
            f"labels of {size[0]}x{size[1]}, {protocol.id} scores {name} at "
            f"{theirs.size}x{theirs.size}"
        )
    preset = options.get("preset")
    if theirs.preset is not None and preset != theirs.preset:
        used = f"preset {preset}" if preset else "no preset"
        found.append(f"{name} with {used}, {protocol.id} takes its preset {theirs.preset}")
    crowd = options.get("crowd")
    if name == "coco" and crowd is not None and crowd != protocol.crowd:
        found.append(f"crowds: {crowd}, {protocol.id} takes {protocol.crowd}")
    return found
