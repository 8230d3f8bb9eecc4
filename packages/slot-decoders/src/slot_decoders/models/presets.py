"""The papers as presets of one class. A recipe states only where it differs from its preset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slot_core import ConfigError
from slot_core.conditioned_slots import ConditioningKind
from slot_core.config import merge
from slot_decoders.models.build import build_model
from slot_decoders.models.configs import (
    DiffusionConfig,
    DVAEConfig,
    EncoderConfig,
    FeatureMLPConfig,
    GaussianSlotsConfig,
    ModelConfig,
    PreprocessingConfig,
    RelationReadoutConfig,
    ResNetConfig,
    SlotAttentionConfig,
    SlotAutoencoderConfig,
    SlotDynamicsConfig,
    SlotFormerConfig,
    SpatialBroadcastConfig,
    TokenizerModelConfig,
    TransformerConfig,
    TransformerPredictorConfig,
    ViTConfig,
    VQVAEConfig,
)
from slot_decoders.models.relation_readout_model import RelationReadoutModel
from slot_decoders.models.slot_autoencoder import SlotAutoencoder
from slot_decoders.models.slot_dynamics_model import SlotDynamicsModel
from slot_decoders.models.tokenizer_model import TokenizerModel

# Slot Attention as SlotDiffusion trains it on CLEVRTex: ResNet-18 instead of the paper's CNN,
# learned instead of Gaussian first slots, slots of width 192. Its dec_channels begin with the
# slot width; ours are those of the layers' outputs.
SLOT_ATTENTION = SlotAutoencoderConfig(
    num_slots=11,
    slot_dim=192,
    encoder=EncoderConfig(
        backbone=ResNetConfig(depth=18), corrector=SlotAttentionConfig(hidden_dim=384)
    ),
    decoder=SpatialBroadcastConfig(channels=(128, 128, 128, 128)),
)

# SAVi as SlotDiffusion trains it on MOVi-D and MOVi-E: without boxes and without an LSTM, two
# iterations on every frame. The paper has one iteration, conditioned first slots, a transformer
# that normalises last, and optical flow as its target.
SAVI = SlotAutoencoderConfig(
    num_slots=15,
    slot_dim=192,
    encoder=EncoderConfig(
        backbone=ResNetConfig(depth=18),
        corrector=SlotAttentionConfig(hidden_dim=384, num_iterations=2),
        predictor=TransformerPredictorConfig(num_layers=2, num_heads=4, hidden_dim=768),
    ),
    decoder=SpatialBroadcastConfig(channels=(64, 64, 64, 64)),
)

# The dVAE of SLATE and STEVE as SlotDiffusion trains it.
DVAE = TokenizerModelConfig(tokenizer=DVAEConfig())

# SlotFormer as SlotDiffusion trains it on Physion: every third frame, no loss through the decoder.
SLOT_FORMER = SlotDynamicsConfig(
    num_slots=8, slot_dim=192, stride=3, dynamics=SlotFormerConfig(hidden_dim=1024)
)

# The readout of SlotFormer and SlotDiffusion on Physion.
RELATION_READOUT = RelationReadoutConfig(num_slots=8, slot_dim=192)
# SLATE as SlotDiffusion trains it on CLEVRTex: the encoder of its Slot Attention instead of the
# paper's, learned first slots, and one head in Slot Attention.
SLATE = SLOT_ATTENTION.model_copy(update={"decoder": TransformerConfig()})

# STEVE likewise, on MOVi-D and MOVi-E.
STEVE = SAVI.model_copy(update={"decoder": TransformerConfig()})

# The VQ-VAE that SlotDiffusion trains first: its decoder has the same one, and takes its weights.
VQVAE = TokenizerModelConfig(tokenizer=VQVAEConfig())

# SlotDiffusion on CLEVRTex; the U-Net's width and where it looks at the slots are those of all its
# recipes. Its configurations state the attention by how much smaller the map is, 2, 4 and 8.
SLOT_DIFFUSION = SLOT_ATTENTION.model_copy(update={"decoder": DiffusionConfig()})

# DINOSAUR with its MLP decoder as its authors' code trains it on COCO: DINO's ViT-B/16, frozen, and
# pictures normalised as in its own training.
DINOSAUR = SlotAutoencoderConfig(
    num_slots=7,
    slot_dim=256,
    preprocessing=PreprocessingConfig(
        image_size=(224, 224), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
    ),
    encoder=EncoderConfig(
        backbone=ViTConfig(patch_size=16, hidden_dim=768, num_heads=12, final_norm=False),
        projection_hidden_dim=768,
        position_embedding=False,
        initializer=GaussianSlotsConfig(),
        corrector=SlotAttentionConfig(hidden_dim=1024, epsilon=1e-8),
    ),
    decoder=FeatureMLPConfig(hidden_dim=2048),
)

PRESETS: dict[str, ModelConfig] = {
    "slot_attention": SLOT_ATTENTION,
    "savi": SAVI,
    "dvae": DVAE,
    "slot_former": SLOT_FORMER,
    "relation_readout": RELATION_READOUT,
    "slate": SLATE,
    "steve": STEVE,
    "vqvae": VQVAE,
    "slot_diffusion": SLOT_DIFFUSION,
    "dinosaur": DINOSAUR,
}


def slot_attention(*, image_size: int | None = None, **changes: Any) -> SlotAutoencoder:
    """Slot Attention (Locatello et al. 2020) for pictures.

    Args:
        image_size: side of the square that the model works at; 128 unless given.
        changes: to the preset's configuration, nested as dictionaries:
            ``slot_attention(num_slots=7, encoder={"initializer": {"type": "gaussian"}})``.

    Raises:
        ConfigError: naming the key that does not exist or fit.
    """
    return _build("slot_attention", image_size, changes)


def savi(
    *,
    conditioning: ConditioningKind | None = None,
    image_size: int | None = None,
    **changes: Any,
) -> SlotAutoencoder:
    """SAVi (Kipf et al. 2021, arXiv 2111.12594) for videos.

    Args:
        conditioning: "boxes", "points" or "masks" of the objects in the first frame, which
            every method then takes; None for learned first slots.
        image_size: side of the square that the model works at; 128 unless given.
        changes: as for ``slot_attention``: ``savi(encoder={"predictor": {"recurrent_dim": 384}})``.

    Raises:
        ConfigError: naming the key that does not exist or fit.
    """
    if conditioning is not None:
        initializer = {"type": "conditioned", "on": conditioning}
        changes = merge({"encoder": {"initializer": initializer}}, changes)
    return _build("savi", image_size, changes)


def dvae(*, image_size: int | None = None, **changes: Any) -> TokenizerModel:
    """The discrete VAE of SLATE (Singh et al. 2021, arXiv 2110.11405, section 3.1).

    Args:
        image_size: side of the square that the model works at; 128 unless given.
        changes: as for ``slot_attention``: ``dvae(tokenizer={"vocab_size": 512})``.

    Raises:
        ConfigError: naming the key that does not exist or fit.
    """
    return _build("dvae", image_size, changes)


def slate(*, image_size: int | None = None, **changes: Any) -> SlotAutoencoder:
    """SLATE (Singh et al. 2021, arXiv 2110.11405) for pictures; its tokenizer comes untrained.

    Args:
        image_size: side of the square that the model works at; 128 unless given.
        changes: as for ``slot_attention``: ``slate(decoder={"permuted_orders": True})``.

    Raises:
        ConfigError: naming the key that does not exist or fit.
    """
    return _build("slate", image_size, changes)


def steve(*, image_size: int | None = None, **changes: Any) -> SlotAutoencoder:
    """STEVE (Singh et al. 2022, arXiv 2205.14065) for videos; its tokenizer comes untrained.

    Args:
        image_size: side of the square that the model works at; 128 unless given.
        changes: as for ``slot_attention``: ``steve(decoder={"tokenizer": {"vocab_size": 512}})``.

    Raises:
        ConfigError: naming the key that does not exist or fit.
    """
    return _build("steve", image_size, changes)


def slot_former(**changes: Any) -> SlotDynamicsModel:
    """SlotFormer (Wu et al. 2022, arXiv 2210.05861): slots of past frames to those of future ones.

    Args:
        changes: as for ``slot_attention``: ``slot_former(dynamics={"num_layers": 4})``.

    Raises:
        ConfigError: naming the key that does not exist or fit.
    """
    return _build("slot_former", None, changes)


def relation_readout(**changes: Any) -> RelationReadoutModel:
    """The readout of SlotFormer on Physion: will two objects touch?

    Args:
        changes: as for ``slot_attention``: ``relation_readout(readout={"num_layers": 2})``.

    Raises:
        ConfigError: naming the key that does not exist or fit.
    """
    return _build("relation_readout", None, changes)


def vqvae(*, image_size: int | None = None, **changes: Any) -> TokenizerModel:
    """The VQ-VAE of latent diffusion (Rombach et al. 2022) as SlotDiffusion trains it.

    Args:
        image_size: side of the square that the model works at; 128 unless given.
        changes: as for ``slot_attention``: ``vqvae(tokenizer={"perceptual_weight": 0.0})``.

    Raises:
        ConfigError: naming the key that does not exist or fit.
    """
    return _build("vqvae", image_size, changes)


def slot_diffusion(*, image_size: int | None = None, **changes: Any) -> SlotAutoencoder:
    """SlotDiffusion (Wu et al. 2023, arXiv 2305.11281) for pictures, or for videos.

    Args:
        image_size: side of the square that the model works at; 128 unless given.
        changes: as for ``slot_attention``. A predictor makes it one for videos:
            ``slot_diffusion(encoder={"predictor": {"type": "transformer"}})``; a ViT one for
            pictures of things: ``slot_diffusion(encoder={"backbone": {"type": "vit"}},
            image_size=224)``; ``decoder={"tokenizer": None}`` one that diffuses pixels.

    Raises:
        ConfigError: naming the key that does not exist or fit.
    """
    return _build("slot_diffusion", image_size, changes)


def dinosaur(*, image_size: int | None = None, **changes: Any) -> SlotAutoencoder:
    """DINOSAUR (Seitzer et al. 2023, arXiv 2209.14860); its backbone comes untrained.

    It needs a frozen backbone that was trained before (``slot_core.backbones.load_pretrained``). It
    has masks, but no pictures.

    Args:
        image_size: side of the square that the model works at; 224 unless given.
        changes: as for ``slot_attention``: ``dinosaur(decoder={"hidden_dim": 1024})``.

    Raises:
        ConfigError: naming the key that does not exist or fit.
    """
    return _build("dinosaur", image_size, changes)


def _build(name: str, image_size: int | None, changes: Mapping[str, Any]) -> Any:
    if image_size is not None:
        size = {"image_size": (image_size, image_size)}
        changes = merge({"preprocessing": size}, changes)
    return build_model(configure(name, changes, source=f"{name}()"))


def configure(name: str, changes: Mapping[str, Any], *, source: str) -> Any:
    """The preset ``name`` with ``changes``.

    Raises:
        ConfigError: if there is no such preset, or a change does not fit; ``source`` is where
            the changes come from.
    """
    if name not in PRESETS:
        raise ConfigError(f"{source}: no preset '{name}'; there are {', '.join(sorted(PRESETS))}")
    preset = PRESETS[name]
    return type(preset).parse(merge(preset.model_dump(), changes), source=source)
