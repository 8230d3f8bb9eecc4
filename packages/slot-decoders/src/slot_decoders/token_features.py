"""Features of a picture that are the embeddings of its tokens, as SLATE's own code gives to Slot
Attention (Singh et al. 2021, arXiv 2110.11405, section 3.2).

There one table and one dVAE serve encoder and decoder. Here the encoder has its own, so that it
stands alone, and the dVAE is frozen.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn


class TokenFeatures(nn.Module):
    """A backbone: each patch becomes the vector of its most likely token, and of its place.

    Args:
        tokenizer: frames to tokens; it is frozen and always in eval mode.
        feature_dim: width of the vectors.
        image_size: height and width of the frames.
    """

    def __init__(self, tokenizer: Any, feature_dim: int, image_size: tuple[int, int]) -> None:
        super().__init__()
        self.tokenizer = tokenizer.requires_grad_(False).eval()
        self.feature_dim = feature_dim
        rows, columns = (side // tokenizer.stride for side in image_size)
        self.embedding = nn.Embedding(tokenizer.vocab_size, feature_dim)
        self.places = nn.Parameter(torch.empty(rows * columns, feature_dim))
        nn.init.trunc_normal_(self.places)

    def train(self, mode: bool = True) -> TokenFeatures:
        """The usual mode, but for the tokenizer, which stays in eval."""
        super().train(mode)
        self.tokenizer.eval()
        return self

    def enable_gradient_checkpointing(self) -> None:
        """Nothing: tokens are looked up, and the tokenizer has no gradients."""

    def forward(
        self, frames: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch dim rows columns"]:
        """The map of a frame's vectors."""
        tokens = self.tokenizer.encode(frames)
        vectors = self.embedding(tokens.flatten(1)) + self.places
        return vectors.mT.unflatten(2, tokens.shape[1:])
