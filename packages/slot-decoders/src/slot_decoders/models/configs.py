"""The typed configuration of every model: the one description that recipes, the command line
and ``config.json`` share. The unions, told apart by ``type``, are the registry of parts.

No value is stated that another one gives: widths that must agree are stated once.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PositiveFloat, model_validator

from slot_core import StrictConfig
from slot_core.backbones.vit import Kind as ViTKind
from slot_core.conditioned_slots import ConditioningKind
from slot_core.protocols import MaskSource
from slot_core.relation_readout import Aggregation
from slot_core.slot_dynamics import Encoding as SlotFormerEncoding

# The largest that anybody has, with room: what is larger is a mistake, or is meant to take all
# memory or time, and is refused before anything is built. Within these bounds a checkpoint is held
# to the size of its weights: slot_core.memory_budget.
Count = Annotated[int, Field(gt=0, le=4096)]  # of slots, heads, steps, frames
Depth = Annotated[int, Field(gt=0, le=256)]  # of layers
Width = Annotated[int, Field(gt=0, le=65_536)]  # of vectors
Pixels = Annotated[int, Field(gt=0, le=4096)]  # along a side
Vocabulary = Annotated[int, Field(gt=0, le=1_048_576)]
Size = tuple[Pixels, Pixels]


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError("expected an odd number")
    return value


# An even kernel would shift the picture by half a pixel, and change its size, in every layer.
KernelSize = Annotated[int, Field(gt=0, le=255), AfterValidator(_odd)]


class PreprocessingConfig(StrictConfig):
    """How a picture in [0, 1] becomes a model's input: resized, then (x - mean) / std."""

    image_size: Size = (128, 128)
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (0.5, 0.5, 0.5)


class CNNConfig(StrictConfig):
    """slot_core.backbones.CNN."""

    type: Literal["cnn"] = "cnn"
    channels: tuple[Width, ...] = Field(default=(64, 64, 64, 64), min_length=1, max_length=16)
    strides: tuple[Pixels, ...] = Field(default=(), max_length=16)
    kernel_size: KernelSize = 5

    @model_validator(mode="after")
    def _has_a_layer_for_every_stride(self) -> CNNConfig:
        if len(self.strides) > len(self.channels):
            raise ValueError(
                f"{len(self.strides)} strides for {len(self.channels)} channels, "
                f"expected at most one for each"
            )
        return self


class ResNetConfig(StrictConfig):
    """slot_core.backbones.ResNet."""

    type: Literal["resnet"] = "resnet"
    depth: Literal[18, 34] = 18
    num_stages: int = Field(default=3, ge=1, le=4)


class ViTConfig(StrictConfig):
    """slot_core.backbones.ViT; the values of published ones are in ``slot_core.backbones.vit``."""

    type: Literal["vit"] = "vit"
    kind: ViTKind = "dino"
    patch_size: Pixels = 8
    hidden_dim: Width = 384
    num_layers: Depth = 12
    num_heads: Count = 6
    mlp_ratio: Width = 4
    image_size: Pixels = 224  # of the pictures that its position embeddings are for
    frozen: bool = True
    final_norm: bool = True

    @model_validator(mode="after")
    def _has_whole_heads_and_patches(self) -> ViTConfig:
        for whole, part in (("hidden_dim", "num_heads"), ("image_size", "patch_size")):
            if getattr(self, whole) % getattr(self, part):
                raise ValueError(
                    f"'{whole}' is {getattr(self, whole)}, expected a multiple of '{part}', "
                    f"{getattr(self, part)}"
                )
        return self


class DVAEConfig(StrictConfig):
    """slot_decoders.tokenizers.DVAE."""

    type: Literal["dvae"] = "dvae"
    vocab_size: Vocabulary = 4096
    hidden_dim: Width = 64
    start_temperature: PositiveFloat = 1.0
    end_temperature: PositiveFloat = 0.1
    anneal_fraction: float = Field(default=0.15, ge=0, le=1)
    hard: bool = False
    logit_gain: PositiveFloat = 1.0
    normed: bool = True


class TokenFeaturesConfig(StrictConfig):
    """slot_decoders.TokenFeatures: SLATE's own, of the tokens that its decoder paints."""

    type: Literal["tokens"] = "tokens"
    tokenizer: DVAEConfig = DVAEConfig()
    feature_dim: Width = 192


BackboneConfig = Annotated[
    CNNConfig | ResNetConfig | ViTConfig | TokenFeaturesConfig, Field(discriminator="type")
]


class LearnedSlotsConfig(StrictConfig):
    """slot_core.LearnedSlots."""

    type: Literal["learned"] = "learned"
    std: PositiveFloat = 1.0


class GaussianSlotsConfig(StrictConfig):
    """slot_core.GaussianSlots."""

    type: Literal["gaussian"] = "gaussian"


