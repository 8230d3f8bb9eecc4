"""Decoders that turn slots back into pictures and video; models are in slot_decoders.models."""

from slot_decoders.spatial_broadcast import SpatialBroadcastDecoder
from slot_decoders.token_transformer import TransformerDecoder
from slot_decoders.tokenizers import DVAE

__all__ = ["DVAE", "SpatialBroadcastDecoder", "TransformerDecoder"]
