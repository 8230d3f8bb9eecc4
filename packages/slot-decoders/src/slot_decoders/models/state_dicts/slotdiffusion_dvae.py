"""SlotDiffusion's ``dVAE``, alone and inside ``SLATE`` and ``STEVE``, in our terms.

Its code fixes the width of the layers and leaves the size of the pictures open, which ours states:
128x128, as in all its recipes, unless ``resolution`` stands beside the arguments. The
normalisation's weights are parameters of the block that holds the convolution.
"""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveInt

from slot_core import StrictConfig
from slot_decoders.models.configs import (
    DVAEConfig,
    PreprocessingConfig,
    Size,
    TokenizerModelConfig,
)

ENCODER_BLOCKS = range(7)
ENCODER_OUTPUT = 7
DECODER_BLOCKS = (0, 1, 2, 3, 4, 6, 7, 8, 9)  # 5 and 10 rearrange pixels
DECODER_OUTPUT = 11


class DVAEArguments(StrictConfig):
    """The constructor arguments of ``dVAE``."""

    vocab_size: PositiveInt
    img_channels: Literal[3] = 3
    resolution: Size = (128, 128)

    def config(self) -> TokenizerModelConfig:
        """The configuration of the same model in our terms."""
        preprocessing = PreprocessingConfig(
            image_size=self.resolution, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)
        )
        return TokenizerModelConfig(
            preprocessing=preprocessing, tokenizer=DVAEConfig(vocab_size=self.vocab_size)
        )


def dvae_names(ours: str, theirs: str) -> dict[str, str]:
    """Our tokenizer's modules -> theirs, behind the names ``ours`` and ``theirs`` of the whole."""
    names = {
        f"{ours}encoder.{ENCODER_OUTPUT}": f"{theirs}encoder.{ENCODER_OUTPUT}",
        f"{ours}decoder.{DECODER_OUTPUT}": f"{theirs}decoder.{DECODER_OUTPUT}",
    }
    blocks = [f"encoder.{i}" for i in ENCODER_BLOCKS] + [f"decoder.{i}" for i in DECODER_BLOCKS]
    for block in blocks:
        names[f"{ours}{block}.conv"] = f"{theirs}{block}.m"
        names[f"{ours}{block}.norm"] = f"{theirs}{block}"
    return names
