"""How much of its codebook a tokenizer uses, the early sign of one that has collapsed."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def codebook_use(tokens: Int[Tensor, ...], vocab_size: int) -> dict[str, Float[Tensor, ""]]:
    """Statistics of a batch of tokens, each between 0 and ``vocab_size``, without gradients.

    Returns:
        ``perplexity``: exp of the entropy of the tokens' distribution; as many codes used
        equally often would give the same. ``codes_in_use``: the share of codes that occur.
    """
    flat = tokens.flatten()
    counts = torch.zeros(vocab_size, device=flat.device)
    counts = counts.scatter_add(0, flat, torch.ones_like(flat, dtype=counts.dtype))
    shares = counts / max(flat.numel(), 1)
    entropy = -torch.special.xlogy(shares, shares).sum()
    return {"perplexity": entropy.exp(), "codes_in_use": (counts > 0).float().mean()}
