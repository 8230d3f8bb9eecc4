"""The VQ-VAE of latent diffusion (Rombach et al. 2022, arXiv 2112.10752, section 3.1 and D.1).

A convolutional network compresses a picture to a small map of latents, each is replaced by the
nearest of a codebook's vectors (van den Oord et al. 2017, arXiv 1711.00937), and a second network
paints the picture again. The network is diffusers' ``VQModel``; here it is trained, as
SlotDiffusion (Wu et al. 2023, arXiv 2305.11281, A.3) does:

    loss = |frames - reconstruction| + quantisation + perceptual_weight * LPIPS

with the gradient going straight through the choice of a code. Two things to know. As in the
code of taming transformers, the factor 0.25 stands before the term that moves the codebook, not
the one that commits the latents to it. And there is no discriminator, as in SlotDiffusion.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.func import functional_call

from slot_core import ConfigError, DecoderOutput, Generators, LossOutput
from slot_core.compiling import compile_methods
from slot_core.recomputing import recompute_methods
from slot_decoders.diffusers_extra import import_diffusers
from slot_decoders.tokenizers.codebook import codebook_use
from slot_decoders.tokenizers.inputs import check_frames, check_latents
from slot_decoders.tokenizers.perceptual import perceptual_distances

Frames = Float[Tensor, "batch 3 height width"]
Latents = Float[Tensor, "batch channels latent_height latent_width"]
Tokens = Int[Tensor, "batch latent_height latent_width"]
Reconstruction = Literal["l1", "mse"]


class VQVAE(nn.Module):
    """Compresses frames to latents, quantises them, and paints frames from them.

    Args:
        channels: of the convolutions at each resolution; each but the last halves the map.
        layers_per_block: residual blocks at each resolution.
        latent_channels: of the map of latents, which is the width of a code.
        vocab_size: size of the codebook.
        reconstruction: "l1", or "mse", which SlotDiffusion takes where there is no perceptual
            term.
        perceptual_weight: of LPIPS; 0 leaves it out, and then its weights are not needed.
        num_groups: of the group norms; divides all ``channels``.

    Raises:
        InputError: if diffusers is not installed.
        ConfigError: if ``num_groups`` does not divide the channels, or ``reconstruction`` is
            another word.
    """

    quantizes = True

    def __init__(
        self,
        *,
        channels: Sequence[int] = (64, 128, 256),
        layers_per_block: int = 2,
        latent_channels: int = 3,
        vocab_size: int = 4096,
        reconstruction: Reconstruction = "l1",
        perceptual_weight: float = 1.0,
        num_groups: int = 32,
    ) -> None:
        super().__init__()
        if any(width % num_groups for width in channels):
            raise ConfigError(
                f"the channels {', '.join(map(str, channels))} of a VQ-VAE are not all multiples "
                f"of num_groups, {num_groups}"
            )
        if reconstruction not in get_args(Reconstruction):
            raise ConfigError(f"reconstruction is '{reconstruction}', expected 'l1' or 'mse'")
        self.latent_channels = latent_channels
        self.stride = 2 ** (len(channels) - 1)
        self.vocab_size = vocab_size
        self.reconstruction = reconstruction
        self.perceptual_weight = perceptual_weight
        self.network = import_diffusers("a VQ-VAE").VQModel(
            in_channels=3,
            out_channels=3,
            down_block_types=("DownEncoderBlock2D",) * len(channels),
            up_block_types=("UpDecoderBlock2D",) * len(channels),
            block_out_channels=tuple(channels),
            layers_per_block=layers_per_block,
            latent_channels=latent_channels,
            num_vq_embeddings=vocab_size,
            norm_num_groups=num_groups,
            scaling_factor=1.0,
        )

    def compile(self, *args: Any, **options: Any) -> None:
        """Compile both networks; ``options`` are those of ``torch.compile``."""
        for network in (self.network.encoder, self.network.decoder):
            compile_methods(network, "forward", **options)

    def enable_gradient_checkpointing(self) -> None:
        """Recompute both networks, and that of the perceptual loss, some pictures after the other;
        see slot_core.recomputing."""
        for network in (self.network.encoder, self.network.decoder):
            recompute_methods(network, "forward", batch_axes=1)
        recompute_methods(self, "perceptual_distances", batch_axes=1)

    def forward(
        self,
        frames: Frames,
        progress: float = 1.0,
        generator: Generators | None = None,
    ) -> LossOutput:
        """The training step.

        Args:
            frames: normalised.
            progress: nothing anneals here; unused.
            generator: nothing is random here; unused.

        Returns:
            Beside the parts of the loss, for the log, how the codebook is used in this batch:
            ``perplexity``, the share ``codes_in_use``, and the number of ``dead_codes``; and the
            ``latent_spread``, which a diffusion model is to divide latents by (``latent_scale``)
            where it is far from 1.

        Raises:
            InputError: as ``encode`` does, or if LPIPS or its weights are not to be had.
        """
        latents = self._latents(frames)
        quantized, quantization, tokens = self._quantize(latents)
        painted = self.paint(quantized)
        distance = F.l1_loss if self.reconstruction == "l1" else F.mse_loss
        precision = torch.promote_types(painted.dtype, torch.float32)
        reconstruction = distance(painted.to(precision), frames.to(precision))
        total, parts = reconstruction + quantization, {}
        if self.perceptual_weight > 0:
            parts["perceptual"] = self.perceptual_distances(painted, frames).mean()
            total = total + self.perceptual_weight * parts["perceptual"]
        return LossOutput(
            total=total,
            parts={
                "reconstruction": reconstruction,
                "quantization": quantization,
                **parts,
                **self._codebook_use(tokens),
                "latent_spread": latents.detach().float().std(),
            },
            decoded=DecoderOutput(painted[:, None]),
        )

    def perceptual_distances(self, painted: Frames, frames: Frames) -> Float[Tensor, " batch"]:
        """How far each frame as it was painted looks from what it was to be; see perceptual.py."""
        return perceptual_distances(painted, frames)

    def _codebook_use(self, tokens: Tokens) -> dict[str, Float[Tensor, ""]]:
        use = codebook_use(tokens, self.vocab_size)
        return use | {"dead_codes": self.vocab_size * (1 - use["codes_in_use"])}

    def encode(self, frames: Frames) -> Latents:
        """Normalised frames to latents, not quantised: what diffusion models learn to make.

        In the precision of the weights, under mixed precision too: so they are the same whether
        they are made in the training step or were kept from before, and noise is added to what it
        was measured on.

        Raises:
            InputError: if the frames are none, or their sides are no multiples of ``stride``.
        """
        with torch.autocast(frames.device.type, enabled=False):
            return self._latents(frames)

    def _latents(self, frames: Frames) -> Latents:
        check_frames(frames, self.stride, "a VQ-VAE")
        return self.network.encode(frames.to(next(self.parameters()).dtype)).latents

    def quantize(self, latents: Latents) -> Latents:
        """Each latent's nearest code; the gradient goes straight through."""
        return self._quantize(latents)[0]

    def tokens(self, latents: Latents) -> Tokens:
        """The index of each latent's nearest code."""
        return self._quantize(latents)[2]

    def paint(self, quantized: Latents) -> Frames:
        """Latents that are codes already to normalised frames."""
        return self.network.decode(quantized, force_not_quantize=True).sample

    def decode(self, latents: Latents) -> Frames:
        """Latents to normalised frames by way of their nearest codes.

        Raises:
            InputError: if the latents are none.
        """
        check_latents(latents, self.latent_channels)
        return self.paint(self.quantize(latents))

    def reconstruct(self, frames: Frames) -> Frames:
        """Normalised frames as the codes remember them."""
        return self.decode(self.encode(frames))

    def _quantize(self, latents: Latents) -> tuple[Latents, Float[Tensor, ""], Tokens]:
        """In single precision at least: in half, differences of distances get lost."""
        codes = self.network.quantize.embedding.weight
        precision = torch.promote_types(codes.dtype, torch.float32)
        quantized, loss, (_, _, indices) = functional_call(
            self.network.quantize, {"embedding.weight": codes.to(precision)}, latents.to(precision)
        )
        return quantized.to(codes.dtype), loss, indices.view(len(latents), *latents.shape[2:])
