"""Decoders that turn slots back into pictures and video; models are in slot_decoders.models."""

from slot_decoders.spatial_broadcast import SpatialBroadcastDecoder

__all__ = ["SpatialBroadcastDecoder"]
