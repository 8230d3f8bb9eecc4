"""The discrete VAE that turns patches of 4x4 pixels into tokens (Ramesh et al. 2021,
arXiv 2102.12092), in the small form of SLATE (Singh et al. 2021, arXiv 2110.11405, section 3.1).

The encoder gives every patch logits over the vocabulary. While training, the decoder paints a
draw from them that the Gumbel softmax makes differentiable, and its temperature falls with the
training's progress. Afterwards a patch's token is the most likely one.

As in SlotDiffusion's code, the loss is the mean squared error (SLATE sums it over a picture) and
there is no prior on the tokens. One departure in the order of operations, none in the result: the
decoder's first layer, a 1x1 convolution of one-hot vectors, looks its columns up.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from slot_core import ConfigError, Generators, InputError, LossOutput
from slot_core.compiling import compile_methods
from slot_core.recomputing import recompute_methods
from slot_decoders.gumbel import gumbel_noise, gumbel_softmax
from slot_decoders.tokenizers.codebook import codebook_use
from slot_decoders.tokenizers.inputs import check_frames


class DVAE(nn.Module):
    """Pictures to tokens and back.

    Args:
        vocab_size: number of different tokens.
        hidden_dim: channels of all hidden layers.
        in_channels: of the pictures.
        start_temperature: of the Gumbel softmax at the beginning of the training.
        end_temperature: at the end of the annealing and from then on.
        anneal_fraction: the share of the training in which the temperature falls, as a cosine.
        hard: train on one-hot draws, with the gradients of the soft ones.
        logit_gain: how many times as large as Xavier's the weights of the logits begin. Above 1
            different patches draw different tokens from the first step on, against the noise;
            a short training then uses more of the vocabulary.
        normed: False has biases instead of normalisation in the hidden layers, as STEVE's code.

    Raises:
        ConfigError: if a temperature is not positive, or ``anneal_fraction`` not from 0 to 1.
    """

    stride = 4  # pixels of a patch's side

    def __init__(
        self,
        *,
        vocab_size: int = 4096,
        hidden_dim: int = 64,
        in_channels: int = 3,
        start_temperature: float = 1.0,
        end_temperature: float = 0.1,
        anneal_fraction: float = 0.15,
        hard: bool = False,
        logit_gain: float = 1.0,
        normed: bool = True,
    ) -> None:
        super().__init__()
        for name, value in (("start", start_temperature), ("end", end_temperature)):
            if not value > 0:
                raise ConfigError(f"{name}_temperature is {value}, expected a positive number")
        if not 0 <= anneal_fraction <= 1:
            raise ConfigError(f"anneal_fraction is {anneal_fraction}, expected 0 to 1")
        self.in_channels = in_channels
        self.vocab_size = vocab_size
        self.start_temperature = start_temperature
        self.end_temperature = end_temperature
        self.anneal_fraction = anneal_fraction
        self.hard = hard
        width = hidden_dim
        self.encoder = nn.Sequential(
            ConvBlock(in_channels, width, self.stride, stride=self.stride, normed=normed),
            *(ConvBlock(width, width, 1, normed=normed) for _ in range(6)),
            _output(width, vocab_size, logit_gain),
        )
        self.decoder = nn.Sequential(
            ConvBlock(vocab_size, width, 1, normed=normed),
            *_doubling(width, normed=normed),
            *_doubling(width, normed=normed),
            _output(width, in_channels),
        )

    def compile(self, *args: Any, **options: Any) -> None:
        """Compile what lies before and behind the draw of codes.

        ``options`` are those of ``torch.compile``.
        """
        compile_methods(self, "logits", "decode", "decode_mixture", **options)

    def enable_gradient_checkpointing(self) -> None:
        """Recompute all but the noise, some pictures after the other; see slot_core.recomputing.

        So of what has a number for each token of the vocabulary, the largest tensors here, there is
        but the noise at once.
        """
        recompute_methods(self, "repaint", batch_axes=1)

    def forward(
        self,
        frames: Float[Tensor, "batch channels height width"],
        progress: float = 1.0,
        generator: Generators | None = None,
    ) -> LossOutput:
        """The training step: the mean squared error of painting ``frames`` from a soft draw.

        Args:
            frames: normalised.
            progress: share of the training that is done, which sets the temperature.
            generator: draws the noise.

        Returns:
            Beside the part ``reconstruction``, which is the loss, for the log: ``temperature``,
            and of the batch's tokens the ``perplexity`` and the share ``codes_in_use``.

        Raises:
            InputError: as ``logits`` does.
        """
        check_frames(frames, self.stride, "a dVAE", self.in_channels)
        temperature = self.temperature(progress)
        painted, tokens = self.repaint(frames, self._noise(frames, generator), temperature)
        precision = torch.promote_types(self._dtype(), torch.float32)
        loss = F.mse_loss(painted.to(precision), frames.to(precision))
        use = codebook_use(tokens, self.vocab_size)
        parts = {"reconstruction": loss, "temperature": loss.new_full((), temperature), **use}
        return LossOutput(total=loss, parts=parts)

    def repaint(
        self,
        frames: Float[Tensor, "batch channels height width"],
        noise: Float[Tensor, "batch vocab rows columns"],
        temperature: float,
    ) -> tuple[Float[Tensor, "batch channels height width"], Int[Tensor, "batch rows columns"]]:
        """The frames that a soft draw with this noise gives, and the most likely tokens."""
        logits = self.logits(frames)
        tokens = logits.detach().argmax(dim=1)
        drawn = gumbel_softmax(logits, noise, temperature, hard=self.hard)
        del logits, noise  # as large as ``drawn``, and not needed while it is painted
        return self.decode_mixture(drawn), tokens

    def temperature(self, progress: float) -> float:
        """Of the Gumbel softmax when this share of the training is done."""
        share = min(progress / self.anneal_fraction, 1.0) if self.anneal_fraction else 1.0
        fallen = (1 - math.cos(math.pi * share)) / 2
        return self.start_temperature + (self.end_temperature - self.start_temperature) * fallen

    def logits(
        self, frames: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch vocab rows columns"]:
        """Of every patch over the vocabulary, in single precision at least.

        Raises:
            InputError: if the frames are none, or their sides are no multiples of ``stride``.
        """
        check_frames(frames, self.stride, "a dVAE", self.in_channels)
        logits = self.encoder(frames.to(self._dtype()))
        return logits.to(torch.promote_types(logits.dtype, torch.float32))

    @torch.no_grad()
    def encode(
        self, frames: Float[Tensor, "batch channels height width"]
    ) -> Int[Tensor, "batch rows columns"]:
        """The most likely token of every patch; the same under mixed precision as without.

        Raises:
            InputError: as ``logits`` does.
        """
        with torch.autocast(frames.device.type, enabled=False):
            return self.logits(frames).argmax(dim=1)

    @torch.no_grad()
    def decode(
        self, tokens: Int[Tensor, "batch rows columns"]
    ) -> Float[Tensor, "batch channels height width"]:
        """Normalised frames that the tokens stand for, unclamped.

        Raises:
            InputError: if the tokens are no integers [batch rows columns].
        """
        if tokens.ndim != 3 or tokens.is_floating_point():
            raise InputError(
                f"the tokens are {tokens.dtype} of the shape {list(tokens.shape)}, expected "
                "integers [batch rows columns]"
            )
        with torch.autocast(tokens.device.type, enabled=False):
            first = self.decoder[0]
            assert isinstance(first, ConvBlock)
            columns = F.embedding(tokens, first.conv.weight.flatten(1).T)
            columns = columns if first.conv.bias is None else columns + first.conv.bias
            return self.decoder[1:](first.activate(columns.permute(0, 3, 1, 2)))

    def decode_mixture(
        self, mixture: Float[Tensor, "batch vocab rows columns"]
    ) -> Float[Tensor, "batch channels height width"]:
        """Frames for weights over the vocabulary in every patch; gradients pass."""
        return self.decoder(mixture.to(self._dtype()))

    @torch.no_grad()
    def reconstruct(
        self, frames: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels height width"]:
        """The frames as their tokens remember them: what is lost before any slot is."""
        return self.decode(self.encode(frames))

    def _noise(
        self, frames: Float[Tensor, "batch channels height width"], generator: Generators | None
    ) -> Float[Tensor, "batch vocab rows columns"]:
        """Gumbel noise for the logits of the frames, which it does not have to wait for."""
        grid = (side // self.stride for side in frames.shape[2:])
        one = frames.new_empty((), dtype=torch.promote_types(self._dtype(), torch.float32))
        return gumbel_noise(one.expand(len(frames), self.vocab_size, *grid), generator)

    def _dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype


class ConvBlock(nn.Module):
    """Convolution without bias, normalisation of a whole picture, ReLU; where it is not ``normed``,
    a convolution with bias, and ReLU."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        normed: bool = True,
    ) -> None:
        super().__init__()
        padding = kernel_size // 2 if stride == 1 else 0
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel_size, stride, padding, bias=not normed
        )
        nn.init.kaiming_uniform_(self.conv.weight, nonlinearity="relu")
        self.norm = nn.GroupNorm(1, out_channels) if normed else nn.Identity()

    def forward(
        self, inputs: Float[Tensor, "batch in_channels height width"]
    ) -> Float[Tensor, "batch out_channels new_height new_width"]:
        return self.activate(self.conv(inputs))

    def activate(
        self, convolved: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels height width"]:
        """What follows the convolution."""
        return F.relu(self.norm(convolved))


def _doubling(width: int, *, normed: bool) -> list[nn.Module]:
    """Layers that double height and width."""
    return [
        ConvBlock(width, width, 3, normed=normed),
        ConvBlock(width, width, 1, normed=normed),
        ConvBlock(width, width, 1, normed=normed),
        ConvBlock(width, 4 * width, 1, normed=normed),
        nn.PixelShuffle(2),
    ]


def _output(in_channels: int, out_channels: int, gain: float = 1.0) -> nn.Conv2d:
    layer = nn.Conv2d(in_channels, out_channels, 1)
    nn.init.xavier_uniform_(layer.weight, gain)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