class ClusteredSlotsConfig(StrictConfig):
    """slot_core.ClusteredSlots."""

    type: Literal["clustered"] = "clustered"
    on: ConditioningKind | None = None


class ConditionedSlotsConfig(StrictConfig):
    """slot_core.ConditionedSlots."""

    type: Literal["conditioned"] = "conditioned"
    on: ConditioningKind = "boxes"
    hidden_dim: Width = 256


InitializerConfig = Annotated[
    LearnedSlotsConfig | GaussianSlotsConfig | ClusteredSlotsConfig | ConditionedSlotsConfig,
    Field(discriminator="type"),
]


class SlotAttentionConfig(StrictConfig):
    """slot_core.SlotAttention."""

    hidden_dim: int | None = Field(default=None, ge=0, le=65_536)
    num_iterations: Count = 3
    epsilon: float = Field(default=1e-6, ge=0)
    gru: bool = True
    differentiation: Literal["unrolled", "implicit", "straight_through"] = "unrolled"
    final_mlp: bool = True
    kmeans_start: bool = False


class TransformerPredictorConfig(StrictConfig):
    """slot_core.TransformerPredictor; inside a RecurrentPredictor of width ``recurrent_dim``."""

    type: Literal["transformer"] = "transformer"
    num_layers: Depth = 2
    num_heads: Count = 4
    hidden_dim: Width | None = None
    norm_first: bool = True
    dropout: float = Field(default=0.1, ge=0, lt=1)
    identity_start: bool = False
    normed_sum: bool = False
    recurrent_dim: Width | None = None


class ResidualMLPPredictorConfig(StrictConfig):
    """slot_core.ResidualMLPPredictor; inside a RecurrentPredictor of width ``recurrent_dim``."""

    type: Literal["residual_mlp"] = "residual_mlp"
    hidden_dim: Width | None = None
    norm_first: bool = True
    recurrent_dim: Width | None = None


PredictorConfig = Annotated[
    TransformerPredictorConfig | ResidualMLPPredictorConfig, Field(discriminator="type")
]


class EncoderConfig(StrictConfig):
    """slot_core.SlotEncoder."""

    backbone: BackboneConfig = ResNetConfig()
    projection_dim: Width | None = None  # as wide as a slot
    projection_hidden_dim: Width | None = None  # as wide as the projection
    position_embedding: bool = True
    position_scale: PositiveFloat = 1.0  # of the position embedding's first weights
    initializer: InitializerConfig = LearnedSlotsConfig()
    corrector: SlotAttentionConfig = SlotAttentionConfig()
    predictor: PredictorConfig | None = None  # slots carried over as they are
    first_iterations: Count | None = None  # as many as the corrector's own
    slot_noise: float = Field(default=0.0, ge=0)
    inertia: float = Field(default=0.0, ge=0)
    preprocessing: PreprocessingConfig | None = None  # the model's own

    @model_validator(mode="after")
    def _has_gradients_everywhere(self) -> EncoderConfig:
        before = {
            "predictor": self.predictor is not None and not self.inertia,
            "initializer": isinstance(self.initializer, ConditionedSlotsConfig),
        }
        for name, learns in before.items():
            if learns and self.corrector.differentiation == "implicit":
                raise ValueError(
                    f"'differentiation' is implicit, by which no gradient reaches the '{name}', "
                    "which would stay random; expected unrolled or straight_through"
                )
        return self


class SpatialBroadcastConfig(StrictConfig):
    """slot_decoders.SpatialBroadcastDecoder."""

    type: Literal["spatial_broadcast"] = "spatial_broadcast"
    channels: tuple[Width, ...] = Field(default=(64, 64, 64, 64), min_length=1, max_length=16)
    broadcast_size: Size = (8, 8)
    kernel_size: KernelSize = 5
    output_stride: Pixels = 1


class VQVAEConfig(StrictConfig):
    """slot_decoders.VQVAE."""

    type: Literal["vqvae"] = "vqvae"
    channels: tuple[Width, ...] = Field(default=(64, 128, 256), min_length=1, max_length=16)
    layers_per_block: Depth = 2
    latent_channels: Width = 3
    vocab_size: Vocabulary = 4096
    reconstruction: Literal["l1", "mse"] = "l1"
    perceptual_weight: float = Field(default=1.0, ge=0)
    num_groups: Width = 32


class AutoencoderKLConfig(StrictConfig):
    """slot_decoders.AutoencoderKL; the usual values are Stable Diffusion's."""

    type: Literal["autoencoder_kl"] = "autoencoder_kl"
    channels: tuple[Width, ...] = Field(default=(128, 256, 512, 512), min_length=1, max_length=16)
    layers_per_block: Depth = 2
    latent_channels: Width = 4
    num_groups: Width = 32
    pointwise: bool = True
    scaling_factor: PositiveFloat = 0.18215
    shift_factor: float = 0.0
    posterior: Literal["mode", "sample"] = "mode"


