"""Tokenizers: pictures as few codes, and back. Each is trained first and frozen in a decoder."""

from slot_decoders.tokenizers.autoencoder import AutoencoderKL, AutoencoderTiny
from slot_decoders.tokenizers.dvae import DVAE
from slot_decoders.tokenizers.vqvae import VQVAE

__all__ = ["DVAE", "VQVAE", "AutoencoderKL", "AutoencoderTiny"]
