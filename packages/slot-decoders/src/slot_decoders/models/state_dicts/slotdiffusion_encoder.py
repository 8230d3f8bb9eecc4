"""The encoder that all systems of the SlotDiffusion code share, in our terms.

Its constructor arguments (``resolution``, ``slot_dict``, ``enc_dict``, ``eps``) become our
configuration, and the names of its weights ours. Systems for videos add what
``slotdiffusion_video.py`` describes.

Where its code states no value, its rule is spelled out: pictures are in [-1, 1]; the first of the
plain convolutions has stride 2 where the picture is higher than 64 pixels; a ResNet whose fourth
stage is left out has three.
"""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from slot_core import StrictConfig
from slot_core.backbones.resnet import BLOCKS
from slot_decoders.models.configs import (
    BackboneConfig,
    CNNConfig,
    EncoderConfig,
    KernelSize,
    PreprocessingConfig,
    ResNetConfig,
    Size,
    SlotAttentionConfig,
    TokenFeaturesConfig,
    ViTConfig,
)
from slot_decoders.models.state_dicts import slotdiffusion_dino as dino
from slot_decoders.models.state_dicts.mapping import Implied

# Larger pictures are halved by the first of the plain convolutions.
LARGEST_UNHALVED_HEIGHT = 64

IGNORED = {
    "encoder_pos_embedding.grid": "positions, which follow from the size of the features",
    **dino.IGNORED,
}


class SlotArguments(StrictConfig):
    """``slot_dict``."""

    num_slots: PositiveInt
    slot_size: PositiveInt
    slot_mlp_size: PositiveInt
    num_iterations: PositiveInt


class EncoderArguments(StrictConfig):
    """``enc_dict``: a ResNet where ``resnet`` names one, DINO's ViT where ``dino`` does, plain
    convolutions otherwise."""

    enc_out_channels: PositiveInt
    resnet: Literal["resnet18", "resnet34"] | None = None
    use_layer4: bool | None = None
    replace_stride_with_dilation: tuple[Literal[False], Literal[False], Literal[False]] | None = (
        None
    )
    dino: str | None = None
    patch_size: Literal[8, 16] | None = None
    small_size: bool | None = None
    resolution: Size | None = None
    enc_channels: tuple[PositiveInt, ...] | None = Field(default=None, min_length=2)
    enc_ks: KernelSize | None = None
    enc_norm: Literal[""] | None = None

    @model_validator(mode="after")
    def _states_one_backbone(self) -> EncoderArguments:
        kind, needed = "plain convolutions", ("enc_channels", "enc_ks", "enc_norm")
        if self.resnet is not None:
            kind, needed = self.resnet, ("use_layer4",)
        elif self.dino is not None:
            kind, needed = self.dino, ("patch_size", "small_size")
        for key in needed:
            if getattr(self, key) is None:
                raise ValueError(f"'{key}' is missing; expected for an encoder of {kind}")
        if self.enc_channels is not None and self.enc_channels[0] != 3:
            raise ValueError(f"'enc_channels' begins with {self.enc_channels[0]}, expected 3")
        return self


class EncoderSide(StrictConfig):
    """The constructor arguments that all systems have; ``dec_dict`` comes with the system."""

    resolution: Size
    slot_dict: SlotArguments
    enc_dict: EncoderArguments
    eps: PositiveFloat = 1e-6

    @model_validator(mode="after")
    def _encodes_its_pictures(self) -> EncoderSide:
        stated = self.enc_dict.resolution
        if stated is not None and stated != self.resolution:
            raise ValueError(
                f"'enc_dict.resolution' is {stated}, expected 'resolution', {self.resolution}"
            )
        return self

    def shared(self) -> dict[str, Any]:
        """The part of our model's configuration that the encoder decides."""
        slots, width = self.slot_dict, self.enc_dict.enc_out_channels
        corrector = SlotAttentionConfig(
            hidden_dim=slots.slot_mlp_size, num_iterations=slots.num_iterations, epsilon=self.eps
        )
        return {
            "num_slots": slots.num_slots,
            "slot_dim": slots.slot_size,
            "preprocessing": PreprocessingConfig(
                image_size=self.resolution, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)
            ),
            "encoder": EncoderConfig(
                backbone=self.backbone(),
                projection_dim=None if width == slots.slot_size else width,
                corrector=corrector,
            ),
        }

    def backbone(self) -> BackboneConfig:
        """Our backbone for ``enc_dict``."""
        encoder = self.enc_dict
        if encoder.resnet is not None:
            depth = 18 if encoder.resnet == "resnet18" else 34
            return ResNetConfig(depth=depth, num_stages=4 if encoder.use_layer4 else 3)
        if encoder.dino is not None:
            assert encoder.patch_size is not None
            assert encoder.small_size is not None
            return dino.dino_config(patch_size=encoder.patch_size, small_size=encoder.small_size)
        assert encoder.enc_channels is not None
        assert encoder.enc_ks is not None
        return CNNConfig(
            channels=encoder.enc_channels[1:],  # the first is the picture's
            strides=(2,) if self.resolution[0] > LARGEST_UNHALVED_HEIGHT else (),
            kernel_size=encoder.enc_ks,
        )


