"""Decoders that turn slots back into pictures and video; models are in slot_decoders.models."""

from slot_decoders.denoiser_unet import DenoiserUNet
from slot_decoders.feature_mlp import FeatureMLPDecoder
from slot_decoders.feature_transformer import FeatureTransformerDecoder
from slot_decoders.latent_diffusion import DiffusionDecoder
from slot_decoders.sampling import NoiseSchedule
from slot_decoders.spatial_broadcast import SpatialBroadcastDecoder
from slot_decoders.token_features import TokenFeatures
from slot_decoders.token_transformer import TransformerDecoder
from slot_decoders.tokenizers import DVAE, VQVAE, AutoencoderKL, AutoencoderTiny

__all__ = [
    "DVAE",
    "VQVAE",
    "AutoencoderKL",
    "AutoencoderTiny",
    "DenoiserUNet",
    "DiffusionDecoder",
    "FeatureMLPDecoder",
    "FeatureTransformerDecoder",
    "NoiseSchedule",
    "SpatialBroadcastDecoder",
    "TokenFeatures",
    "TransformerDecoder",
]
