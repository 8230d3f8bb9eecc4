"""Vision transformers that were trained without labels (Dosovitskiy et al. 2021, 2010.11929).

DINO (Caron et al. 2021, arXiv 2104.14294) and DINOv2 (Oquab et al. 2024, arXiv 2304.07193): the
patch tokens, without the class token, laid out as a map. SlotDiffusion takes them, frozen, after
the last layer norm, the code of DINOSAUR (Seitzer et al. 2023, arXiv 2209.14860) before it
(``final_norm``). Where the frames have
another size than the pictures of the pre-training, the position embeddings are interpolated
(bicubic, as in the code of both papers); SlotDiffusion's code takes 224x224 pixels alone.

The network is that of transformers, which takes seconds to import and is therefore imported by
the first ViT. It renames its modules from version to version, so a state dict names the tensors
as the files on the Hub do, and checkpoints outlive the version that wrote them.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from slot_core.errors import InputError
from slot_core.recomputing import recompute_methods

Kind = Literal["dino", "dinov2"]

# The published networks, as arguments of ViT; all have 12 layers. DINOv2 was trained at 224 pixels
# and at last at 518, which its position embeddings are for.
SMALL, BASE = {"hidden_dim": 384, "num_heads": 6}, {"hidden_dim": 768, "num_heads": 12}
VARIANTS: dict[str, dict[str, Any]] = {
    "dino-vits8": {"kind": "dino", "patch_size": 8, "image_size": 224, **SMALL},
    "dino-vits16": {"kind": "dino", "patch_size": 16, "image_size": 224, **SMALL},
    "dino-vitb8": {"kind": "dino", "patch_size": 8, "image_size": 224, **BASE},
    "dino-vitb16": {"kind": "dino", "patch_size": 16, "image_size": 224, **BASE},
    "dinov2-small": {"kind": "dinov2", "patch_size": 14, "image_size": 518, **SMALL},
    "dinov2-base": {"kind": "dinov2", "patch_size": 14, "image_size": 518, **BASE},
}
# Where their weights are on the Hub.
HUB_IDS = {name: f"facebook/{name}" for name in VARIANTS}

# How transformers' modules may be named -> how the files on the Hub name them.
ATTENTION_NAMES = {
    ".attention.q_proj.": ".attention.attention.query.",
    ".attention.k_proj.": ".attention.attention.key.",
    ".attention.v_proj.": ".attention.attention.value.",
    ".attention.o_proj.": ".attention.output.dense.",
}
HUB_NAMES: dict[str, dict[str, str]] = {
    "dino": {
        "layers.": "encoder.layer.",
        ".mlp.fc1.": ".intermediate.dense.",
        ".mlp.fc2.": ".output.dense.",
        **ATTENTION_NAMES,
    },
    "dinov2": ATTENTION_NAMES,
}


class ViT(nn.Module):
    """A vision transformer; freshly initialised, see ``load_pretrained`` for the published weights.

    Args:
        kind: "dino", or "dinov2", which scales each residual branch.
        patch_size: height and width of a patch in pixels.
        hidden_dim: width of a token; it becomes ``feature_dim``.
        num_layers: how many blocks.
        num_heads: of the attention; they divide ``hidden_dim``.
        mlp_ratio: how many times wider than a token the hidden layer of a block's MLP is.
        image_size: height and width of the pictures that the position embeddings are for; others
            interpolate them.
        frozen: never train: no gradients, and eval mode even while the rest trains.
        final_norm: whether the tokens pass the last layer norm, whose weights are else left out.

    Raises:
        InputError: if transformers is not installed, there is no such ``kind``, ``num_heads``
            does not divide ``hidden_dim``, or ``patch_size`` does not divide ``image_size``.
    """

    def __init__(
        self,
        *,
        kind: Kind = "dino",
        patch_size: int = 8,
        hidden_dim: int = 384,
        num_layers: int = 12,
        num_heads: int = 6,
        mlp_ratio: int = 4,
        image_size: int = 224,
        frozen: bool = True,
        final_norm: bool = True,
    ) -> None:
        super().__init__()
        if kind not in HUB_NAMES:
            raise InputError(f"no ViT is of kind '{kind}'; expected {' or '.join(HUB_NAMES)}")
        if hidden_dim % num_heads or image_size % patch_size:
            raise InputError(
                f"a ViT of hidden_dim {hidden_dim} with {num_heads} heads, for image_size "
                f"{image_size} in patches of {patch_size}, is not built; expected multiples"
            )
        self.kind: Kind = kind
        self.patch_size = patch_size
        self.frozen = frozen
        self.final_norm = final_norm
        self.feature_dim = hidden_dim
        self.network = _make_network(
            kind,
            mlp_ratio,
            patch_size=patch_size,
            hidden_size=hidden_dim,
            num_hidden_layers=num_layers,
            num_attention_heads=num_heads,
            image_size=image_size,
        )
        if not final_norm:
            self.network.layernorm = nn.Identity()
        self.network.requires_grad_(not frozen)
        self.train()
        self.register_state_dict_post_hook(_name_as_on_the_hub)
        self.register_load_state_dict_pre_hook(_name_as_in_transformers)

    def train(self, mode: bool = True) -> ViT:
        """Set training mode, from which a frozen ViT stays out."""
        super().train(mode and not self.frozen)
        return self

    def enable_gradient_checkpointing(self) -> None:
        """Recompute each block, of one that trains; see recomputing.py.

        As transformers does by itself, but also outside of training mode, and by no method of its
        that changes its name.
        """
        from transformers.modeling_layers import GradientCheckpointingLayer

        for layer in self.network.modules():
            if isinstance(layer, GradientCheckpointingLayer) and not self.frozen:
                recompute_methods(layer, "forward")

    def forward(
        self, frames: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch channels map_height map_width"]:
        """The patch tokens of normalised frames, as a map.

        Raises:
            InputError: if a side of the frames is not a multiple of ``patch_size``.
        """
        height, width = frames.shape[-2:]
        if height % self.patch_size or width % self.patch_size:
            raise InputError(
                f"the frames are {height}x{width}; expected multiples of the patch size, "
                f"{self.patch_size}"
            )
        # DINOv2's network always interpolates and knows no such option.
        options = {"interpolate_pos_encoding": True} if self.kind == "dino" else {}
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            tokens = self.network(frames, **options).last_hidden_state
        grid = (height // self.patch_size, width // self.patch_size)
        return tokens[:, 1:].transpose(1, 2).unflatten(2, grid)  # the first is the class token


def hub_name(name: str, kind: Kind) -> str:
    """The name that a tensor of transformers' network has in the files on the Hub."""
    for in_transformers, on_the_hub in HUB_NAMES[kind].items():
        name = name.replace(in_transformers, on_the_hub)
    return name


