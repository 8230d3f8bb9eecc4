"""SlotDiffusion's ``LDMSlotFormer`` in our terms: SlotFormer, and the diffusion decoder of the
``SAViDiffusion`` whose slots it predicts.

How far apart the frames of its clips are is no argument of the model there: ``stride`` is 1 unless
it is changed. ``slot_dict`` and ``clip_len`` describe that other model and are read by nothing.
"""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveFloat, PositiveInt, model_validator

from slot_core import ConfigError, StrictConfig
from slot_core.slot_dynamics import Encoding
from slot_decoders.models.configs import (
    DiffusionConfig,
    PreprocessingConfig,
    Size,
    SlotDynamicsConfig,
    SlotFormerConfig,
)
from slot_decoders.models.state_dicts import slotdiffusion_diffusion as diffusion
from slot_decoders.models.state_dicts.mapping import StateDictMap
from slot_decoders.models.state_dicts.slotdiffusion_encoder import SlotArguments

DROPOUT = 0.1  # in its code for all checkpoints
ENCODINGS: dict[str, Encoding | None] = {"sin": "sine", "learnable": "learned", "": None}
FIXED = "it is fixed and follows from the sizes"


class RolloutArguments(StrictConfig):
    """``rollout_dict``."""

    num_slots: PositiveInt
    slot_size: PositiveInt
    history_len: PositiveInt
    t_pe: Literal["sin", "learnable"]
    slots_pe: Literal["", "sin", "learnable"]
    d_model: PositiveInt
    num_layers: PositiveInt
    num_heads: PositiveInt
    ffn_dim: PositiveInt
    norm_first: bool

    def dynamics(self) -> SlotFormerConfig:
        """Our SlotFormer for these arguments."""
        return SlotFormerConfig(
            burn_in=self.history_len,
            model_dim=self.d_model,
            num_layers=self.num_layers,
            num_heads=self.num_heads,
            hidden_dim=self.ffn_dim,
            norm_first=self.norm_first,
            dropout=DROPOUT,
            time_encoding=ENCODINGS[self.t_pe] or "sine",
            slot_encoding=ENCODINGS[self.slots_pe],
        )


class FrozenDecoderArguments(diffusion.DiffusionDecoderArguments):
    """``dec_dict``. The path is where the decoder was before it was in the checkpoint."""

    dec_ckp_path: str = ""


class RolloutLoss(StrictConfig):
    """``loss_dict``. The length is that of the clips, less the burn-in."""

    rollout_len: PositiveInt
    use_denoise_loss: bool
    use_img_recon_loss: Literal[False] = False


class LDMSlotFormerArguments(StrictConfig):
    """The constructor arguments of ``LDMSlotFormer``."""

    resolution: Size
    clip_len: PositiveInt
    slot_dict: SlotArguments
    dec_dict: FrozenDecoderArguments
    rollout_dict: RolloutArguments
    loss_dict: RolloutLoss
    eps: PositiveFloat = 1e-6

    @model_validator(mode="after")
    def _decodes_what_it_predicts(self) -> LDMSlotFormerArguments:
        stated, expected = self.dec_dict.unet_dict.context_dim, self.rollout_dict.slot_size
        if stated != expected:
            raise ValueError(f"'dec_dict.unet_dict.context_dim' is {stated}, expected {expected}")
        return self

    def config(self) -> SlotDynamicsConfig:
        """The configuration of the same model in our terms."""
        return SlotDynamicsConfig(
            num_slots=self.rollout_dict.num_slots,
            slot_dim=self.rollout_dict.slot_size,
            dynamics=self.rollout_dict.dynamics(),
            preprocessing=PreprocessingConfig(
                image_size=self.resolution, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)
            ),
            decoder=self.dec_dict.decoder(),
            image_loss_weight=1.0 if self.loss_dict.use_denoise_loss else 0.0,
        )


def dynamics_map(config: SlotDynamicsConfig) -> StateDictMap:
    """Our modules -> theirs.

    Raises:
        ConfigError: if ours is one that they do not have.
    """
    if config.dynamics.residual:
        raise ConfigError(
            "dynamics.residual is true, but SlotDiffusion's SlotFormer predicts slots themselves; "
            "expected false"
        )
    if not isinstance(config.decoder, DiffusionConfig):
        kind = "none" if config.decoder is None else config.decoder.type
        raise ConfigError(
            f"decoder is {kind}, but SlotDiffusion's SlotFormer has one that diffuses; expected "
            "diffusion"
        )
    ignored, names, batched = dict(diffusion.IGNORED), {}, set()
    implied = diffusion.diffusion_implied(config.decoder)
    for ours, theirs, kind, length in (
        ("time_encoding", "enc_t_pe", config.dynamics.time_encoding, config.dynamics.burn_in),
        ("slot_encoding", "enc_slots_pe", config.dynamics.slot_encoding, config.num_slots),
    ):
        if kind == "learned":
            names[f"dynamics.{ours}"] = f"rollouter.{theirs}"
            batched.add(f"dynamics.{ours}")
        else:
            ignored[f"rollouter.{theirs}"] = FIXED
            if kind is not None:
                implied[f"rollouter.{theirs}"] = (1, length, config.dynamics.model_dim)
    for ours, theirs in (
        ("input", "in_proj"),
        ("layers", "transformer_encoder.layers"),
        ("output", "out_proj"),
    ):
        names[f"dynamics.{ours}"] = f"rollouter.{theirs}"
    names |= diffusion.diffusion_names(config.decoder)
    pointwise = diffusion.diffusion_pointwise()
    return StateDictMap(names, ignored, frozenset(batched), pointwise, implied)
