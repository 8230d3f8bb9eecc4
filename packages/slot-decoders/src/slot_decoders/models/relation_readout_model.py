"""The readout as a model that trains on slots and answers (Physion, Bear et al. 2021).

The slots are of videos whose future was rolled out before (``apps/roll_out_slots.py``). The loss
is the cross-entropy of the answers (SlotFormer, arXiv 2210.05861, section 4.4).
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from slot_core import (
    Generators,
    HubModel,
    InputError,
    LossOutput,
    RelationReadout,
    StrictConfig,
)
from slot_core.compiling import compile_methods
from slot_decoders.models.configs import RelationReadoutConfig
from slot_decoders.models.without_gradients import without_gradients

Slots = Float[Tensor, "batch time slots dim"]


class RelationReadoutModel(HubModel):
    """Slots of a video to the answer of one question about any two of its objects.

    Args:
        readout: slots to logits.
        config: that describes it.
    """

    config_class: ClassVar[type[StrictConfig]] = RelationReadoutConfig
    purpose: ClassVar[str] = (
        "Answers a question about two objects of a video from its slots, which another model found."
    )
    usage: ClassVar[str] = "logits = model.answer(slots)  # [batch]; above 0 the answer is yes"
    config: RelationReadoutConfig

    def __init__(self, readout: RelationReadout, config: RelationReadoutConfig) -> None:
        super().__init__()
        self.readout = readout
        self.config = config

    @classmethod
    def from_config(cls, config: RelationReadoutConfig) -> RelationReadoutModel:
        """The freshly initialised model that ``config`` describes."""
        return cls(RelationReadout(config.slot_dim, **config.readout.model_dump()), config)

    @property
    def num_slots(self) -> int:
        """How many slots a frame has."""
        return self.config.num_slots

    def compile(self, *args: Any, **options: Any) -> None:
        """Compile the readout; ``options`` are those of ``torch.compile``."""
        compile_methods(self.readout, "forward", **options)

    def enable_gradient_checkpointing(self) -> None:
        """Train in less memory and more time: recompute what is kept; see slot_core.recomputing."""
        self.readout.enable_gradient_checkpointing()

    def forward(
        self,
        slots: Slots,
        outcome: Bool[Tensor, " batch"],
        *,
        generator: Generators | None = None,
        progress: float = 1.0,
    ) -> LossOutput:
        """The training step: the cross-entropy of the answers.

        Args:
            slots: of whole videos.
            outcome: the true answers.
            generator: nothing here is random.
            progress: share of the training that is done; nothing here depends on it.

        Raises:
            InputError: as ``RelationReadout`` does, or if there is not one answer for each video.
        """
        logits = self.readout(slots)
        if outcome.shape != logits.shape:
            raise InputError(
                f"the answers have the shape {list(outcome.shape)}, expected one for each of the "
                f"{len(logits)} videos"
            )
        loss = F.binary_cross_entropy_with_logits(logits, outcome.to(logits.dtype))
        accuracy = ((logits > 0) == outcome).float().mean()
        return LossOutput(loss, {"cross_entropy": loss, "accuracy": accuracy.detach()})

    @without_gradients
    def answer(self, slots: Slots) -> Float[Tensor, " batch"]:
        """The logit of each video; above 0 the answer is yes."""
        return self.readout(slots)
