"""Weights of other people's code in our models: their names and arguments, and ours.

``tools/convert_checkpoint.py`` is the door for a file; ``convert`` is what it does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from slot_core import ConfigError
from slot_decoders.models.build import build_model
from slot_decoders.models.configs import ModelConfig
from slot_decoders.models.state_dicts import slate, slotdiffusion, steve
from slot_decoders.models.state_dicts.mapping import StateDictMap, unwrap


@dataclass(frozen=True)
class Origin:
    """One code base whose checkpoints we can read.

    Attributes:
        read_config: its constructor arguments to our configuration.
        state_dict_map: the names of its weights, for a model of ours.
        pick_weights: which of a checkpoint's tensors are the model, or its running average.
    """

    read_config: Callable[..., Any]
    state_dict_map: Callable[[Any], StateDictMap]
    pick_weights: Callable[..., dict[str, Tensor]]


ORIGINS = {
    "slotdiffusion": Origin(
        slotdiffusion.read_config, slotdiffusion.state_dict_map, slotdiffusion.pick_weights
    ),
    "slate": Origin(slate.read_config, slate.state_dict_map, slate.pick_weights),
    "steve": Origin(steve.read_config, steve.state_dict_map, steve.pick_weights),
}


def get_origin(name: str) -> Origin:
    """The code base of this name.

    Raises:
        ConfigError: listing the known ones.
    """
    if name not in ORIGINS:
        raise ConfigError(f"no checkpoints of '{name}' are known, only of {', '.join(ORIGINS)}")
    return ORIGINS[name]


def convert(
    checkpoint: Any,
    config: ModelConfig | Mapping[str, Any],
    *,
    origin: str = "slotdiffusion",
    averaged: bool = False,
    source: str = "the checkpoint",
) -> Any:
    """The model of ours that computes what the foreign one does, in eval mode.

    Args:
        checkpoint: a state dict, bare or as a training framework wraps it.
        config: our configuration, or the foreign constructor arguments.
        origin: the code base, a key of ``ORIGINS``.
        averaged: take the running average of the weights that the foreign training kept, where
            it kept one, instead of the weights themselves.
        source: where both come from, for error messages.

    Raises:
        ConfigError: if the arguments have no counterpart in our terms, or there is no average.
        CheckpointError: naming a tensor that is missing, unknown or of another shape.
    """
    adapter = get_origin(origin)
    ours = adapter.read_config(config, source=source) if isinstance(config, Mapping) else config
    names = adapter.state_dict_map(ours)  # which refuses what their code has not
    model = build_model(ours)
    weights = unwrap(checkpoint, source=source)
    weights = adapter.pick_weights(weights, ours, averaged=averaged, source=source)
    model.load_state_dict(names.to_ours(weights, model.state_dict(), source=source), strict=True)
    return model.eval()


__all__ = ["ORIGINS", "Origin", "StateDictMap", "convert", "get_origin", "unwrap"]
