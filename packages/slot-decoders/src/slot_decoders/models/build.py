"""Typed configurations to modules. This is where configurations stop: modules take plain values."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from slot_core import (
    ClusteredSlots,
    ConditionedSlots,
    ConfigError,
    GaussianSlots,
    HubModel,
    LearnedSlots,
    RecurrentPredictor,
    ResidualMLPPredictor,
    SlotAttention,
    SlotEncoder,
    SlotFormer,
    TransformerPredictor,
)
from slot_core.backbones import CNN, ResNet, ViT
from slot_decoders.denoiser_unet import DenoiserUNet
from slot_decoders.feature_mlp import FeatureMLPDecoder
from slot_decoders.feature_transformer import FeatureTransformerDecoder
from slot_decoders.latent_diffusion import DiffusionDecoder
from slot_decoders.models.configs import (
    AutoencoderKLConfig,
    AutoencoderTinyConfig,
    BackboneConfig,
    CNNConfig,
    ConditionedSlotsConfig,
    DiffusionConfig,
    DVAEConfig,
    FeatureDecoder,
    FeatureMLPConfig,
    GaussianSlotsConfig,
    InitializerConfig,
    LatentTokenizerConfig,
    LearnedSlotsConfig,
    ModelConfig,
    PredictorConfig,
    PreprocessingConfig,
    ResNetConfig,
    SlotAutoencoderConfig,
    SlotDynamicsConfig,
    SpatialBroadcastConfig,
    TokenFeaturesConfig,
    TokenizerConfig,
    TransformerConfig,
    TransformerPredictorConfig,
    ViTConfig,
    VQVAEConfig,
)
from slot_decoders.models.preprocessing import Preprocessing
from slot_decoders.models.relation_readout_model import RelationReadoutModel
from slot_decoders.models.slot_autoencoder import SlotAutoencoder
from slot_decoders.models.slot_dynamics_model import SlotDynamicsModel
from slot_decoders.models.tokenizer_model import TokenizerModel
from slot_decoders.sampling import NoiseSchedule
from slot_decoders.spatial_broadcast import SpatialBroadcastDecoder
from slot_decoders.token_features import TokenFeatures
from slot_decoders.token_transformer import TransformerDecoder
from slot_decoders.tokenizers import DVAE, VQVAE, AutoencoderKL, AutoencoderTiny

# Configuration -> the model it describes, by the name that config.json gives it.
MODEL_CLASSES: dict[str, type[HubModel]] = {
    kind.__name__: kind
    for kind in (SlotAutoencoder, TokenizerModel, SlotDynamicsModel, RelationReadoutModel)
}


def build_model(config: ModelConfig) -> Any:
    """The freshly initialised model that ``config`` describes; its class follows the config's.

    Raises:
        ConfigError: if its parts do not fit together.
    """
    for kind in MODEL_CLASSES.values():
        if type(config) is kind.config_class:
            return kind.from_config(config)
    raise ConfigError(f"there is no model of a {type(config).__name__}")


def build_encoder(config: SlotAutoencoderConfig) -> SlotEncoder:
    """The encoder of a model."""
    encoder = config.encoder
    feature_dim = encoder.projection_dim or config.slot_dim
    preprocessing = encoder.preprocessing or config.preprocessing
    return SlotEncoder(
        build_backbone(encoder.backbone, preprocessing.image_size),
        build_initializer(encoder.initializer, config.num_slots, config.slot_dim),
        SlotAttention(feature_dim, config.slot_dim, **encoder.corrector.model_dump()),
        projection_dim=feature_dim,
        projection_hidden_dim=encoder.projection_hidden_dim,
        position_embedding=encoder.position_embedding,
        position_scale=encoder.position_scale,
        predictor=build_predictor(encoder.predictor, config.slot_dim),
        first_iterations=encoder.first_iterations,
        slot_noise=encoder.slot_noise,
        inertia=encoder.inertia,
        preprocessing=build_preprocessing(preprocessing),
    )


def build_preprocessing(config: PreprocessingConfig) -> Preprocessing:
    """What a model, or its encoder, does to pictures before it looks at them."""
    return Preprocessing(**config.model_dump())


def build_backbone(config: BackboneConfig, image_size: tuple[int, int]) -> nn.Module:
    """The backbone of an encoder that looks at pictures of this size."""
    if isinstance(config, TokenFeaturesConfig):
        return TokenFeatures(build_tokenizer(config.tokenizer), config.feature_dim, image_size)
    kinds = {CNNConfig: CNN, ResNetConfig: ResNet, ViTConfig: ViT}
    return kinds[type(config)](**config.model_dump(exclude={"type"}))


def build_initializer(config: InitializerConfig, num_slots: int, slot_dim: int) -> nn.Module:
    """The first slots of an encoder."""
    if isinstance(config, LearnedSlotsConfig):
        return LearnedSlots(num_slots, slot_dim, std=config.std)
    if isinstance(config, GaussianSlotsConfig):
        return GaussianSlots(num_slots, slot_dim)
    if isinstance(config, ConditionedSlotsConfig):
        return ConditionedSlots(num_slots, slot_dim, on=config.on, hidden_dim=config.hidden_dim)
    return ClusteredSlots(num_slots, on=config.on)


def build_predictor(config: PredictorConfig | None, slot_dim: int) -> nn.Module | None:
    """What carries an encoder's slots from frame to frame."""
    if config is None:
        return None
    transformer = isinstance(config, TransformerPredictorConfig)
    kind = TransformerPredictor if transformer else ResidualMLPPredictor
    base = kind(slot_dim, **config.model_dump(exclude={"type", "recurrent_dim"}))
    if config.recurrent_dim is None:
        return base
    return RecurrentPredictor(base, slot_dim, config.recurrent_dim)


