"""SlotFormer joined to the frozen decoder of the model whose slots it predicts.

It trains on slots that were written to disk before (``apps/extract_slots.py``): the first
``burn_in`` frames of a clip are given, the others are predicted one after the other, and the loss
is their squared error (SlotFormer, arXiv 2210.05861, section 3.3). Where ``image_loss_weight`` is
above 0 the predicted slots are decoded as well, and the decoder's own loss towards the true frames
is added: SlotFormer's image loss for a mixture decoder, SlotDiffusion's denoising loss for a
diffusion decoder. The decoder stays as it is and passes gradients to the slots.
"""

from __future__ import annotations

from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor

from slot_core import (
    Generators,
    HubModel,
    InputError,
    LossOutput,
    SlotFormer,
    StrictConfig,
    prediction_losses,
)
from slot_core.recomputing import enable_gradient_checkpointing
from slot_core.slot_input import check_slots
from slot_core.video_input import check_free_of_charge
from slot_decoders.models.configs import SlotDynamicsConfig
from slot_decoders.models.preprocessing import Preprocessing
from slot_decoders.models.slot_autoencoder import Video
from slot_decoders.models.without_gradients import without_gradients

Slots = Float[Tensor, "batch time slots dim"]
MOST_NAMED = 6  # future frames whose error has a name of its own, as in SlotFormer's code


class SlotDynamicsModel(HubModel):
    """Slots of past frames to slots, and pictures, of future frames.

    Args:
        dynamics: SlotFormer.
        decoder: slots to video, kept as it is; None where only slots are asked for.
        preprocessing: of the video that the decoder is to paint.
        config: that describes these parts.
    """

    config_class: ClassVar[type[StrictConfig]] = SlotDynamicsConfig
    purpose: ClassVar[str] = (
        "Predicts the slots of future frames from those of past ones, which another model found "
        "in a video."
    )
    usage: ClassVar[str] = "future = model.rollout(slots, num_steps=10)  # [batch time slots dim]"
    config: SlotDynamicsConfig

    def __init__(
        self,
        dynamics: SlotFormer,
        decoder: Any,
        preprocessing: Preprocessing,
        config: SlotDynamicsConfig,
    ) -> None:
        super().__init__()
        self.dynamics = dynamics
        self.decoder = decoder
        self.preprocessing = preprocessing
        self.config = config
        if decoder is not None:
            decoder.requires_grad_(requires_grad=False)
            decoder.eval()

    @classmethod
    def from_config(cls, config: SlotDynamicsConfig) -> SlotDynamicsModel:
        """The freshly initialised model that ``config`` describes."""
        from slot_decoders.models.build import build_decoder, build_dynamics, build_preprocessing

        decoder = None if config.decoder is None else build_decoder(config)
        preprocessing = build_preprocessing(config.preprocessing)
        return cls(build_dynamics(config), decoder, preprocessing, config)

    def train(self, mode: bool = True) -> SlotDynamicsModel:
        """Training mode for the dynamics; the decoder stays in eval mode."""
        super().train(mode)
        if self.decoder is not None:
            self.decoder.eval()
        return self

    @property
    def num_slots(self) -> int:
        """How many slots a frame has."""
        return self.config.num_slots

    @property
    def burn_in(self) -> int:
        """How many consecutive frames of a video ``rollout`` needs."""
        return self.config.dynamics.burn_in * self.config.stride

    def compile(self, *args: Any, **options: Any) -> None:
        """Compile the rollout's step and the decoder's parts.

        ``options`` are those of ``torch.compile``.
        """
        self.dynamics.compile(*args, **options)
        if self.decoder is not None:
            self.decoder.compile(*args, **options)

    def enable_gradient_checkpointing(self) -> None:
        """Train in less memory and more time: recompute what is kept; see slot_core.recomputing.

        Raises:
            ConfigError: if there is a decoder that does not say how.
        """
        self.dynamics.enable_gradient_checkpointing()
        if self.decoder is not None:  # frozen, but gradients of the image loss pass it
            enable_gradient_checkpointing(self.decoder)

    def forward(
        self,
        slots: Slots,
        video: Video | None = None,
        *,
        generator: Generators | None = None,
        progress: float = 1.0,
    ) -> LossOutput:
        """The training step: predict the frames after the burn-in.

        Args:
            slots: of ``burn_in`` frames and those to predict, ``stride`` frames apart.
            video: the same frames, float in [0, 1]; needed for the image loss alone.
            generator: draws what is random in the decoder.
            progress: share of the training that is done; nothing here depends on it.

        Raises:
            InputError: if the slots have another shape or kind of numbers, there is nothing to
                predict, or the image loss lacks its video, or is given that of other frames.
        """
        check_slots(slots, self.config.slot_dim)
        burn_in = self.config.dynamics.burn_in
        past, future = slots[:, :burn_in], slots[:, burn_in:]
        if not future.shape[1]:
            raise InputError(
                f"the slots are of {slots.shape[1]} frames; training needs the burn-in of "
                f"{burn_in} and at least 1 to predict"
            )
        predicted = self.dynamics(past, future.shape[1])
        loss, errors = prediction_losses(predicted, future, decay=self.config.loss_decay)
        parts = {"slot_error": loss}
        for step in range(min(MOST_NAMED, len(errors))):
            parts[f"slot_error_{step + 1}"] = errors[step]
        total = self.config.slot_loss_weight * loss
        if self.config.image_loss_weight:
            if video is None:
                raise InputError("the image loss needs the video of the slots' frames")
            check_free_of_charge(video)
            image = self.decoder(
                predicted, self.preprocessing(video[:, burn_in:]), generator=generator
            )
            total = total + self.config.image_loss_weight * image.total
            parts |= {f"image_{name}": value for name, value in image.parts.items()}
        return LossOutput(total, parts, slots=predicted.detach())

    @without_gradients
    def rollout(
        self, slots: Slots, num_steps: int, *, stride: int | None = None
    ) -> Float[Tensor, "batch {num_steps} slots dim"]:
        """The slots of the next ``num_steps`` frames, any number of them.

        A model that was trained on every n-th frame (``stride``) predicts the frames between by n
        interleaved rollouts at once, each from every n-th frame of the past.

        Args:
            slots: of at least ``burn_in`` times ``stride`` frames.
            num_steps: how many frames.
            stride: None for consecutive frames of a video; 1 for frames that are already as far
                apart as the model was trained on.

        Raises:
            InputError: if there are fewer frames, or no step is asked for.
        """
        own = self.config.stride
        return self.dynamics(slots, num_steps, stride=own if stride is None else stride)

    @without_gradients
    def decode(
        self, slots: Slots, generator: Generators | None = None
    ) -> tuple[Video, Float[Tensor, "batch time slots height width"] | None]:
        """The frames that the slots stand for, in [0, 1], and whose each pixel is.

        Both are at the model's size; the soft masks are None for a decoder that makes none.

        Args:
            slots: of any frames.
            generator: draws what is random in the decoder; one for each sample makes its frames
                independent of the rest of the batch.

        Raises:
            InputError: if the model has no decoder.
        """
        if self.decoder is None:
            raise InputError("this model of slots has no decoder")
        decoded = self.decoder.decode(slots, generator)
        return self.preprocessing.undo(decoded.reconstruction), decoded.masks
