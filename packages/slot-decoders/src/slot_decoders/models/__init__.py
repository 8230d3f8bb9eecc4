"""Models: an encoder and a decoder joined, built from typed configurations, and loaded."""

from slot_decoders.models import presets
from slot_decoders.models.build import build_model
from slot_decoders.models.configs import (
    ModelConfig,
    RelationReadoutConfig,
    SlotAutoencoderConfig,
    SlotDynamicsConfig,
    TokenizerModelConfig,
)
from slot_decoders.models.load import load_model, start_decoder, start_from, start_tokenizer
from slot_decoders.models.relation_readout_model import RelationReadoutModel
from slot_decoders.models.slot_autoencoder import Chunk, SlotAutoencoder
from slot_decoders.models.slot_dynamics_model import SlotDynamicsModel
from slot_decoders.models.tokenizer_model import TokenizerModel

__all__ = [
    "Chunk",
    "ModelConfig",
    "RelationReadoutConfig",
    "RelationReadoutModel",
    "SlotAutoencoder",
    "SlotAutoencoderConfig",
    "SlotDynamicsConfig",
    "SlotDynamicsModel",
    "TokenizerModel",
    "TokenizerModelConfig",
    "build_model",
    "load_model",
    "presets",
    "start_decoder",
    "start_from",
    "start_tokenizer",
]
