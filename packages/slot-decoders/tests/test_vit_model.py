"""A model on a pre-trained backbone: it trains around it, and travels with it."""

import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from slot_core import ConfigError
from slot_core.backbones import ViT
from slot_core.backbones.vit import VARIANTS
from slot_decoders.models import SlotAutoencoder, SlotAutoencoderConfig, build_model, load_model
from slot_decoders.models.build import build_backbone
from slot_decoders.models.configs import ViTConfig

VIT = {
    "type": "vit",
    "patch_size": 4,
    "hidden_dim": 12,
    "num_layers": 1,
    "num_heads": 2,
    "mlp_ratio": 3,
    "image_size": 8,
}


def configure(**changes: Any) -> SlotAutoencoderConfig:
    described = {
        "num_slots": 3,
        "slot_dim": 8,
        "preprocessing": {"image_size": [16, 16]},
        "encoder": {"backbone": {**VIT, **changes}},
        "decoder": {"type": "spatial_broadcast", "channels": [4], "kernel_size": 3},
    }
    return SlotAutoencoderConfig.parse(described, source="test")


def train_a_step(model: SlotAutoencoder, video: Tensor) -> tuple[dict, dict]:
    """The backbone's weights and the others', before and after."""
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.Adam(model.train().parameters(), lr=1e-2)
    model(video).total.backward()
    optimizer.step()
    return before, model.state_dict()


@pytest.mark.parametrize("kind", ["dino", "dinov2"])
def test_a_step_of_training_leaves_a_frozen_vit_as_it_was(kind: str, video: Tensor):
    model = build_model(configure(kind=kind))
    before, after = train_a_step(model, video)
    assert all(parameter.grad is None for parameter in model.encoder.backbone.parameters())
    for name, value in after.items():
        frozen = name.startswith("encoder.backbone.")
        assert torch.equal(value, before[name]) == frozen, name


def test_a_step_of_training_changes_a_vit_that_is_not_frozen(video: Tensor):
    model = build_model(configure(frozen=False))
    before, after = train_a_step(model, video)
    still = [name for name in after if torch.equal(after[name], before[name])]
    # A bias of the keys adds the same to all of a query's scores, so its gradient vanishes.
    assert [name for name in still if not name.endswith("attention.key.bias")] == []


def test_the_methods_leave_the_frozen_vit_in_eval_mode(video: Tensor):
    model = build_model(configure()).train()
    masks = model.segment(video, source="encoder")
    assert masks.shape == (2, 2, 3, 16, 16)
    assert model.training
    assert not any(module.training for module in model.encoder.backbone.modules())


def test_a_checkpoint_holds_the_backbone_and_loads_without_a_network(
    tmp_path: Path, video: Tensor, monkeypatch: pytest.MonkeyPatch
):
    model = build_model(configure()).eval()
    model.save_pretrained(tmp_path)

    def refuse(*_: object) -> None:
        raise AssertionError("a network was asked for")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    loaded = load_model(tmp_path)
    assert loaded.config == model.config
    assert isinstance(loaded.encoder.backbone, ViT)
    assert loaded.state_dict().keys() == model.state_dict().keys()
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name
    assert torch.equal(loaded.segment(video), model.segment(video))


def test_every_value_reaches_the_backbone():
    backbone = build_backbone(ViTConfig(**VIT, kind="dinov2", frozen=False), (224, 224))
    shapes = {name: tuple(value.shape) for name, value in backbone.state_dict().items()}
    assert shapes["embeddings.patch_embeddings.projection.weight"] == (12, 3, 4, 4)
    assert shapes["embeddings.position_embeddings"] == (1, 1 + 2 * 2, 12)
    assert shapes["encoder.layer.0.mlp.fc1.weight"] == (36, 12)
    assert "encoder.layer.0.layer_scale1.lambda1" in shapes
    assert "encoder.layer.1.layer_scale1.lambda1" not in shapes
    assert backbone.network.config.num_attention_heads == 2  # pyright: ignore[reportAttributeAccessIssue]: transformers'
    assert all(parameter.requires_grad for parameter in backbone.parameters())


@pytest.mark.parametrize("name", VARIANTS)
def test_a_published_network_is_a_configuration(name: str):
    config = ViTConfig(**VARIANTS[name])
    assert config.frozen
    assert config.model_dump().items() >= VARIANTS[name].items()


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "heads": ({"num_heads": 5}, "'hidden_dim' is 12, expected a multiple of 'num_heads', 5"),
    "positions": ({"image_size": 9}, "'image_size' is 9, expected a multiple of 'patch_size', 4"),
    "pictures": (
        {"patch_size": 5, "image_size": 10},
        "given pictures of 16x16, expected multiples of the 'patch_size' of its backbone, 5",
    ),
    "kind": ({"kind": "clip"}, "key 'encoder.backbone.kind' has the value 'clip'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_sizes_that_do_not_fit_are_refused(case: str):
    changes, sentence = REFUSED[case]
    with pytest.raises(ConfigError, match=sentence) as caught:
        configure(**changes)
    assert "\n" not in str(caught.value)


def test_the_encoders_own_picture_size_counts():
    """Where the encoder has one, the decoder's pictures need no whole patches."""
    described = configure().model_dump(mode="json")
    described["preprocessing"]["image_size"] = [18, 18]
    described["decoder"]["broadcast_size"] = [9, 9]
    with pytest.raises(ConfigError, match="given pictures of 18x18"):
        SlotAutoencoderConfig.parse(described, source="test")
    described["encoder"]["preprocessing"] = {"image_size": [12, 20]}
    model = build_model(SlotAutoencoderConfig.parse(described, source="test"))
    encoded = model.encode(torch.rand(1, 1, 3, 18, 18))
    assert encoded.feature_size == (3, 5)