class AutoencoderTinyConfig(StrictConfig):
    """slot_decoders.AutoencoderTiny; the usual values are those of TAESD."""

    type: Literal["autoencoder_tiny"] = "autoencoder_tiny"
    channels: Width = 64
    encoder_blocks: tuple[Depth, ...] = Field(default=(1, 3, 3, 3), min_length=1, max_length=16)
    decoder_blocks: tuple[Depth, ...] = Field(default=(3, 3, 3, 1), min_length=1, max_length=16)
    latent_channels: Width = 4
    scaling_factor: PositiveFloat = 1.0
    shift_factor: float = 0.0


LatentTokenizerConfig = Annotated[
    VQVAEConfig | AutoencoderKLConfig | AutoencoderTinyConfig, Field(discriminator="type")
]
# Those that are trained here, as a first stage of their own.
TokenizerConfig = Annotated[DVAEConfig | VQVAEConfig, Field(discriminator="type")]


class TokenizerModelConfig(StrictConfig):
    """slot_decoders.models.TokenizerModel: the first stage of a token or latent model."""

    preprocessing: PreprocessingConfig = PreprocessingConfig()
    tokenizer: TokenizerConfig

    @model_validator(mode="after")
    def _shows_lpips_its_colours(self) -> TokenizerModelConfig:
        colours, weight = self.preprocessing, getattr(self.tokenizer, "perceptual_weight", 0)
        if weight > 0 and {*colours.mean, *colours.std} != {0.5}:
            raise ValueError(
                "'preprocessing' has not the mean and std 0.5 throughout, which LPIPS is made for; "
                "expected those, or 'perceptual_weight' 0"
            )
        return self


class TransformerConfig(StrictConfig):
    """slot_decoders.TransformerDecoder."""

    type: Literal["transformer"] = "transformer"
    tokenizer: DVAEConfig = DVAEConfig()
    model_dim: Width | None = None  # as wide as a slot
    num_layers: Depth = 8
    num_heads: Count = 4
    dropout: float = Field(default=0.1, ge=0, lt=1)
    permuted_orders: bool = False
    reconstruction_weight: float = Field(default=0.0, ge=0)


class DenoiserConfig(StrictConfig):
    """slot_decoders.DenoiserUNet."""

    channels: tuple[Width, ...] = Field(default=(128, 256, 384, 512), min_length=1, max_length=16)
    layers_per_block: Depth = 2
    attention_levels: tuple[Annotated[int, Field(ge=0, le=16)], ...] = Field(
        default=(1, 2, 3), max_length=16
    )
    head_dim: Width = 32
    dropout: float = Field(default=0.1, ge=0, lt=1)
    num_groups: Width = 32


class NoiseConfig(StrictConfig):
    """slot_decoders.NoiseSchedule."""

    num_steps: Width = 1000
    beta_start: float = Field(default=0.0015, gt=0, lt=1)
    beta_end: float = Field(default=0.0195, gt=0, lt=1)


class DiffusionConfig(StrictConfig):
    """slot_decoders.DiffusionDecoder."""

    type: Literal["diffusion"] = "diffusion"
    tokenizer: LatentTokenizerConfig | None = VQVAEConfig()  # None: the pixels are denoised
    denoiser: DenoiserConfig = DenoiserConfig()
    target: Literal["epsilon", "x0", "v"] = "epsilon"
    noise: NoiseConfig = NoiseConfig()
    latent_scale: PositiveFloat = 1.0
    quantize_denoised: bool | None = None  # where the tokenizer can


class FeatureMLPConfig(StrictConfig):
    """slot_decoders.FeatureMLPDecoder, of the features that the encoder's backbone makes."""

    type: Literal["feature_mlp"] = "feature_mlp"
    hidden_dim: Width = 1024
    num_layers: int = Field(default=4, ge=2, le=256)


class FeatureTransformerConfig(StrictConfig):
    """slot_decoders.FeatureTransformerDecoder, of the same features."""

    type: Literal["feature_transformer"] = "feature_transformer"
    num_layers: Depth = 4
    num_heads: Count = 8
    permuted_orders: bool = False


# Those that paint pictures, and so can paint predicted slots, too.
Painter = SpatialBroadcastConfig | TransformerConfig | DiffusionConfig
PainterConfig = Annotated[Painter, Field(discriminator="type")]
WithoutMasks = TransformerConfig | DiffusionConfig
FeatureDecoder = FeatureMLPConfig | FeatureTransformerConfig
DecoderConfig = Annotated[Painter | FeatureDecoder, Field(discriminator="type")]


