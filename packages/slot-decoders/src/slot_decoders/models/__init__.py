"""Models: an encoder and a decoder joined, built from typed configurations, and loaded."""

from slot_decoders.models import presets
from slot_decoders.models.build import build_model
from slot_decoders.models.configs import SlotAutoencoderConfig
from slot_decoders.models.load import load_model
from slot_decoders.models.slot_autoencoder import SlotAutoencoder

__all__ = ["SlotAutoencoder", "SlotAutoencoderConfig", "build_model", "load_model", "presets"]
