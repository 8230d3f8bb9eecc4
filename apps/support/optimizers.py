"""The optimizer and its parameter groups: the encoder, and the decoder at its own rate."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import nn

from slot_core import ConfigError, HubModel
from support.options import OptimizerOptions
from support.sharding import gathered

MOST_NAMED = 4  # weights, in a sentence


def build_optimizer(model: nn.Module, options: OptimizerOptions) -> torch.optim.Optimizer:
    """Adam (AdamW with a weight decay) on all parameters that train.

    Each group remembers its peak rate as ``peak``; the schedule multiplies it.

    Raises:
        ConfigError: if the decoder is given a rate and nothing of one trains.
    """
    decoder_rate = options.decoder_learning_rate or options.learning_rate
    encoder: list[nn.Parameter] = []
    decoder: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            (decoder if name.startswith("decoder.") else encoder).append(parameter)
    if options.decoder_learning_rate is not None and not decoder:
        raise ConfigError(
            f"optimizer.decoder_learning_rate is set, but this {type(model).__name__} has no "
            "decoder that trains"
        )
    groups = [
        {"params": encoder, "lr": options.learning_rate, "peak": options.learning_rate},
        {"params": decoder, "lr": decoder_rate, "peak": decoder_rate},
    ]
    kind = torch.optim.AdamW if options.weight_decay else torch.optim.Adam
    return kind(groups, betas=options.betas, weight_decay=options.weight_decay)


def check_gradients(model: nn.Module) -> None:
    """See that a backward pass has reached all that trains.

    Other weights would stay random, and on several processes the next step would wait for them.

    Raises:
        ConfigError: if it has not.
    """
    lost = [
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and parameter.grad is None
    ]
    if lost:
        more = f" and {len(lost) - MOST_NAMED} more" if len(lost) > MOST_NAMED else ""
        raise ConfigError(
            f"no gradient reaches {', '.join(lost[:MOST_NAMED])}{more}, which would stay as they "
            "began; leave that part out, or change the options by which it goes unused"
        )


def set_learning_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set every group to ``factor`` times its peak rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor


class WeightAverage:
    """An exponential moving average of a model's weights, slower as it ages.

    After n updates it keeps min(decay, (1 + n) / (10 + n)) of itself, as in latent diffusion
    (Rombach et al. 2022) and SlotDiffusion, so that the first weights are soon forgotten.

    Args:
        model: to follow; its copy is ``self.model``.
        decay: how much an old average keeps of itself at each update.
    """

    def __init__(self, model: HubModel, decay: float) -> None:
        self.model: Any = deepcopy(model).requires_grad_(False).eval()
        self.decay = decay
        self.num_updates = 0

    @torch.no_grad()
    def update(self, model: HubModel) -> None:
        """Move towards ``model``'s weights."""
        self.num_updates += 1
        keep = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
        for average, current in zip(self.model.parameters(), model.parameters(), strict=True):
            average.lerp_(gathered(current), 1 - keep)
