"""Checkpoints of the SlotDiffusion code (Wu et al. 2023, arXiv 2305.11281).

Its systems are one encoder with different decoders, as ours are. The encoder is described in
``slotdiffusion_encoder.py``, what videos add to it in ``slotdiffusion_video.py``, each decoder in
a file of its own. To add a system: enter the class of its constructor arguments in ``ARGUMENTS``
and its decoder's names in ``state_dict_map``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from slot_core import ConfigError
from slot_decoders.models.configs import (
    DiffusionConfig,
    RelationReadoutConfig,
    SlotAutoencoderConfig,
    SlotDynamicsConfig,
    SpatialBroadcastConfig,
    TokenizerConfig,
    TokenizerModelConfig,
    TransformerConfig,
    VQVAEConfig,
)
from slot_decoders.models.state_dicts import slotdiffusion_diffusion as diffusion
from slot_decoders.models.state_dicts import slotdiffusion_dvae as dvae
from slot_decoders.models.state_dicts import slotdiffusion_dynamics as dynamics
from slot_decoders.models.state_dicts import slotdiffusion_encoder as encoder
from slot_decoders.models.state_dicts import slotdiffusion_mixture as mixture
from slot_decoders.models.state_dicts import slotdiffusion_readout as readout
from slot_decoders.models.state_dicts import slotdiffusion_tokens as tokens
from slot_decoders.models.state_dicts import slotdiffusion_video as video
from slot_decoders.models.state_dicts import slotdiffusion_vqvae as vqvae
from slot_decoders.models.state_dicts.mapping import StateDictMap

# Class of their model -> its constructor arguments.
ARGUMENTS = {
    "SA": mixture.SAArguments,
    "SAVi": mixture.SAViArguments,
    "PhysionReadout": readout.PhysionReadoutArguments,
    "dVAE": dvae.DVAEArguments,
    "SLATE": tokens.SLATEArguments,
    "STEVE": tokens.STEVEArguments,
    "SADiffusion": diffusion.SADiffusionArguments,
    "SAViDiffusion": diffusion.SAViDiffusionArguments,
    "LDMSlotFormer": dynamics.LDMSlotFormerArguments,
    "VQVAE": vqvae.VQVAEModelArguments,
}


def read_config(description: Mapping[str, Any], *, source: str) -> Any:
    """Our configuration of the model that their constructor arguments describe.

    Args:
        description: the arguments under their original names; or ``cls``, the class, beside
            ``args``, the arguments, in which case other keys are notes and not read.
        source: the file they come from.

    Raises:
        ConfigError: naming a class we have no counterpart of, or a key that is unknown, missing
            or has a value that cannot be used.
    """
    name, arguments = "SA", description
    if "args" in description:
        name = str(description.get("cls", name)).rpartition(".")[-1]
        arguments = description["args"]
    if name not in ARGUMENTS:
        raise ConfigError(
            f"{source}: key 'cls' names the class '{name}', expected {', '.join(ARGUMENTS)}"
        )
    if not isinstance(arguments, Mapping):
        raise ConfigError(f"{source}: key 'args' holds no constructor arguments by name")
    return ARGUMENTS[name].parse(arguments, source=source).config()


def state_dict_map(config: Any) -> StateDictMap:
    """How the weights of their model of this configuration correspond to ours.

    Raises:
        ConfigError: if their code has no such model.
    """
    if isinstance(config, TokenizerModelConfig):
        return tokenizer_map(config.tokenizer)
    if isinstance(config, RelationReadoutConfig):
        return readout.readout_map(config)
    if isinstance(config, SlotDynamicsConfig):
        return dynamics.dynamics_map(config)
    assert isinstance(config, SlotAutoencoderConfig)
    names = encoder.encoder_names(config.encoder) | video.predictor_names(config.encoder.predictor)
    batched = frozenset({"encoder.initializer.slots"})
    implied = encoder.encoder_implied(config.encoder, config.preprocessing)
    if isinstance(config.decoder, TransformerConfig):
        names |= tokens.token_names(config.decoder)
        ignored = tokens.token_masks(config.decoder)
        ignored, batched = encoder.IGNORED | ignored, batched | tokens.BATCHED
        return StateDictMap(names, ignored, batched, implied=implied)
    if isinstance(config.decoder, DiffusionConfig):
        names |= diffusion.diffusion_names(config.decoder)
        ignored, linear = encoder.IGNORED | diffusion.IGNORED, diffusion.diffusion_pointwise()
        implied |= diffusion.diffusion_implied(config.decoder)
        return StateDictMap(names, ignored, batched, linear, implied)
    if not isinstance(config.decoder, SpatialBroadcastConfig):
        raise ConfigError(f"their code has no decoder of the type '{config.decoder.type}'")
    names |= mixture.mixture_names(config.decoder)
    implied |= mixture.mixture_implied(config.decoder)
    return StateDictMap(names, encoder.IGNORED | mixture.IGNORED, batched, implied=implied)


def tokenizer_map(config: TokenizerConfig) -> StateDictMap:
    """How the weights of their tokenizer correspond to those of our model of it."""
    if not isinstance(config, VQVAEConfig):
        return StateDictMap(names=dvae.dvae_names("tokenizer.", ""))
    ours = "tokenizer.network."
    return StateDictMap(
        names=vqvae.vqvae_names(config, ours, ""), pointwise=vqvae.pointwise_names(ours)
    )


def pick_weights(
    weights: Mapping[str, Tensor], config: Any, *, averaged: bool, source: str
) -> dict[str, Tensor]:
    """The tensors of the model itself, or of its average, among those of a checkpoint.

    Raises:
        ConfigError: if the average is asked of a checkpoint that has none.
        CheckpointError: if the average is one of other weights.
    """
    if isinstance(config, TokenizerModelConfig):
        weights = {n: v for n, v in weights.items() if not n.startswith(vqvae.PERCEPTUAL_LOSS)}
    return diffusion.pick_weights(weights, averaged=averaged, source=source)