def _make_network(kind: Kind, mlp_ratio: int, **sizes: Any) -> nn.Module:
    """transformers' network without what only its other uses need: a pooler, a mask token."""
    try:
        from transformers import Dinov2Config, Dinov2Model, ViTConfig, ViTModel
    except ImportError as error:
        raise InputError(f"a ViT needs transformers: install slot-core[vit] ({error})") from None
    if kind == "dino":
        config = ViTConfig(intermediate_size=mlp_ratio * sizes["hidden_size"], **sizes)
        return ViTModel(config, add_pooling_layer=False)
    return Dinov2Model(Dinov2Config(mlp_ratio=mlp_ratio, use_mask_token=False, **sizes))


def _name_as_on_the_hub(module: nn.Module, state_dict: Any, prefix: str, *_: Any) -> None:
    assert isinstance(module, ViT)
    for name in module.network.state_dict():
        tensor = state_dict.pop(f"{prefix}network.{name}")
        state_dict[prefix + hub_name(name, module.kind)] = tensor


def _name_as_in_transformers(module: nn.Module, state_dict: Any, prefix: str, *_: Any) -> None:
    assert isinstance(module, ViT)
    for name in module.network.state_dict():
        on_the_hub = prefix + hub_name(name, module.kind)
        if on_the_hub in state_dict:
            state_dict[f"{prefix}network.{name}"] = state_dict.pop(on_the_hub)
