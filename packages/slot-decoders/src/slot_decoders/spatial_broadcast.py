"""The spatial-broadcast mixture decoder (Watters et al. 2019, arXiv 1901.07017).

As in Slot Attention (Locatello et al. 2020, section 3.1 and E.3) and SAVi: each slot is repeated
over a small grid, gets a position embedding, and is decoded on its own to colours and one mask
logit per pixel. A softmax over the slots turns the logits into masks, and the picture is the sum
of the slots' pictures weighted by them. The loss is the mean squared error.

One departure in the order of operations, none in the result. The first convolution is linear in
its input, which is a slot, the same at every place of the grid, plus the embedding of the place,
the same for every slot. So the two are convolved apart: the embedding once instead of once a
slot, and a slot by one product per tap of the kernel instead of one per tap and place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from slot_core import ConfigError, DecoderOutput, Generators, LossOutput, PositionEmbedding
from slot_core.compiling import compile_methods
from slot_core.protocols import MaskSource
from slot_core.recomputing import recompute_methods
from slot_core.slot_input import check_slots, check_target


class SpatialBroadcastDecoder(nn.Module):
    """Decodes each slot to a picture and a mask, and mixes them.

    Transposed convolutions double the grid until it has the size of the picture; further ones
    keep it, as in SlotDiffusion's code. A last layer makes the colours and the mask logit.

    Args:
        slot_dim: width of the slots.
        image_size: height and width of the decoded frames.
        channels: output channels of the transposed convolutions.
        broadcast_size: height and width of the grid that a slot is repeated on.
        kernel_size: of the transposed convolutions; odd.
        output_stride: 1 for a last layer of 1x1 convolution (the papers); 2 or more lets the
            last layer enlarge the grid by that factor with a transposed convolution, which
            saves the costliest hidden layer.
        out_channels: of the frames.

    Raises:
        ConfigError: if the layers do not arrive at ``image_size``, there are none, or the kernel is
            even.
    """

    default_mask_source: MaskSource = "decoder"

    def __init__(
        self,
        slot_dim: int,
        image_size: tuple[int, int],
        *,
        channels: Sequence[int] = (64, 64, 64, 64),
        broadcast_size: tuple[int, int] = (8, 8),
        kernel_size: int = 5,
        output_stride: int = 1,
        out_channels: int = 3,
    ) -> None:
        super().__init__()
        if not channels:
            raise ConfigError("channels is empty, expected at least one layer")
        if kernel_size % 2 == 0:
            raise ConfigError(f"kernel_size is {kernel_size}, expected an odd number")
        self.slot_dim = slot_dim
        self.image_size = image_size
        self.out_channels = out_channels
        self.broadcast_size = broadcast_size
        self.position_embedding = PositionEmbedding(slot_dim)
        layers: list[nn.Module] = []
        height, width = broadcast_size
        padding = kernel_size // 2
        for before, after in zip([slot_dim, *channels[:-1]], channels, strict=True):
            stride = 2 if height * output_stride < image_size[0] else 1
            height, width = height * stride, width * stride
            layers += [
                nn.ConvTranspose2d(before, after, kernel_size, stride, padding, stride - 1),
                nn.ReLU(),
            ]
        if (height * output_stride, width * output_stride) != tuple(image_size):
            raise ConfigError(
                f"a grid of {broadcast_size[0]}x{broadcast_size[1]} becomes "
                f"{height * output_stride}x{width * output_stride} after {len(channels)} layers "
                f"and output_stride {output_stride}, expected {image_size[0]}x{image_size[1]}, "
                "which is the image_size; change that, broadcast_size, or the number of channels"
            )
        self.layers = nn.Sequential(*layers)
        self.output = _output_layer(channels[-1], out_channels + 1, output_stride)

    def forward(
        self,
        slots: Float[Tensor, "batch time slots dim"],
        target: Float[Tensor, "batch time channels height width"],
        *,
        generator: Generators | None = None,
    ) -> LossOutput:
        """The mean squared error between the decoded slots and ``target``, and what was decoded.

        Nothing is random, ``generator`` is unused.

        Raises:
            InputError: as ``decode`` does, or if ``target`` is not of the slots' frames and of
                ``image_size``.
        """
        decoded = self.decode(slots)
        check_target(target, slots, self.image_size, channels=self.out_channels)
        precision = torch.promote_types(target.dtype, torch.float32)
        loss = F.mse_loss(decoded.reconstruction.to(precision), target.to(precision))
        return LossOutput(total=loss, parts={"reconstruction": loss}, decoded=decoded)

    def compile(self, *args: Any, **options: Any) -> None:
        """Compile all of ``decode`` but its checks; ``options`` are those of ``torch.compile``."""
        compile_methods(self, "components", "_mixed", **options)

    def enable_gradient_checkpointing(self) -> None:
        """Recompute some slots' pictures after the other; see slot_core.recomputing."""
        recompute_methods(self, "components", batch_axes=3)

    def decode(
        self,
        slots: Float[Tensor, "batch time slots dim"],
        generator: Generators | None = None,
    ) -> DecoderOutput:
        """The slots' frames, masks and mixed frames; nothing is random, ``generator`` is unused.

        Raises:
            InputError: if the slots have another shape or kind of numbers.
        """
        check_slots(slots, self.slot_dim, self.position_embedding.linear.weight)
        return self._mixed(self.components(slots))

    def components(
        self, slots: Float[Tensor, "batch time slots dim"]
    ) -> Float[Tensor, "batch time slots channels_and_mask height width"]:
        """Each slot's own picture, and its mask's logits behind the colours."""
        decoded = self.output(self.layers[1:](self._broadcast(slots.flatten(0, 2))))
        return decoded.unflatten(0, slots.shape[:3])

    def _mixed(
        self, decoded: Float[Tensor, "batch time slots channels_and_mask height width"]
    ) -> DecoderOutput:
        components, logits = decoded[:, :, :, :-1], decoded[:, :, :, -1]
        # In single precision at least, so that the masks of a half-precision model sum to 1.
        masks = logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(dim=2)
        reconstruction = (components * masks.unsqueeze(3).to(components.dtype)).sum(dim=2)
        return DecoderOutput(reconstruction, masks, components)

    def _broadcast(
        self, slots: Float[Tensor, "batch dim"]
    ) -> Float[Tensor, "batch channels height width"]:
        """The first convolution of slots that are repeated over the grid, positions added."""
        layer = self.layers[0]
        assert isinstance(layer, nn.ConvTranspose2d)
        assert not isinstance(layer.padding, str)
        positions = self.position_embedding(
            slots.new_zeros(1, slots.shape[1], 1, 1).expand(-1, -1, *self.broadcast_size)
        )
        placed = layer(positions)
        # Which taps of the kernel reach a place: all of them inside, fewer at the borders.
        taps = layer.weight.shape[2] * layer.weight.shape[3]
        kernels = torch.eye(taps, device=slots.device, dtype=slots.dtype)
        reach = F.conv_transpose2d(
            slots.new_ones(1, 1, *self.broadcast_size),
            kernels.view(1, taps, *layer.weight.shape[2:]),
            stride=layer.stride,
            padding=layer.padding,
            output_padding=layer.output_padding,
        )
        responses = (slots @ layer.weight.flatten(1)).view(-1, taps)
        return (responses @ reach.view(taps, -1)).view(len(slots), *placed.shape[1:]) + placed


def _output_layer(before: int, after: int, stride: int) -> nn.Module:
    if stride == 1:
        return nn.Conv2d(before, after, 1)
    # With a kernel of 2s and stride s every output pixel sees the same number of inputs. An odd
    # s has no symmetric padding: the grid is cut by a pixel more on one side than on the other.
    padding, odd = (stride + 1) // 2, stride % 2
    return nn.ConvTranspose2d(before, after, 2 * stride, stride, padding, output_padding=odd)
