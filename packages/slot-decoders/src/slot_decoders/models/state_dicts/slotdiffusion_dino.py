"""SlotDiffusion's pre-trained encoder: DINO's vision transformer, frozen, in our terms.

``patch_size`` and ``small_size`` of ``enc_dict`` say which of the four published networks it is;
the name under ``dino`` says that it is one. Its weights are in every checkpoint, under the names
that the files on the Hub have and our ``ViT`` keeps, together with a pooler that nothing uses.
"""

from __future__ import annotations

from slot_core.backbones.vit import VARIANTS
from slot_decoders.models.configs import ViTConfig

IGNORED = {
    f"encoder.dino.pooler.dense.{name}": "it summarises the class token, which is not used"
    for name in ("weight", "bias")
}


def dino_config(*, patch_size: int, small_size: bool) -> ViTConfig:
    """Our backbone for these values of ``enc_dict``."""
    width = "s" if small_size else "b"
    return ViTConfig(**VARIANTS[f"dino-vit{width}{patch_size}"], frozen=True)


def dino_names(config: ViTConfig) -> dict[str, str]:
    """Our backbone -> theirs. Of DINOv2 their code has no counterpart."""
    return {"encoder.backbone": "encoder.dino"} if config.kind == "dino" else {}
