"""Video to slots: the one encoder of pictures and videos (SAVi, arXiv 2111.12594, section 2).

For each frame the predictor carries the slots over from the frame before (the first frame takes
them from the initializer), and the corrector, Slot Attention, refines them on the frame's
features. A picture is a video of one frame. The features of all frames are computed in one call
of the backbone; this file holds the only loop over time.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from slot_core.errors import InputError
from slot_core.outputs import EncoderState, SlotOutput
from slot_core.position_embedding import PositionEmbedding
from slot_core.slot_attention import SlotAttention


class SlotEncoder(nn.Module):
    """Backbone, position embedding, initializer and corrector in one.

    Between frames the slots are carried over as they are.

    Args:
        backbone: frames [B 3 H W] to a feature map; has ``feature_dim``.
        initializer: features of the first frame to the first slots.
        corrector: features and slots to slots; its ``feature_dim`` is ``projection_dim``.
        projection_dim: width that the backbone's features are projected to, position by
            position (LayerNorm, Linear, ReLU, Linear).
    """

    def __init__(
        self,
        backbone: nn.Module,
        initializer: nn.Module,
        corrector: SlotAttention,
        *,
        projection_dim: int,
    ) -> None:
        super().__init__()
        feature_dim = int(backbone.feature_dim)  # pyright: ignore[reportArgumentType]
        self.backbone = backbone
        self.position_embedding = PositionEmbedding(feature_dim)
        self.projection = nn.Sequential(
            nn.LayerNorm(feature_dim),
            nn.Linear(feature_dim, projection_dim),
            nn.ReLU(),
            nn.Linear(projection_dim, projection_dim),
        )
        self.initializer = initializer
        self.corrector = corrector

    def forward(
        self,
        video: Float[Tensor, "batch time 3 height width"],
        state: EncoderState | None = None,
        generator: torch.Generator | None = None,
    ) -> SlotOutput:
        """Slots of every frame of a normalised video.

        Args:
            video: one frame or more.
            state: of the frames before; None for a video's first frames.
            generator: draws the first slots, where they are random.

        Raises:
            InputError: if the video has no frame.
        """
        if video.shape[1] == 0:
            raise InputError("the video has no frames; expected at least 1")
        features, feature_size = self.features(video)
        slots, attention = [], []
        for frame_features in features.unbind(dim=1):
            corrected, frame_attention, state = self._correct(frame_features, state, generator)
            slots.append(corrected)
            attention.append(frame_attention)
        assert state is not None  # at least one frame was seen
        return SlotOutput(torch.stack(slots, 1), torch.stack(attention, 1), feature_size, state)

    def step(
        self,
        frame: Float[Tensor, "batch 3 height width"],
        state: EncoderState | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Float[Tensor, "batch slots dim"], EncoderState]:
        """Slots of the next frame of a stream; equal to what ``forward`` gives for it."""
        features, _ = self.features(frame[:, None])
        slots, _, state = self._correct(features[:, 0], state, generator)
        return slots, state

    def features(
        self, video: Float[Tensor, "batch time 3 height width"]
    ) -> tuple[Float[Tensor, "batch time positions dim"], tuple[int, int]]:
        """Projected features of all frames in one call, and the size of their grid."""
        batch, time = video.shape[:2]
        maps = self.position_embedding(self.backbone(video.flatten(0, 1)))
        height, width = maps.shape[-2:]
        features = self.projection(maps.flatten(2).transpose(1, 2))
        return features.unflatten(0, (batch, time)), (height, width)

    def _correct(
        self,
        features: Float[Tensor, "batch positions dim"],
        state: EncoderState | None,
        generator: torch.Generator | None,
    ) -> tuple[Tensor, Tensor, EncoderState]:
        slots = self.initializer(features, generator=generator) if state is None else state.slots
        slots, attention = self.corrector(features, slots)
        return slots, attention, EncoderState(slots)