class SlotAutoencoderConfig(StrictConfig):
    """slot_decoders.models.SlotAutoencoder: any encoder with any decoder."""

    num_slots: Count = 11
    slot_dim: Width = 192
    preprocessing: PreprocessingConfig = PreprocessingConfig()
    encoder: EncoderConfig = EncoderConfig()
    decoder: DecoderConfig = SpatialBroadcastConfig()
    mask_source: MaskSource | None = None  # whose masks `segment` gives; as the decoder's papers

    @property
    def looks_at_its_tokens(self) -> bool:
        """Whether the encoder looks at tokens, and at those that the decoder paints."""
        own, seen = getattr(self.decoder, "tokenizer", None), self.encoder.backbone
        return isinstance(seen, TokenFeaturesConfig) and seen.tokenizer == own

    @model_validator(mode="after")
    def _has_whole_patches(self) -> SlotAutoencoderConfig:
        backbone = self.encoder.backbone
        height, width = (self.encoder.preprocessing or self.preprocessing).image_size
        if isinstance(backbone, ViTConfig) and (
            height % backbone.patch_size or width % backbone.patch_size
        ):
            raise ValueError(
                f"the encoder is given pictures of {height}x{width}, expected multiples of the "
                f"'patch_size' of its backbone, {backbone.patch_size}"
            )
        return self

    @model_validator(mode="after")
    def _has_masks(self) -> SlotAutoencoderConfig:
        if self.mask_source == "decoder" and isinstance(self.decoder, WithoutMasks):
            raise ValueError(
                f"'mask_source' is decoder, but a decoder of the type {self.decoder.type} makes no "
                "masks; expected encoder"
            )
        return self

    @model_validator(mode="after")
    def _has_features_that_stay(self) -> SlotAutoencoderConfig:
        if isinstance(self.decoder, FeatureDecoder) and self.encoder.backbone.type == "tokens":
            raise ValueError(
                f"the decoder {self.decoder.type} decodes what a frozen backbone makes, and one of "
                "the type tokens learns; expected vit, or another"
            )
        return self


# SHA-256 of a checkpoint: slot_core.fingerprint.
Fingerprint = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class SlotFormerConfig(StrictConfig):
    """slot_core.SlotFormer."""

    burn_in: Count = 15
    model_dim: Width = 256
    num_layers: Depth = 12
    num_heads: Count = 8
    hidden_dim: Width | None = None
    norm_first: bool = True
    dropout: float = Field(default=0.1, ge=0, lt=1)
    time_encoding: SlotFormerEncoding = "sine"
    slot_encoding: SlotFormerEncoding | None = None
    residual: bool = False

    @model_validator(mode="after")
    def _has_whole_heads_and_waves(self) -> SlotFormerConfig:
        for part in (self.num_heads, 2 if self._has_waves else 1):
            if self.model_dim % part:
                raise ValueError(f"'model_dim' is {self.model_dim}, expected a multiple of {part}")
        return self

    @property
    def _has_waves(self) -> bool:
        return "sine" in (self.time_encoding, self.slot_encoding)


class SlotDynamicsConfig(StrictConfig):
    """slot_decoders.models.SlotDynamicsModel: what comes after the slots of a video."""

    num_slots: Count = 8
    slot_dim: Width = 192
    slots_of: Fingerprint | None = None  # the model that found the slots; taken from the data
    stride: Count = 1  # frames from one of a clip to the next
    dynamics: SlotFormerConfig = SlotFormerConfig()
    preprocessing: PreprocessingConfig = PreprocessingConfig()
    decoder: PainterConfig | None = None  # that of the model that found the slots
    slot_loss_weight: float = Field(default=1.0, ge=0)
    image_loss_weight: float = Field(default=0.0, ge=0)
    loss_decay: float = Field(default=1.0, gt=0, le=1)

    @model_validator(mode="after")
    def _has_a_loss(self) -> SlotDynamicsConfig:
        if self.image_loss_weight and self.decoder is None:
            raise ValueError("'image_loss_weight' needs a 'decoder', which is not stated")
        if not self.image_loss_weight and not self.slot_loss_weight:
            raise ValueError("'slot_loss_weight' and 'image_loss_weight' are both 0")
        return self


class ReadoutConfig(StrictConfig):
    """slot_core.RelationReadout."""

    hidden_dim: Width = 192
    aggregation: Aggregation = "max"
    num_layers: Depth = 1
    both_orders: bool = False


class RelationReadoutConfig(StrictConfig):
    """slot_decoders.models.RelationReadoutModel: an answer about two objects of a video."""

    num_slots: int = Field(default=8, ge=2, le=4096)
    slot_dim: Width = 192
    slots_of: Fingerprint | None = None  # the model that found the slots; taken from the data
    readout: ReadoutConfig = ReadoutConfig()


# What build_model builds and a checkpoint's config.json describes.
ModelConfig = (
    SlotAutoencoderConfig | TokenizerModelConfig | SlotDynamicsConfig | RelationReadoutConfig
)
