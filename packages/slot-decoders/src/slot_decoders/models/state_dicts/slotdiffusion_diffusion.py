"""SlotDiffusion's diffusion decoder in our terms.

Its arguments repeat what others say (the width of the slots, the size of the latents); here that
is checked. The tables of its noise schedule are in every checkpoint and follow from four numbers.
Where it averages its weights (``use_ema``) the checkpoint holds the U-Net twice, the average under
names without dots; ``pick_weights`` leaves one of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import PositiveFloat, PositiveInt, model_validator
from torch import Tensor

from slot_core import CheckpointError, ConfigError, StrictConfig
from slot_decoders.models.configs import (
    DiffusionConfig,
    NoiseConfig,
    Size,
    SlotAutoencoderConfig,
    VQVAEConfig,
)
from slot_decoders.models.state_dicts.mapping import Implied
from slot_decoders.models.state_dicts.slotdiffusion_encoder import EncoderSide
from slot_decoders.models.state_dicts.slotdiffusion_unet import UNetArguments, unet_names
from slot_decoders.models.state_dicts.slotdiffusion_video import VideoSide
from slot_decoders.models.state_dicts.slotdiffusion_vqvae import (
    VQVAEArguments,
    pointwise_names,
    vqvae_names,
)
from slot_decoders.sampling import NoiseSchedule, Target

UNET, AVERAGE = "dm_decoder.model.", "dm_decoder.model_ema."
OUR_TOKENIZER = "decoder.tokenizer.network."
TARGETS: dict[str, Target] = {"eps": "epsilon", "x0": "x0", "v": "v"}
TABLES = (
    "betas",
    "alphas_bar",
    "alphas_bar_prev",
    "sqrt_alphas_bar",
    "sqrt_one_minus_alphas_bar",
    "log_one_minus_alphas_bar",
    "sqrt_recip_alphas_bar",
    "sqrt_recipm1_alphas_bar",
    "posterior_variance",
    "posterior_log_variance_clipped",
    "posterior_mean_coef1",
    "posterior_mean_coef2",
)
IGNORED = {f"dm_decoder.{name}": "it follows from the noise schedule" for name in TABLES}


class FirstStageArguments(VQVAEArguments):
    """``vae_dict``. The path is where the weights were before they were in the checkpoint."""

    vae_type: Literal["VQVAE"]
    vqvae_ckp_path: str = ""


class DiffusionArguments(StrictConfig):
    """``diffusion_dict``. ``cosine_s`` belongs to a schedule that no checkpoint has, and the last
    two are read by nothing that computes a loss or a sample."""

    pred_target: Literal["eps", "x0", "v"]
    z_scale_factor: PositiveFloat = 1.0
    timesteps: PositiveInt
    beta_schedule: Literal["linear"]
    linear_start: PositiveFloat
    linear_end: PositiveFloat
    cosine_s: float = 0.008
    log_every_t: PositiveInt
    logvar_init: float = 0.0


class DiffusionDecoderArguments(StrictConfig):
    """``dec_dict``."""

    resolution: Size
    vae_dict: FirstStageArguments
    unet_dict: UNetArguments
    use_ema: bool
    diffusion_dict: DiffusionArguments
    conditioning_key: Literal["crossattn"]
    cond_stage_key: Literal["slots"]

    def decoder(self) -> DiffusionConfig:
        """Our decoder for these arguments."""
        diffusion = self.diffusion_dict
        return DiffusionConfig(
            tokenizer=self.vae_dict.tokenizer(),
            denoiser=self.unet_dict.denoiser(),
            target=TARGETS[diffusion.pred_target],
            noise=NoiseConfig(
                num_steps=diffusion.timesteps,
                beta_start=diffusion.linear_start,
                beta_end=diffusion.linear_end,
            ),
            latent_scale=diffusion.z_scale_factor,
        )


class DenoisingLoss(StrictConfig):
    """``loss_dict``: the squared error, which their code always asks for."""

    use_denoise_loss: Literal[True] = True


class SADiffusionArguments(EncoderSide):
    """The constructor arguments of ``SADiffusion``."""

    dec_dict: DiffusionDecoderArguments
    loss_dict: DenoisingLoss = DenoisingLoss()

    @model_validator(mode="after")
    def _decodes_slots(self) -> SADiffusionArguments:
        decoder = self.dec_dict
        channels = decoder.vae_dict.vq_dict.embed_dim
        factor = 2 ** (len(decoder.vae_dict.enc_dec_dict.ch_mult) - 1)
        for key, stated, expected in (
            ("unet_dict.context_dim", decoder.unet_dict.context_dim, self.slot_dict.slot_size),
            ("unet_dict.in_channels", decoder.unet_dict.in_channels, channels),
            ("unet_dict.out_channels", decoder.unet_dict.out_channels, channels),
            ("resolution", decoder.resolution, tuple(side // factor for side in self.resolution)),
        ):
            if stated != expected:
                raise ValueError(f"'dec_dict.{key}' is {stated}, expected {expected}")
        return self

    def config(self) -> SlotAutoencoderConfig:
        """The configuration of the same model in our terms."""
        return SlotAutoencoderConfig(decoder=self.dec_dict.decoder(), **self.shared())


class SAViDiffusionArguments(VideoSide, SADiffusionArguments):
    """The constructor arguments of ``SAViDiffusion``: those of pictures, and a predictor."""


def diffusion_names(config: DiffusionConfig) -> dict[str, str]:
    """Our decoder's modules -> theirs. Of other tokenizers their code has no counterpart."""
    names = unet_names(config.denoiser, "decoder.denoiser.network.", f"{UNET}diffusion_model.")
    if isinstance(config.tokenizer, VQVAEConfig):
        names |= vqvae_names(config.tokenizer, OUR_TOKENIZER, "dm_decoder.vae.vqvae.")
    return names


def diffusion_implied(config: DiffusionConfig) -> Implied:
    """What the configuration says of the tables of the noise schedule."""
    noise = NoiseSchedule(**config.noise.model_dump())
    tables: Implied = dict.fromkeys(IGNORED, (noise.num_steps,))
    return tables | {"dm_decoder.betas": noise.betas}


def diffusion_pointwise() -> frozenset[str]:
    """Our linear layers' weights that are convolutions in their decoder."""
    return pointwise_names(OUR_TOKENIZER)


def pick_weights(
    weights: Mapping[str, Tensor], *, averaged: bool, source: str
) -> dict[str, Tensor]:
    """The checkpoint with one U-Net: the one that trained last, or the average over the training.

    Raises:
        ConfigError: if the average is asked of a checkpoint that has none.
        CheckpointError: if the average lacks a weight of the U-Net, or has another.
    """
    kept = {name: value for name, value in weights.items() if not name.startswith(AVERAGE)}
    average: dict[str, Any] = {
        name.removeprefix(AVERAGE): value
        for name, value in weights.items()
        if name.startswith(AVERAGE)
    }
    if not average:
        if averaged:
            raise ConfigError(f"{source}: holds no average of its weights ({AVERAGE}*)")
        return kept
    trained = {name for name in kept if name.startswith(UNET)}
    flat = {name.removeprefix(UNET).replace(".", ""): name for name in trained}
    state = {"decay", "num_updates"}
    odd = sorted(flat.keys() ^ (average.keys() - state))
    if odd:
        raise CheckpointError(
            f"{source}: the averaged weights and those of {UNET}* differ by {odd[0]}"
        )
    if averaged:
        kept |= {name: average[short] for short, name in flat.items()}
    return kept
