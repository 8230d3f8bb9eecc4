"""What the video systems of the SlotDiffusion code have beyond those for pictures: a predictor.

Where its code states no value, its rule is spelled out: the residual MLP is twice as wide as a
slot, and the LSTM as wide as Slot Attention's MLP. ``clip_len`` is where its code cuts long
videos; ours are cut by the caller.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import PositiveInt, model_validator

from slot_core import StrictConfig
from slot_decoders.models.configs import (
    PredictorConfig,
    ResidualMLPPredictorConfig,
    TransformerPredictorConfig,
)
from slot_decoders.models.state_dicts.slotdiffusion_encoder import EncoderSide, SlotArguments

DROPOUT = 0.1  # of the transformer, in its code for all checkpoints


class PredictorArguments(StrictConfig):
    """``pred_dict``: a transformer unless ``pred_type`` says "mlp", and an LSTM behind it or not.

    ``pred_sg_every`` cuts gradients while training and changes no output: it is read and left.
    """

    pred_type: Literal["transformer", "mlp"] = "transformer"
    pred_rnn: bool
    pred_norm_first: bool
    pred_num_layers: PositiveInt | None = None
    pred_num_heads: PositiveInt | None = None
    pred_ffn_dim: PositiveInt | None = None
    pred_sg_every: PositiveInt | None = None

    @model_validator(mode="after")
    def _states_its_sizes(self) -> PredictorArguments:
        if self.pred_type == "transformer":
            for key in ("pred_num_layers", "pred_num_heads", "pred_ffn_dim"):
                if getattr(self, key) is None:
                    raise ValueError(f"'{key}' is missing; expected for a transformer")
        return self

    def config(self, slots: SlotArguments) -> PredictorConfig:
        """Our predictor for ``pred_dict``."""
        recurrent_dim = slots.slot_mlp_size if self.pred_rnn else None
        if self.pred_type == "mlp":
            return ResidualMLPPredictorConfig(
                hidden_dim=2 * slots.slot_size,
                norm_first=self.pred_norm_first,
                recurrent_dim=recurrent_dim,
            )
        assert self.pred_num_layers is not None
        assert self.pred_num_heads is not None
        return TransformerPredictorConfig(
            num_layers=self.pred_num_layers,
            num_heads=self.pred_num_heads,
            hidden_dim=self.pred_ffn_dim,
            norm_first=self.pred_norm_first,
            dropout=DROPOUT,
            recurrent_dim=recurrent_dim,
        )


class VideoSide(EncoderSide):
    """The constructor arguments that all video systems have; ``dec_dict`` comes with the system."""

    clip_len: PositiveInt
    pred_dict: PredictorArguments

    def shared(self) -> dict[str, Any]:
        """The part of our model's configuration that the encoder decides."""
        shared = super().shared()
        predictor = self.pred_dict.config(self.slot_dict)
        return shared | {"encoder": shared["encoder"].model_copy(update={"predictor": predictor})}


def predictor_names(config: PredictorConfig | None) -> dict[str, str]:
    """Our predictor's modules -> theirs."""
    if config is None:
        return {}
    ours, theirs, names = "encoder.predictor", "predictor", {}
    if config.recurrent_dim is not None:
        for parameter in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            names[f"{ours}.lstm.{parameter}"] = f"{theirs}.rnn.{parameter}_l0"
        names[f"{ours}.output"] = f"{theirs}.out_projector"
        ours, theirs = f"{ours}.base", f"{theirs}.base_predictor"
    if isinstance(config, TransformerPredictorConfig):
        return names | {f"{ours}.layers": f"{theirs}.transformer_encoder.layers"}
    return names | {f"{ours}.norm": f"{theirs}.ln", f"{ours}.mlp": f"{theirs}.mlp"}
