"""The denoising network of latent diffusion, told what to paint by slots.

The U-Net of Rombach et al. 2022 (arXiv 2112.10752, appendix E.2.1) as diffusers implements it,
with the settings under which it is the network of SlotDiffusion (Wu et al. 2023,
arXiv 2305.11281, section 3.2): at the lower resolutions and in the middle every residual block is
followed by a transformer block whose queries are the latents and whose keys and values are the
slots. A set of slots has no order, and neither has the result.

diffusers initialises all layers alike. Here the last layer of every residual branch and the output
start at zero, as in the code of both papers: an untrained network predicts zero, and every block
passes its input on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from slot_core import ConfigError
from slot_core.compiling import compile_methods
from slot_decoders.diffusers_extra import import_diffusers

Latents = Float[Tensor, "batch channels height width"]


class DenoiserUNet(nn.Module):
    """Predicts the noise in noisy latents (or the latents, or the velocity) given slots.

    Args:
        latent_channels: of the map that is denoised; 3 for pictures themselves.
        slot_dim: width of the slots.
        channels: at each resolution; each but the last halves the map.
        layers_per_block: residual blocks at each resolution.
        attention_levels: at which of the resolutions, counted from 0, the blocks look at the
            slots; the middle always does.
        head_dim: channels of one attention head; divides the ``channels`` that have attention.
        dropout: in the residual blocks.
        num_groups: of the group norms; divides all ``channels``.

    Raises:
        InputError: if diffusers is not installed.
        ConfigError: if the numbers do not fit together.
    """

    def __init__(
        self,
        latent_channels: int,
        slot_dim: int,
        *,
        channels: Sequence[int] = (128, 256, 384, 512),
        layers_per_block: int = 2,
        attention_levels: Sequence[int] = (1, 2, 3),
        head_dim: int = 32,
        dropout: float = 0.1,
        num_groups: int = 32,
    ) -> None:
        super().__init__()
        _check(channels, attention_levels, head_dim, num_groups)
        self.slot_dim = slot_dim
        self.downsampling = 2 ** (len(channels) - 1)
        levels = [level in attention_levels for level in range(len(channels))]
        self.network = import_diffusers("a denoising U-Net").UNet2DConditionModel(
            in_channels=latent_channels,
            out_channels=latent_channels,
            down_block_types=tuple("CrossAttnDownBlock2D" if a else "DownBlock2D" for a in levels),
            up_block_types=tuple("CrossAttnUpBlock2D" if a else "UpBlock2D" for a in levels[::-1]),
            block_out_channels=tuple(channels),
            layers_per_block=layers_per_block,
            dropout=dropout,
            norm_num_groups=num_groups,
            cross_attention_dim=slot_dim,
            # The name misleads, in diffusers too: it is the number of heads.
            attention_head_dim=tuple(max(1, width // head_dim) for width in channels),
        )
        self._start_at_zero()

    def compile(self, *args: Any, **options: Any) -> None:
        """Compile the network; ``options`` are those of ``torch.compile``."""
        compile_methods(self.network, "forward", **options)

    def enable_gradient_checkpointing(self) -> None:
        """Recompute each residual and each transformer block, as diffusers does it."""
        self.network.enable_gradient_checkpointing()

    def forward(
        self,
        latents: Latents,
        times: Float[Tensor, " batch"],
        slots: Float[Tensor, "batch slots dim"],
    ) -> Latents:
        """The prediction for noisy latents.

        Args:
            latents: whose sides are multiples of ``downsampling``.
            times: steps of noise added, from 0; fractions are allowed.
            slots: of the frame to paint.
        """
        return self.network(latents, times, encoder_hidden_states=slots).sample

    @torch.no_grad()
    def _start_at_zero(self) -> None:
        for name, parameter in self.network.named_parameters():
            if ".conv2." in name or ".proj_out." in name or name.startswith("conv_out."):
                parameter.zero_()


def _check(
    channels: Sequence[int], attention_levels: Sequence[int], head_dim: int, num_groups: int
) -> None:
    stated = ", ".join(map(str, channels))
    if any(width % num_groups for width in channels):
        raise ConfigError(
            f"the channels {stated} of a U-Net are not all multiples of num_groups, {num_groups}"
        )
    for level in attention_levels:
        if not 0 <= level < len(channels):
            raise ConfigError(
                f"attention_levels names the level {level} of a U-Net, which has the levels 0 to "
                f"{len(channels) - 1}"
            )
    for level in {*attention_levels, len(channels) - 1}:  # the middle is as wide as the last
        if channels[level] % head_dim:
            raise ConfigError(
                f"level {level} of a U-Net has {channels[level]} channels, expected a multiple of "
                f"head_dim, {head_dim}"
            )
