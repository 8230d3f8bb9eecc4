"""Small networks of transformers with random weights everywhere, and a ViT of ours beside each.

Random everywhere: no layer scale of 1, norm of 1 or bias of 0 survives to hide a mistake.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import Dinov2Config, Dinov2Model, PreTrainedModel, ViTConfig, ViTModel

from slot_core.backbones import ViT
from slot_core.backbones.vit import Kind

KINDS: tuple[Kind, ...] = ("dino", "dinov2")
TINY: dict[str, Any] = {
    "patch_size": 8,
    "hidden_dim": 24,
    "num_layers": 2,
    "num_heads": 3,
    "mlp_ratio": 2,
    "image_size": 32,
}


def make_vit(kind: Kind, **changes: Any) -> ViT:
    return ViT(kind=kind, **{**TINY, **changes})


def make_foreign(kind: Kind, *, with_unused: bool = True, **changes: Any) -> PreTrainedModel:
    """transformers' network of the same sizes, with or without the parts that we do not use."""
    options: dict[str, Any] = {
        "patch_size": 8,
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "image_size": 32,
        **changes,
    }
    if kind == "dino":
        config = ViTConfig(**{"intermediate_size": 48, **options})
        network = ViTModel(config, add_pooling_layer=with_unused)
    else:
        config = Dinov2Config(**{"mlp_ratio": 2, "use_mask_token": with_unused, **options})
        network = Dinov2Model(config)
    randomise(network)
    return network.eval()


@torch.no_grad()
def randomise(network: torch.nn.Module) -> None:
    generator = torch.Generator().manual_seed(3)
    for parameter in network.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.copy_(0.3 * noise + (0.5 if parameter.ndim == 1 else 0.0))