def build_tokenizer(config: TokenizerConfig | LatentTokenizerConfig) -> Any:
    """A tokenizer, alone or inside a decoder."""
    kinds = {
        DVAEConfig: DVAE,
        VQVAEConfig: VQVAE,
        AutoencoderKLConfig: AutoencoderKL,
        AutoencoderTinyConfig: AutoencoderTiny,
    }
    return kinds[type(config)](**config.model_dump(exclude={"type"}))


def build_dynamics(config: SlotDynamicsConfig) -> SlotFormer:
    """What predicts slots."""
    needed = config.num_slots if config.dynamics.slot_encoding else None
    return SlotFormer(config.slot_dim, num_slots=needed, **config.dynamics.model_dump())


def build_decoder(config: SlotAutoencoderConfig | SlotDynamicsConfig) -> nn.Module:
    """The decoder of a model that has one."""
    decoder, size = config.decoder, config.preprocessing.image_size
    if isinstance(decoder, TransformerConfig):
        tokenizer = build_tokenizer(decoder.tokenizer)
        options = decoder.model_dump(exclude={"type", "tokenizer"})
        return TransformerDecoder(tokenizer, config.slot_dim, size, **options)
    if isinstance(decoder, DiffusionConfig):
        return _build_diffusion(decoder, config.slot_dim, config.preprocessing)
    if isinstance(decoder, FeatureDecoder):
        assert isinstance(config, SlotAutoencoderConfig)
        mixture = isinstance(decoder, FeatureMLPConfig)
        kind = FeatureMLPDecoder if mixture else FeatureTransformerDecoder
        options = decoder.model_dump(exclude={"type"})
        return kind(config.slot_dim, *_maps_of(config), **options)
    assert isinstance(decoder, SpatialBroadcastConfig)
    return SpatialBroadcastDecoder(config.slot_dim, size, **decoder.model_dump(exclude={"type"}))


def _maps_of(config: SlotAutoencoderConfig) -> tuple[int, tuple[int, int]]:
    """Width and size of the maps of the encoder's backbone, by shapes without numbers."""
    encoder = config.encoder
    size = (encoder.preprocessing or config.preprocessing).image_size
    with torch.device("meta"):
        maps = build_backbone(encoder.backbone, size)(torch.empty(1, 3, *size))
    return maps.shape[1], (maps.shape[2], maps.shape[3])


def _build_diffusion(
    config: DiffusionConfig, slot_dim: int, preprocessing: PreprocessingConfig
) -> DiffusionDecoder:
    tokenizer = None if config.tokenizer is None else build_tokenizer(config.tokenizer)
    channels = 3 if tokenizer is None else tokenizer.latent_channels
    colours = list(zip(preprocessing.mean, preprocessing.std, strict=True))
    return DiffusionDecoder(
        DenoiserUNet(channels, slot_dim, **config.denoiser.model_dump()),
        tokenizer,
        preprocessing.image_size,
        schedule=NoiseSchedule(**config.noise.model_dump()),
        pixel_range=(
            min(-mean / std for mean, std in colours),
            max((1 - mean) / std for mean, std in colours),
        ),
        **config.model_dump(include={"target", "latent_scale", "quantize_denoised"}),
    )
