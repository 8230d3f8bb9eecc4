"""Pre-trained autoencoders of latent diffusion in the VQ-VAE's place.

``AutoencoderKL`` is the variational one of Stable Diffusion (Rombach et al. 2022, arXiv
2112.10752, appendix G): its encoder tells a normal distribution of latents for every picture, of
which we take the mean, or draw. ``AutoencoderTiny`` is a small network that was taught the same
latents (TAESD). Neither has codes. The networks are those of diffusers, whose words for their
sizes are in ``words``; pixels are in [-1, 1].

Latents come out as diffusion models see them, shifted and scaled by the numbers that were
measured when the autoencoder was trained: (z - shift_factor) * scaling_factor. They are not
trained here; ``models/pretrained_autoencoder.py`` loads their weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from slot_core import ConfigError
from slot_core.compiling import compile_methods
from slot_core.noise import Generators, standard_normal
from slot_decoders.diffusers_extra import import_diffusers
from slot_decoders.tokenizers.inputs import check_frames, check_latents

Frames = Float[Tensor, "batch 3 height width"]
Latents = Float[Tensor, "batch channels latent_height latent_width"]
Posterior = Literal["mode", "sample"]


class _Autoencoder(nn.Module):
    """What both have in common."""

    quantizes = False
    deterministic = True  # whether a picture always has the same latents
    stride: int  # pixels along a side of the picture for one latent
    kind: ClassVar[str]  # its class in diffusers
    words: ClassVar[dict[str, str]]  # our word -> that of diffusers' configuration

    def __init__(self, **sizes: Any) -> None:
        super().__init__()
        self.latent_channels = int(sizes["latent_channels"])
        self.scaling_factor = float(sizes["scaling_factor"])
        self.shift_factor = float(sizes["shift_factor"])
        self.network: Any = self._build(
            **{self.words[name]: value for name, value in sizes.items()}
        )

    def _build(self, **settings: Any) -> Any:
        kind = getattr(import_diffusers(f"an {self.kind}"), self.kind)
        return kind(in_channels=3, out_channels=3, **settings)

    def compile(self, *args: Any, **options: Any) -> None:
        """Compile both networks; ``options`` are those of ``torch.compile``."""
        for network in (self.network.encoder, self.network.decoder):
            compile_methods(network, "forward", **options)

    def encode(self, frames: Frames, generator: Generators | None = None) -> Latents:
        """Frames in [-1, 1] to latents, shifted and scaled; ``generator`` draws them where they
        are drawn.

        In the precision of the weights, under mixed precision too, as ``VQVAE.encode``.

        Raises:
            InputError: if the frames are none, or their sides are no multiples of ``stride``.
        """
        check_frames(frames, self.stride, f"an {self.kind}")
        with torch.autocast(frames.device.type, enabled=False):
            latents = self._latents(frames.to(next(self.parameters()).dtype), generator)
            return (latents - self.shift_factor) * self.scaling_factor

    def decode(self, latents: Latents) -> Frames:
        """Shifted and scaled latents to frames in [-1, 1], unclamped.

        Raises:
            InputError: if the latents are none.
        """
        check_latents(latents, self.latent_channels)
        return self.network.decode(latents / self.scaling_factor + self.shift_factor).sample

    def reconstruct(self, frames: Frames) -> Frames:
        """Frames as their latents remember them."""
        return self.decode(self.encode(frames))

    def _latents(self, frames: Frames, generator: Generators | None) -> Latents:
        raise NotImplementedError


class AutoencoderKL(_Autoencoder):
    """The variational autoencoder of Stable Diffusion; the usual values are its own.

    Args:
        channels: of the convolutions at each resolution; each but the last halves the map.
        layers_per_block: residual blocks at each resolution.
        latent_channels: of the map of latents.
        num_groups: of the group norms; divides all ``channels``.
        pointwise: convolutions of one pixel around the latents, which later ones leave out.
        scaling_factor: one over the spread of the latents.
        shift_factor: their mean.
        posterior: "mode" for the mean of the distribution that the encoder tells, "sample" to
            draw from it, anew at every call, from the generator that ``encode`` is given.

    Raises:
        InputError: if diffusers is not installed.
        ConfigError: if ``num_groups`` does not divide the channels, or ``posterior`` is another
            word.
    """

    kind = "AutoencoderKL"
    words: ClassVar = {
        "channels": "block_out_channels",
        "layers_per_block": "layers_per_block",
        "latent_channels": "latent_channels",
        "num_groups": "norm_num_groups",
        "pointwise": "use_quant_conv",
        "scaling_factor": "scaling_factor",
        "shift_factor": "shift_factor",
    }

    def __init__(
        self,
        *,
        channels: Sequence[int] = (128, 256, 512, 512),
        layers_per_block: int = 2,
        latent_channels: int = 4,
        num_groups: int = 32,
        pointwise: bool = True,
        scaling_factor: float = 0.18215,
        shift_factor: float = 0.0,
        posterior: Posterior = "mode",
    ) -> None:
        if any(width % num_groups for width in channels):
            raise ConfigError(
                f"the channels {', '.join(map(str, channels))} of an AutoencoderKL are not all "
                f"multiples of num_groups, {num_groups}"
            )
        if posterior not in get_args(Posterior):
            raise ConfigError(f"posterior is '{posterior}', expected 'mode' or 'sample'")
        super().__init__(
            channels=tuple(channels),
            layers_per_block=layers_per_block,
            latent_channels=latent_channels,
            num_groups=num_groups,
            pointwise=pointwise,
            scaling_factor=scaling_factor,
            shift_factor=shift_factor,
        )
        self.stride = 2 ** (len(channels) - 1)
        self.posterior = posterior
        self.deterministic = posterior == "mode"

    def _build(self, **settings: Any) -> Any:
        count = len(settings["block_out_channels"])
        return super()._build(
            down_block_types=("DownEncoderBlock2D",) * count,
            up_block_types=("UpDecoderBlock2D",) * count,
            use_post_quant_conv=settings["use_quant_conv"],
            **settings,
        )

    def _latents(self, frames: Frames, generator: Generators | None) -> Latents:
        told = self.network.encode(frames).latent_dist
        if self.posterior == "mode":
            return told.mode()
        return told.mean + told.std * standard_normal(told.mean, generator)


class AutoencoderTiny(_Autoencoder):
    """The small autoencoder that makes and takes Stable Diffusion's latents (TAESD).

    Args:
        channels: of all convolutions; there is one number for each ``*_blocks``.
        encoder_blocks: residual blocks of the encoder at each resolution; each but the first
            halves the map.
        decoder_blocks: residual blocks of the decoder, in its own order.
        latent_channels: of the map of latents.
        scaling_factor: one over the spread of the latents; its latents are scaled already.
        shift_factor: their mean.

    Raises:
        InputError: if diffusers is not installed.
        ConfigError: if encoder and decoder are not of as many resolutions.
    """

    kind = "AutoencoderTiny"
    words: ClassVar = {
        "channels": "encoder_block_out_channels",
        "encoder_blocks": "num_encoder_blocks",
        "decoder_blocks": "num_decoder_blocks",
        "latent_channels": "latent_channels",
        "scaling_factor": "scaling_factor",
        "shift_factor": "shift_factor",
    }

    def __init__(
        self,
        *,
        channels: int = 64,
        encoder_blocks: Sequence[int] = (1, 3, 3, 3),
        decoder_blocks: Sequence[int] = (3, 3, 3, 1),
        latent_channels: int = 4,
        scaling_factor: float = 1.0,
        shift_factor: float = 0.0,
    ) -> None:
        if len(encoder_blocks) != len(decoder_blocks):
            raise ConfigError(
                f"an AutoencoderTiny has {len(encoder_blocks)} encoder_blocks and "
                f"{len(decoder_blocks)} decoder_blocks, expected as many of each"
            )
        super().__init__(
            channels=(channels,) * len(encoder_blocks),
            encoder_blocks=tuple(encoder_blocks),
            decoder_blocks=tuple(decoder_blocks),
            latent_channels=latent_channels,
            scaling_factor=scaling_factor,
            shift_factor=shift_factor,
        )
        self.stride = 2 ** (len(encoder_blocks) - 1)

    def _build(self, **settings: Any) -> Any:
        widths = settings["encoder_block_out_channels"]
        return super()._build(decoder_block_out_channels=widths, **settings)

    def _latents(self, frames: Frames, generator: Generators | None) -> Latents:
        return self.network.encode(frames).latents
