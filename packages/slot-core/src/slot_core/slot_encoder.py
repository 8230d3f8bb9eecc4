"""Video to slots: the one encoder of pictures and videos (SAVi, arXiv 2111.12594, section 2).

The first frame's slots come from the initializer. For every other frame the predictor carries
over the slots of the frame before. The corrector, Slot Attention, refines them on the frame's
features. A picture is a video of one frame. The features of all frames are computed in one call
of the backbone; this file holds the only loop over time.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from slot_core.compiling import compile_methods
from slot_core.errors import InputError
from slot_core.noise import Generators, standard_normal
from slot_core.outputs import EncoderState, SlotOutput
from slot_core.position_embedding import PositionEmbedding
from slot_core.recomputing import recompute_methods
from slot_core.slot_initializers import Conditioning
from slot_core.video_input import check_video

Maps = Float[Tensor, "batch time channels map_height map_width"]


class SlotEncoder(nn.Module):
    """Backbone, position embedding, initializer, corrector and predictor in one.

    Args:
        backbone: frames [B 3 H W] to a feature map; has ``feature_dim``.
        initializer: features of the first frame to the first slots.
        corrector: features and slots to slots, SlotAttention or another
            (slot_core.protocols.Corrector); its ``feature_dim`` is ``projection_dim``. If its
            ``differentiation`` is "implicit", no gradient reaches the initializer, which is frozen.
        projection_dim: width that the backbone's features are projected to, position by
            position (LayerNorm, Linear, ReLU, Linear).
        projection_hidden_dim: width between the two linear layers; None for the same.
        position_embedding: whether the features are told their places, which those of a vision
            transformer know; without it as in DINOSAUR.
        position_scale: of the position embedding's first weights.
        predictor: slots of a frame, and its own state, to where the next frame's slots start;
            see slot_predictors.py. None carries the slots over as they are.
        first_iterations: of the corrector on a video's first frame; None for as many as on the
            others.
        slot_noise: standard deviation of Gaussian noise on a video's first slots while
            training; it parts slots that would share an object.
        inertia: how many positions the predicted slot counts for when a later frame corrects it,
            as in the gain of a Kalman filter: a slot that wins far fewer positions stays as it
            was predicted, so an object that is hidden keeps its slot. 0 in the papers.
        preprocessing: what a video goes through before the backbone; None for nothing.

    Raises:
        InputError: if no gradient would reach the predictor: the corrector's ``differentiation`` is
            "implicit", and there is no inertia.
    """

    def __init__(
        self,
        backbone: nn.Module,
        initializer: nn.Module,
        corrector: nn.Module,
        *,
        projection_dim: int,
        projection_hidden_dim: int | None = None,
        position_embedding: bool = True,
        position_scale: float = 1.0,
        predictor: nn.Module | None = None,
        first_iterations: int | None = None,
        slot_noise: float = 0.0,
        inertia: float = 0.0,
        preprocessing: nn.Module | None = None,
    ) -> None:
        super().__init__()
        feature_dim = int(backbone.feature_dim)  # pyright: ignore[reportArgumentType]
        self.first_iterations = first_iterations
        self.slot_noise = slot_noise
        self.inertia = inertia
        self.preprocessing = preprocessing
        self.backbone = backbone
        self.position_embedding = (
            PositionEmbedding(feature_dim, scale=position_scale)
            if position_embedding
            else nn.Identity()
        )
        hidden_dim = projection_hidden_dim or projection_dim
        self.projection = nn.Sequential(
            nn.LayerNorm(feature_dim),
            nn.Linear(feature_dim, hidden_dim),
            nn.ReLU(),
            nn.Linear(hidden_dim, projection_dim),
        )
        self.initializer = initializer
        self.corrector = corrector
        self.predictor = predictor
        if getattr(corrector, "differentiation", None) == "implicit":
            if predictor is not None and not inertia:
                raise InputError(
                    "the corrector's differentiation is implicit, by which no gradient reaches the "
                    "predictor; expected unrolled or straight_through, or no predictor"
                )
            # Data-parallel training waits for the gradient of every weight that is not frozen.
            initializer.requires_grad_(False)

    def forward(
        self,
        video: Float[Tensor, "batch time 3 height width"],
        state: EncoderState | None = None,
        generator: Generators | None = None,
        conditioning: Conditioning | None = None,
        maps: Maps | None = None,
    ) -> SlotOutput:
        """Slots of every frame.

        Args:
            video: one frame or more, as ``preprocessing`` takes them.
            state: of the frames before; None for a video's first frames.
            generator: draws the first slots, where they are random, and their noise.
            conditioning: boxes, points or masks of the objects in the video's first frame, for
                an initializer that is told of them (see ConditionedSlots and ClusteredSlots).
            maps: what the backbone makes of the video, where that is known already; see ``maps``.

        Raises:
            InputError: if the video has no frame, maps are of other frames, the state is none or
                of another batch, or conditioning is given with a state, lacks, or does not fit.
        """
        if video.shape[1] == 0:
            raise InputError("the video has no frames; expected at least 1")
        if maps is not None and maps.shape[:2] != video.shape[:2]:
            raise InputError(
                f"the maps are of {maps.shape[0]} videos of {maps.shape[1]} frames, the video has "
                f"the shape {list(video.shape)}"
            )
        features, feature_size = self.features(video, maps)
        slots, attention = [], []
        for time, frame_features in enumerate(features.unbind(dim=1)):
            told = conditioning if time == 0 else None
            corrected, frame_attention, state = self._next(
                frame_features, feature_size, state, generator, told
            )
            slots.append(corrected)
            attention.append(frame_attention)
        assert state is not None  # at least one frame was seen
        return SlotOutput(torch.stack(slots, 1), torch.stack(attention, 1), feature_size, state)

    def step(
        self,
        frame: Float[Tensor, "batch 3 height width"],
        state: EncoderState | None = None,
        generator: Generators | None = None,
        conditioning: Conditioning | None = None,
    ) -> tuple[Float[Tensor, "batch slots dim"], EncoderState]:
        """Slots of the next frame of a stream; equal to what ``forward`` gives for it.

        A stream runs under ``torch.no_grad()`` unless it trains: with gradients its state keeps
        all frames before. Arguments and errors are those of ``forward``.
        """
        if frame.ndim != 4:
            raise InputError(
                f"the frame has the shape {list(frame.shape)}, expected [batch 3 height width]"
            )
        features, size = self.features(frame[:, None])
        slots, _, state = self._next(features[:, 0], size, state, generator, conditioning)
        return slots, state

    def compile(self, *args: Any, **options: Any) -> None:
        """Compile what is done once for all frames, and what is done in every frame.

        First slots are drawn between; see compiling.py. ``options`` are those of
        ``torch.compile``.
        """
        compile_methods(self, "maps", "projected", **options)
        compile_methods(self.corrector, "forward", **options)
        if self.predictor is not None:
            compile_methods(self.predictor, "forward", **options)

    def enable_gradient_checkpointing(self) -> None:
        """Recompute features frame by frame, and what is done in every frame; see recomputing.py.

        Not the maps of a backbone that is frozen, or sees to itself by a method of this name.
        """
        own = getattr(self.backbone, "enable_gradient_checkpointing", None)
        trains = any(parameter.requires_grad for parameter in self.backbone.parameters())
        if own is not None:
            own()
        apart = own is not None or not trains
        recompute_methods(self, "projected" if apart else "features", batch_axes=2)
        recompute_methods(self.corrector, "forward")
        if self.predictor is not None:
            recompute_methods(self.predictor, "forward")

    def features(
        self, video: Float[Tensor, "batch time 3 height width"], maps: Maps | None = None
    ) -> tuple[Float[Tensor, "batch time positions dim"], tuple[int, int]]:
        """Projected features of all frames in one call, and the size of their grid."""
        return self.projected(self.maps(video) if maps is None else maps)

    def projected(
        self, maps: Maps
    ) -> tuple[Float[Tensor, "batch time positions dim"], tuple[int, int]]:
        """The same of the backbone's feature maps."""
        embedded = self.position_embedding(maps.flatten(0, 1))
        features = self.projection(embedded.flatten(2).transpose(1, 2))
        return features.unflatten(0, maps.shape[:2]), (maps.shape[-2], maps.shape[-1])

    def maps(self, video: Float[Tensor, "batch time 3 height width"]) -> Maps:
        """The backbone's feature maps of all frames. Of a frozen one they never change."""
        if self.preprocessing is not None:
            video = self.preprocessing(video)  # which has its own sentences on what it is given
        else:
            check_video(video)
        return self.backbone(video.flatten(0, 1)).unflatten(0, video.shape[:2])

    def _next(
        self,
        features: Float[Tensor, "batch positions dim"],
        feature_size: tuple[int, int],
        state: EncoderState | None,
        generator: Generators | None,
        conditioning: Conditioning | None,
    ) -> tuple[Tensor, Tensor, EncoderState]:
        """Slots, attention and state of one frame."""
        if state is None:
            slots = self._first_slots(features, feature_size, generator, conditioning)
            own = () if self.first_iterations is None else (self.first_iterations,)
            slots, attention = self._corrected(features, slots, *own)
            return slots, attention, EncoderState(slots)
        if conditioning is not None:
            raise InputError("conditioning is of a video's first frame; it was given with a state")
        if not isinstance(state, EncoderState):
            raise InputError(
                f"the state is of the type {type(state).__name__}, expected the EncoderState that "
                "step gives, or the 'state' of what encode gives"
            )
        if state.slots.shape[0] != features.shape[0]:
            raise InputError(
                f"the state is of {state.slots.shape[0]} videos, these frames of "
                f"{features.shape[0]}"
            )
        slots, memory = state.slots, state.predictor
        if self.predictor is not None:
            slots, memory = self.predictor(slots, memory)
        corrected, attention = self._corrected(features, slots)
        if self.inertia:
            won = attention.sum(dim=-1, keepdim=True).to(slots.dtype)
            corrected = slots + won / (won + self.inertia) * (corrected - slots)
        return corrected, attention, EncoderState(corrected, memory)

    def _corrected(self, features: Tensor, slots: Tensor, *count: int) -> tuple[Tensor, Tensor]:
        """What the corrector, which may be anybody's, makes of the slots, in the right shapes."""
        corrected, attention = self.corrector(features, slots, *count)
        expected = (*slots.shape[:2], features.shape[1])
        if corrected.shape != slots.shape or attention.shape != expected:
            raise InputError(
                f"the {type(self.corrector).__name__} gives slots {list(corrected.shape)} "
                f"and attention {list(attention.shape)}, expected [batch slots dim] "
                f"{list(slots.shape)} and [batch slots positions] {list(expected)}"
            )
        return corrected, attention

    def _first_slots(
        self,
        features: Float[Tensor, "batch positions dim"],
        feature_size: tuple[int, int],
        generator: Generators | None,
        conditioning: Conditioning | None,
    ) -> Float[Tensor, "batch slots slot_dim"]:
        slots = self.initializer(
            features, generator=generator, conditioning=conditioning, feature_size=feature_size
        )
        if self.training and self.slot_noise:
            slots = slots + self.slot_noise * standard_normal(slots, generator)
        return slots
