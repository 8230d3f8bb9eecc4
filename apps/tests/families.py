"""A tiny model of every family, with inputs and the loss that train.py asks for."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from slot_core import HubModel, sample_generators
from slot_decoders.models import build_model, presets

BATCH = 4
DVAE = {"vocab_size": 8, "hidden_dim": 8}
VQVAE = {
    "type": "vqvae",
    "channels": [8, 8],
    "layers_per_block": 1,
    "vocab_size": 16,
    "num_groups": 4,
}
VQVAE |= {"perceptual_weight": 0}
UNET = {"channels": [8, 16], "layers_per_block": 1, "attention_levels": [1], "head_dim": 8}
UNET |= {"dropout": 0, "num_groups": 4}
ENCODER = {
    "backbone": {"type": "cnn", "channels": [8], "strides": [2], "kernel_size": 3},
    "corrector": {"hidden_dim": 16},
    "initializer": {"type": "gaussian"},
}
PREDICTOR = {"type": "transformer", "num_layers": 1, "hidden_dim": 16, "dropout": 0}
TOKENS = {"tokenizer": DVAE, "num_layers": 1, "dropout": 0, "permuted_orders": True}
DIFFUSION = {"tokenizer": VQVAE, "denoiser": UNET}
MIXTURE = {"channels": [8], "broadcast_size": [8, 8]}
VIT = {"patch_size": 4, "hidden_dim": 12, "num_layers": 1, "num_heads": 2, "image_size": 16}
FEATURES = {"backbone": VIT, "projection_hidden_dim": 12, "corrector": {"hidden_dim": 16}}
ROLLOUT = {"hidden_dim": 16, "burn_in": 2, "num_layers": 1, "num_heads": 2, "dropout": 0}
SLOTS = {"num_slots": 3, "slot_dim": 16}


def finding(decoder: dict[str, Any], **encoder: Any) -> dict[str, Any]:
    return {**SLOTS, "encoder": {**ENCODER, **encoder}, "decoder": decoder}


# preset, changes, frames of a video
FAMILIES: dict[str, tuple[str, dict[str, Any], int]] = {
    "slot_attention": ("slot_attention", finding(MIXTURE), 1),
    "savi": ("savi", finding(MIXTURE, predictor=PREDICTOR, slot_noise=0.1), 3),
    "slate": ("slate", finding(TOKENS), 1),
    "steve": ("steve", finding(TOKENS, predictor=PREDICTOR), 2),
    "slot_diffusion": ("slot_diffusion", finding(DIFFUSION), 1),
    "slot_diffusion_videos": ("slot_diffusion", finding(DIFFUSION, predictor=PREDICTOR), 2),
    "dinosaur": (
        "dinosaur",
        {**SLOTS, "encoder": FEATURES, "decoder": {"hidden_dim": 16, "num_layers": 2}},
        1,
    ),
    "dinosaur_transformer": (
        "dinosaur",
        {**SLOTS, "encoder": FEATURES,
         "decoder": {"type": "feature_transformer", "num_layers": 3, "num_heads": 2,
                     "permuted_orders": True}},
        1,
    ),
    "dvae": ("dvae", {"tokenizer": DVAE}, 1),
    "vqvae": ("vqvae", {"tokenizer": VQVAE}, 1),
    "slot_former": ("slot_former", {**SLOTS, "dynamics": ROLLOUT}, 4),
    "slot_former_images": (
        "slot_former",
        {**SLOTS, "dynamics": ROLLOUT, "decoder": {"type": "diffusion", **DIFFUSION},
         "image_loss_weight": 1.0},
        4,
    ),
    "relation_readout": (
        "relation_readout",
        {**SLOTS, "readout": {"num_layers": 1, "hidden_dim": 16}},
        4,
    ),
}  # fmt: skip


def prepared(family: str) -> HubModel:
    """The model with weights that have moved away from where they begin."""
    preset, changes, _ = FAMILIES[family]
    if not preset.endswith(("former", "readout")) or "decoder" in changes:
        changes = {**changes, "preprocessing": {"image_size": [16, 16]}}
    torch.manual_seed(0)
    model = build_model(presets.configure(preset, changes, source=family))
    model.train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.01)
    for step in range(2):
        loss_of(model, family, range(BATCH), step).backward()
        optimizer.step()
        optimizer.zero_grad()
    return model


def inputs(family: str) -> tuple[Tensor, ...]:
    """The whole batch; what kind of tensors, the family says."""
    preset, changes, frames = FAMILIES[family]
    generator = torch.Generator().manual_seed(1)
    slots = torch.randn(BATCH, frames, 3, 16, generator=generator)
    video = torch.rand(BATCH, frames, 3, 16, 16, generator=generator)
    if preset == "slot_former":
        return (slots, video) if "decoder" in changes else (slots,)
    if preset == "relation_readout":
        return slots, torch.tensor([True, False, False, True])
    return (video,)


def loss_of(called: nn.Module, family: str, rows: range, step: int) -> Tensor:
    """The training loss of some samples of the batch, as train.py asks for it."""
    some = [whole[rows.start : rows.stop] for whole in inputs(family)]
    own = sample_generators(3, step, [f"sample {row}" for row in rows])
    return called(*some, generator=own, progress=step / 20).total


def gradients(model: nn.Module) -> dict[str, Tensor]:
    """Of all weights that have one."""
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
