"""ResNet-18 and -34 (He et al. 2016, arXiv 1512.03385) for small pictures.

As in SAVi (Kipf et al. 2022, arXiv 2111.12594, appendix) and SlotDiffusion: GroupNorm in place
of BatchNorm, so that a frame's features do not depend on the batch; a 3x3 stem of stride 1
without max-pooling; and the last stage left out by default, which leaves a quarter of the
resolution and 256 channels.
"""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from slot_core.errors import InputError

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
WIDTHS = (64, 128, 256, 512)
NUM_GROUPS = 32  # group normalisation's default in He's "Group Normalization" (Wu and He 2018)


class ResNet(nn.Module):
    """A residual network with group normalisation and a stem for small pictures.

    Args:
        depth: 18 or 34.
        num_stages: how many of the four stages; each after the first halves the grid.

    Raises:
        InputError: if there is no such ResNet here.
    """

    def __init__(self, depth: Literal[18, 34] = 18, *, num_stages: int = 3) -> None:
        super().__init__()
        if depth not in BLOCKS or not 1 <= num_stages <= len(WIDTHS):
            raise InputError(
                f"a ResNet of depth {depth} with {num_stages} stages is not built here; "
                f"expected a depth of {' or '.join(map(str, BLOCKS))} and 1 to {len(WIDTHS)} stages"
            )
        self.stem = nn.Conv2d(3, WIDTHS[0], 3, padding=1, bias=False)
        self.stem_norm = nn.GroupNorm(NUM_GROUPS, WIDTHS[0])
        self.stages = nn.ModuleList()
        before = WIDTHS[0]
        for stage, width in enumerate(WIDTHS[:num_stages]):
            blocks = [ResidualBlock(before, width, stride=1 if stage == 0 else 2)]
            blocks += [ResidualBlock(width, width) for _ in range(BLOCKS[depth][stage] - 1)]
            self.stages.append(nn.Sequential(*blocks))
            before = width
        self.feature_dim = before
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(
        self, frames: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch channels map_height map_width"]:
        """The feature map of normalised frames."""
        features = F.relu(self.stem_norm(self.stem(frames)))
        for stage in self.stages:
            features = stage(features)
        return features


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al. 2016, figure 2), normalised in groups."""

    def __init__(self, before: int, width: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride, padding=1, bias=False)
        self.norm1 = nn.GroupNorm(NUM_GROUPS, width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(NUM_GROUPS, width)
        self.shortcut = (
            nn.Identity()
            if stride == 1 and before == width
            else nn.Sequential(
                nn.Conv2d(before, width, 1, stride, bias=False), nn.GroupNorm(NUM_GROUPS, width)
            )
        )

    def forward(
        self, features: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels_after height_after width_after"]:
        """The block's output, after its final ReLU."""
        residual = F.relu(self.norm1(self.conv1(features)))
        return F.relu(self.norm2(self.conv2(residual)) + self.shortcut(features))
