"""What a model does to pictures before it looks at them, and undoes afterwards.

It belongs to the model and is saved with it: outside, video is always float in [0, 1].
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from slot_core.video_input import check_video

Video = Float[Tensor, "batch time channels height width"]


class Preprocessing(nn.Module):
    """Resizes frames to the model's size and normalises colours; ``undo`` goes back.

    Args:
        image_size: height and width that the model works at.
        mean: of each colour channel, in [0, 1].
        std: likewise.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        image_size: tuple[int, int],
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
    ) -> None:
        super().__init__()
        self.image_size = image_size
        # Not persistent: they are configuration, and a checkpoint states them once.
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def forward(
        self, video: Video
    ) -> Float[Tensor, "batch time channels model_height model_width"]:
        """Video in [0, 1] to the model's own range and size.

        Raises:
            InputError: if the video is not [batch time 3 height width] or not of floats.
        """
        check_video(video)
        resized = resize(video, self.image_size)
        return (resized.to(self.mean.dtype) - self.mean) / self.std

    def undo(self, video: Video) -> Video:
        """The model's own range back to [0, 1], clamped, at the model's size."""
        return (video * self.std + self.mean).clamp(0, 1)


def resize(
    video: Video, size: tuple[int, int], *, antialias: bool = True
) -> Float[Tensor, "batch time channels new_height new_width"]:
    """Frames or soft masks at another size, bilinear; unchanged where the size is the same.

    In single precision at least, since a CPU cannot in half.
    """
    if tuple(video.shape[-2:]) == tuple(size):
        return video
    frames = video.flatten(0, 1).to(torch.promote_types(video.dtype, torch.float32))
    resized = F.interpolate(
        frames, size=size, mode="bilinear", align_corners=False, antialias=antialias
    )
    return resized.to(video.dtype).unflatten(0, video.shape[:2])
