"""The diffusion decoder of SlotDiffusion (Wu et al. 2023, arXiv 2305.11281, section 3.2).

A frame is compressed to latents by a frozen tokenizer, noise of a random strength is added, and a
U-Net that sees the frame's slots predicts the noise (Ho et al. 2020, arXiv 2006.11239, equation
14), or the latents themselves, or the velocity (Salimans and Ho 2022, arXiv 2202.00512, appendix
D). The squared error is the loss; the slots get their gradients through cross-attention alone. To
decode slots is to sample: from noise to latents in some steps (``sampling.py``), then through the
tokenizer to pixels.

The latents are taken before quantisation, and quantised on the way back: in the tokenizer's
``decode``, and, as in the code of the paper, whatever is believed to be the clean latents at each
step of the sampling (``quantize_denoised``). Without a tokenizer the pixels are denoised, and
beliefs are kept within the range of pixels.

A video's frames are decoded from one map of noise, so that what stays in the slots stays in the
picture. A scheduler that draws more on the way (``ddpm``) draws the same for all of them, too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from slot_core import ConfigError, DecoderOutput, Generators, InputError, LossOutput
from slot_core.noise import integers, standard_normal
from slot_core.protocols import MaskSource
from slot_core.slot_input import check_codes, check_slots, check_target
from slot_decoders.denoiser_unet import DenoiserUNet
from slot_decoders.sampling import Correction, NoiseSchedule, Target, denoise, make_scheduler

Slots = Float[Tensor, "batch time slots dim"]
Video = Float[Tensor, "batch time channels height width"]
Latents = Float[Tensor, "frames channels height width"]
Noise = Float[Tensor, "batch #time latent_channels latent_height latent_width"]


@dataclass(frozen=True)
class Kept:
    """What sampling leaves as it is.

    Attributes:
        video: normalised.
        places: which of its pixels stay. A latent stays while all of its pixels do.
    """

    video: Video
    places: Bool[Tensor, "batch time height width"]


class DiffusionDecoder(nn.Module):
    """Paints the frames that slots describe, by denoising.

    Args:
        denoiser: predicts ``target`` from noisy latents, times and slots.
        tokenizer: trained pictures-to-latents and back, which is frozen here; see
            slot_core.protocols.Tokenizer. None to denoise the pixels.
        image_size: height and width of the decoded frames.
        target: "epsilon" for the noise, "x0" for the clean latents, "v" for the velocity.
        schedule: how noise is added.
        latent_scale: what latents are divided by before noise is added.
        quantize_denoised: whether sampling quantises the clean latents it believes in at every
            step; None if the tokenizer can.
        pixel_range: lowest and highest value of a pixel, where there is no tokenizer.

    Raises:
        ConfigError: if the latents cannot be halved as often as the denoiser does, ``target`` is
            another word, ``latent_scale`` is not positive, or ``quantize_denoised`` is asked of a
            tokenizer without codes.
    """

    default_mask_source: MaskSource = "encoder"
    makes_masks = False

    def __init__(
        self,
        denoiser: DenoiserUNet,
        tokenizer: Any | None,
        image_size: tuple[int, int],
        *,
        target: Target = "epsilon",
        schedule: NoiseSchedule | None = None,
        latent_scale: float = 1.0,
        quantize_denoised: bool | None = None,
        pixel_range: tuple[float, float] = (-1.0, 1.0),
    ) -> None:
        super().__init__()
        if target not in get_args(Target):
            raise ConfigError(
                f"target is '{target}', expected one of {', '.join(get_args(Target))}"
            )
        if not latent_scale > 0:
            raise ConfigError(f"latent_scale is {latent_scale}, expected a positive number")
        quantizes = bool(tokenizer is not None and tokenizer.quantizes)
        if quantize_denoised and not quantizes:
            raise ConfigError("quantize_denoised is set, but the tokenizer has no codes")
        self.image_size = image_size
        self.latent_shape = _latent_shape(tokenizer, image_size, denoiser.downsampling)
        self.denoiser = denoiser
        self.tokenizer = tokenizer
        self.target: Target = target
        self.schedule = schedule or NoiseSchedule()
        self.latent_scale = latent_scale
        self.quantize_denoised = quantizes if quantize_denoised is None else quantize_denoised
        self.pixel_range = pixel_range
        # Not persistent: it follows from the schedule.
        signal = self.schedule.signal
        self.register_buffer("signal", signal.float(), persistent=False)
        self.register_buffer("spread", (1 - signal**2).sqrt().float(), persistent=False)
        if tokenizer is not None:
            tokenizer.requires_grad_(False)
        self.train()

    signal: Tensor
    spread: Tensor

    def train(self, mode: bool = True) -> DiffusionDecoder:
        """Set training mode, from which the tokenizer stays out."""
        super().train(mode)
        if self.tokenizer is not None:
            self.tokenizer.eval()
        return self

    def compile(self, *args: Any, **options: Any) -> None:
        """Compile the denoiser and the tokenizer, which training and sampling share.

        Noise is drawn between; see slot_core.compiling. ``options`` are those of
        ``torch.compile``.
        """
        self.denoiser.compile(*args, **options)
        if self.tokenizer is not None:
            self.tokenizer.compile(*args, **options)

    def enable_gradient_checkpointing(self) -> None:
        """Recompute the denoiser's blocks; the tokenizer keeps nothing for gradients."""
        self.denoiser.enable_gradient_checkpointing()

    def forward(
        self,
        slots: Slots,
        target: Video,
        codes: Float[Tensor, "batch time _ _ _"] | None = None,
        *,
        generator: Generators | None = None,
    ) -> LossOutput:
        """The squared error of the prediction, at one random strength of noise for each frame.

        Args:
            slots: of a batch of videos.
            target: these videos, normalised.
            codes: what the tokenizer makes of them, where that is known already.
            generator: draws the noise and its strength, and latents that are drawn.

        Raises:
            InputError: if the slots have another shape or kind of numbers, or ``target`` or
                ``codes`` are not of their frames and of ``image_size``.
        """
        self._check_slots(slots)
        check_target(target, slots, self.image_size)
        if codes is not None:
            check_codes(codes, slots, self.latent_shape)
            codes = codes.flatten(0, 1)
        latents = self.encode(target.flatten(0, 1), codes, generator)
        places = torch.empty(len(latents), dtype=torch.long, device=latents.device)
        times = integers(self.schedule.num_steps, places, generator)
        return self.loss(slots, latents, times, standard_normal(latents, generator))

    def loss(
        self, slots: Slots, latents: Latents, times: Int[Tensor, " frames"], noise: Latents
    ) -> LossOutput:
        """The training loss for given noise.

        Args:
            slots: of the videos whose frames are the first axis of the rest.
            latents: clean.
            times: how many steps of noise to add, from 0.
            noise: of variance 1.
        """
        signal, spread = (level[times].view(-1, 1, 1, 1) for level in (self.signal, self.spread))
        noisy = signal * latents + spread * noise
        prediction = self.denoiser(noisy, times.float(), slots.flatten(0, 1))
        wanted = {"epsilon": noise, "x0": latents, "v": signal * noise - spread * latents}
        loss = F.mse_loss(prediction.float(), wanted[self.target].float())
        return LossOutput(total=loss, parts={"denoising": loss})

    @torch.no_grad()
    def encode(
        self,
        frames: Float[Tensor, "frames 3 frame_height frame_width"],
        codes: Latents | None = None,
        generator: Generators | None = None,
    ) -> Latents:
        """Normalised frames to clean latents; ``codes`` are the tokenizer's, where known, and
        ``generator`` is for a tokenizer that draws."""
        latents = frames.to(_dtype(self.denoiser if self.tokenizer is None else self.tokenizer))
        if codes is not None:
            latents = codes
        elif self.tokenizer is not None:
            draws = not getattr(self.tokenizer, "deterministic", True)
            latents = self.tokenizer.encode(latents, *([generator] if draws else []))
        # In this order in memory, as noise like them is drawn in the order of memory.
        return latents.contiguous() / self.latent_scale

    def decode(self, slots: Slots, generator: Generators | None = None) -> DecoderOutput:
        """A sample under the default scheduler."""
        return self.sample(slots, generator=generator)

    @torch.no_grad()
    def sample(
        self,
        slots: Slots,
        *,
        generator: Generators | None = None,
        scheduler: Any = None,
        num_steps: int | None = None,
        noise: Noise | None = None,
        kept: Kept | None = None,
    ) -> DecoderOutput:
        """Frames that the slots describe; others for other noise.

        Args:
            slots: of a batch of videos.
            generator: draws the noise; one for each sample makes its frames independent of the
                rest of the batch.
            scheduler: as for ``sampling.make_scheduler``.
            num_steps: of the scheduler; None for its usual number.
            noise: to begin with, instead of drawing it; ``draw_noise`` makes some.
            kept: what stays as it is, while the rest is painted to go with it.

        Raises:
            InputError: if the slots or the noise have another shape or kind of numbers, there is no
                such scheduler or number of steps, or the generator is none, or generators cannot
                share the batch.
        """
        self._check_slots(slots)
        if not isinstance(generator, torch.Generator | Sequence | None):
            raise InputError(
                f"the generator is a {type(generator).__name__}, expected a torch.Generator, or "
                "one for each sample"
            )
        batch, time = slots.shape[:2]
        if noise is None:
            noise = self.draw_noise(batch, generator)
        self._check_noise(noise, batch, time)
        noise = noise.to(slots.device).expand(batch, time, *self.latent_shape).flatten(0, 1)
        flat = slots.flatten(0, 1)
        solver, usual = make_scheduler(scheduler, self.schedule, self.target)
        correct = self.correction
        if kept is not None:
            correct = self._keeping(kept, correct)
        kind = _dtype(self.denoiser)
        steps = denoise(
            # The steps are in single precision, whatever the network's: they are small.
            lambda noisy, times: self.denoiser(noisy.to(kind), times, flat).to(noisy.dtype),
            noise,
            solver,
            self.schedule,
            self.target,
            num_steps=usual if num_steps is None else num_steps,
            correct=correct,
            generator=_frame_generators(generator, batch, time),
        )
        (latents,) = deque(steps, maxlen=1)
        if kept is not None and correct is not None:
            latents = correct(latents)  # a solver may end a little short of clean latents
        frames = self.paint(latents).unflatten(0, (batch, time))
        if kept is not None:
            # A tokenizer's own network spreads a change of some latents over the whole frame.
            frames = torch.where(kept.places[:, :, None], kept.video, frames)
        return DecoderOutput(frames)

    def draw_noise(
        self, batch: int, generator: Generators | None = None
    ) -> Float[Tensor, "batch 1 latent_channels latent_height latent_width"]:
        """One map of noise for each video, for all of its frames."""
        like = torch.empty(batch, 1, *self.latent_shape, device=self.signal.device)
        return standard_normal(like, generator)

    def paint(self, latents: Latents) -> Float[Tensor, "frames 3 frame_height frame_width"]:
        """Clean latents to normalised frames; quantised on the way where there are codes."""
        latents = latents * self.latent_scale
        if self.tokenizer is None:
            return latents.to(_dtype(self.denoiser))
        return self.tokenizer.decode(latents.to(_dtype(self.tokenizer)))

    @property
    def correction(self) -> Correction | None:
        """What sampling does to the clean latents it believes in; None where nothing."""
        if self.tokenizer is None:
            low, high = (value / self.latent_scale for value in self.pixel_range)
            return lambda latents: latents.clamp(low, high)
        return self._quantize if self.quantize_denoised else None

    def _keeping(self, kept: Kept, correct: Correction | None) -> Correction:
        """Whatever is believed of latents that stay is replaced by what they are.

        As in the inpainting of Lugmayr et al. 2022 (arXiv 2201.09865), but of beliefs instead of
        noisy latents: so any scheduler can do it, and no step adds noise for it.
        """
        clean = self.encode(kept.video.flatten(0, 1))
        goes = (~kept.places).flatten(0, 1)[:, None].float()
        size = clean.shape[-2:]
        stays = F.adaptive_max_pool2d(goes, (size[0], size[1])) == 0
        return lambda latents: torch.where(stays, clean, correct(latents) if correct else latents)

    def _check_noise(self, noise: Tensor, batch: int, time: int) -> None:
        shape = list(noise.shape)
        many = len(shape) == 5 and shape[0] in (1, batch) and shape[1] in (1, time)
        if not many or tuple(shape[2:]) != self.latent_shape:
            raise InputError(
                f"the noise has the shape {shape}, expected {[batch, 1, *self.latent_shape]}, or "
                f"{time} instead of 1 for noise of each frame"
            )

    def _check_slots(self, slots: Tensor) -> None:
        check_slots(slots, self.denoiser.slot_dim, next(self.denoiser.parameters()))

    def _quantize(self, latents: Latents) -> Latents:
        assert self.tokenizer is not None
        scaled = (latents * self.latent_scale).to(_dtype(self.tokenizer))
        return self.tokenizer.quantize(scaled).to(latents.dtype) / self.latent_scale


def _dtype(part: nn.Module) -> torch.dtype:
    return next(part.parameters()).dtype


def _frame_generators(generator: Generators | None, batch: int, time: int) -> list[torch.Generator]:
    """One for each frame of each video, which draw the same for all frames of a video."""
    seeds = integers(2**62, torch.empty(batch, dtype=torch.long), generator).tolist()
    return [torch.Generator().manual_seed(seed) for seed in seeds for _ in range(time)]


def _latent_shape(
    tokenizer: Any | None, image_size: tuple[int, int], halvings: int
) -> tuple[int, int, int]:
    """Channels, height and width of the latents, which the denoiser must be able to halve."""
    channels, factor = (
        (3, 1) if tokenizer is None else (tokenizer.latent_channels, tokenizer.stride)
    )
    if any(side % (factor * halvings) for side in image_size):
        raise ConfigError(
            f"frames of {image_size[0]}x{image_size[1]} cannot be diffused: the tokenizer divides "
            f"a side by {factor} and the U-Net by {halvings}, expected multiples of "
            f"{factor * halvings}"
        )
    return channels, image_size[0] // factor, image_size[1] // factor