def encoder_names(config: EncoderConfig) -> dict[str, str]:
    """Our encoder's modules -> theirs."""
    return {
        **backbone_names(config.backbone),
        "encoder.position_embedding.linear": "encoder_pos_embedding.dense",
        "encoder.projection": "encoder_out_layer",
        "encoder.initializer.slots": "init_latents",
        "encoder.corrector.norm_features": "slot_attention.norm_inputs",
        "encoder.corrector.norm_slots": "slot_attention.project_q.0",
        "encoder.corrector.to_query": "slot_attention.project_q.1",
        "encoder.corrector.to_key": "slot_attention.project_k",
        "encoder.corrector.to_value": "slot_attention.project_v",
        "encoder.corrector.gru": "slot_attention.gru",
        "encoder.corrector.mlp": "slot_attention.mlp",
    }


def encoder_implied(config: EncoderConfig, preprocessing: PreprocessingConfig) -> Implied:
    """Shape of the positions: of the features of pictures that are prepared in this way."""
    preprocessing = config.preprocessing or preprocessing
    backbone = config.backbone
    if isinstance(backbone, TokenFeaturesConfig):
        return {}
    if isinstance(backbone, ViTConfig):
        size = [side // backbone.patch_size for side in preprocessing.image_size]
    else:
        size = list(preprocessing.image_size)
        if isinstance(backbone, CNNConfig):
            strides = backbone.strides
        else:
            strides = (2,) * (backbone.num_stages - 1)
        for stride in strides:
            size = [math.ceil(side / stride) for side in size]
    return {"encoder_pos_embedding.grid": (1, *size, 4)}


def backbone_names(config: BackboneConfig) -> dict[str, str]:
    """Our backbone's modules -> theirs; none for one that it has not."""
    if isinstance(config, ViTConfig):
        return dino.dino_names(config)
    if isinstance(config, TokenFeaturesConfig):
        return {}
    return cnn_names(config) if isinstance(config, CNNConfig) else resnet_names(config)


def cnn_names(config: CNNConfig) -> dict[str, str]:
    """Plain convolutions: theirs are blocks of three, ours alternate with ReLUs."""
    layers = range(len(config.channels))
    return {f"encoder.backbone.layers.{2 * i}": f"encoder.{i}.0" for i in layers}


def resnet_names(config: ResNetConfig) -> dict[str, str]:
    """ResNet: theirs has torchvision's names, in which a group norm is still called ``bn``."""
    names = {
        "encoder.backbone.stem": "encoder.conv1",
        "encoder.backbone.stem_norm": "encoder.bn1",
    }
    for stage in range(config.num_stages):
        for block in range(BLOCKS[config.depth][stage]):
            ours = f"encoder.backbone.stages.{stage}.{block}"
            theirs = f"encoder.layer{stage + 1}.{block}"
            names |= {
                f"{ours}.conv1": f"{theirs}.conv1",
                f"{ours}.norm1": f"{theirs}.bn1",
                f"{ours}.conv2": f"{theirs}.conv2",
                f"{ours}.norm2": f"{theirs}.bn2",
                f"{ours}.shortcut": f"{theirs}.downsample",
            }
    return names
