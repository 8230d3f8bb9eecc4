"""Models: an encoder and a decoder joined, built from typed configurations, and loaded."""

from slot_decoders.models import presets
from slot_decoders.models.build import build_model
from slot_decoders.models.configs import (
    ModelConfig,
    SlotAutoencoderConfig,
    TokenizerModelConfig,
)
from slot_decoders.models.load import load_model, start_from, start_tokenizer
from slot_decoders.models.slot_autoencoder import Chunk, SlotAutoencoder
from slot_decoders.models.tokenizer_model import TokenizerModel

__all__ = [
    "Chunk",
    "ModelConfig",
    "SlotAutoencoder",
    "SlotAutoencoderConfig",
    "TokenizerModel",
    "TokenizerModelConfig",
    "build_model",
    "load_model",
    "presets",
    "start_from",
    "start_tokenizer",
]
