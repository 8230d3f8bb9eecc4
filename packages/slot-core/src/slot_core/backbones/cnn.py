"""The plain convolutional backbone of Slot Attention and SAVi (Locatello et al. 2020, E.1).

Convolutions of one kernel size with a ReLU between them and none after the last. Strides are
stated layer by layer; SlotDiffusion's rule (the first convolution halves pictures larger than
64 pixels) is the preset's business, not the module's.
"""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from slot_core.errors import InputError


class CNN(nn.Module):
    """A stack of padded convolutions.

    Args:
        channels: output channels of each layer; the last is ``feature_dim``.
        strides: of each layer; fewer than layers are filled up with 1.
        kernel_size: of every layer; odd, so that a stride of 1 keeps the size.

    Raises:
        InputError: if there are more strides than layers, or ``kernel_size`` is even.
    """

    def __init__(
        self,
        channels: Sequence[int] = (64, 64, 64, 64),
        *,
        strides: Sequence[int] = (),
        kernel_size: int = 5,
    ) -> None:
        super().__init__()
        if len(strides) > len(channels):
            raise InputError(f"there are {len(strides)} strides for {len(channels)} layers")
        if kernel_size % 2 == 0:
            raise InputError(f"kernel_size is {kernel_size}; expected an odd number")
        strides = [*strides, *[1] * (len(channels) - len(strides))]
        layers: list[nn.Module] = []
        for before, after, stride in zip([3, *channels[:-1]], channels, strides, strict=True):
            layers += [nn.Conv2d(before, after, kernel_size, stride, kernel_size // 2), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])
        self.feature_dim = channels[-1]

    def forward(
        self, frames: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch channels map_height map_width"]:
        """The feature map of normalised frames."""
        return self.layers(frames)
