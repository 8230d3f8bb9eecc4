"""Typed configurations to modules. This is where configurations stop: modules take plain values."""

from __future__ import annotations

from torch import nn

from slot_core import ClusteredSlots, GaussianSlots, LearnedSlots, SlotAttention, SlotEncoder
from slot_core.backbones import CNN, ResNet
from slot_decoders.models.configs import (
    BackboneConfig,
    CNNConfig,
    GaussianSlotsConfig,
    InitializerConfig,
    LearnedSlotsConfig,
    SlotAutoencoderConfig,
    SpatialBroadcastConfig,
)
from slot_decoders.models.slot_autoencoder import SlotAutoencoder
from slot_decoders.spatial_broadcast import SpatialBroadcastDecoder


def build_model(config: SlotAutoencoderConfig) -> SlotAutoencoder:
    """The freshly initialised model that ``config`` describes.

    Raises:
        ConfigError: if its parts do not fit together.
    """
    return SlotAutoencoder.from_config(config)


def build_encoder(config: SlotAutoencoderConfig) -> SlotEncoder:
    """The encoder of a model."""
    encoder = config.encoder
    feature_dim = encoder.projection_dim or config.slot_dim
    return SlotEncoder(
        build_backbone(encoder.backbone),
        build_initializer(encoder.initializer, config.num_slots, config.slot_dim),
        SlotAttention(feature_dim, config.slot_dim, **encoder.corrector.model_dump()),
        projection_dim=feature_dim,
    )


def build_backbone(config: BackboneConfig) -> nn.Module:
    """The backbone of an encoder."""
    options = config.model_dump(exclude={"type"})
    return CNN(**options) if isinstance(config, CNNConfig) else ResNet(**options)


def build_initializer(config: InitializerConfig, num_slots: int, slot_dim: int) -> nn.Module:
    """The first slots of an encoder."""
    if isinstance(config, LearnedSlotsConfig):
        return LearnedSlots(num_slots, slot_dim, std=config.std)
    if isinstance(config, GaussianSlotsConfig):
        return GaussianSlots(num_slots, slot_dim)
    return ClusteredSlots(num_slots)


def build_decoder(config: SlotAutoencoderConfig) -> SpatialBroadcastDecoder:
    """The decoder of a model."""
    decoder: SpatialBroadcastConfig = config.decoder
    options = decoder.model_dump(exclude={"type"})
    return SpatialBroadcastDecoder(config.slot_dim, config.preprocessing.image_size, **options)
