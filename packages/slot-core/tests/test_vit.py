"""Vision transformers: what they compute, that frozen ones stay so, and the names of weights."""

import copy
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
from tiny_vits import KINDS, make_vit, randomise
from torch import Tensor, nn

from slot_core import HubModel, InputError, LearnedSlots, SlotAttention, SlotEncoder, StrictConfig
from slot_core.backbones import ViT
from slot_core.backbones.vit import HUB_IDS, VARIANTS, Kind

SIZES = [(32, 32), (40, 24), (16, 64)]  # as pre-trained; another grid; as many patches, no square


def textbook(w: dict[str, Tensor], kind: Kind, frames: Tensor) -> Tensor:
    """Dosovitskiy et al. (2021), equations 1 to 4, from the names of the files on the Hub."""
    epsilon, patch_size, num_heads = {"dino": 1e-12, "dinov2": 1e-6}[kind], 8, 3
    height, width = (side // patch_size for side in frames.shape[-2:])

    def linear(name: str, x: Tensor) -> Tensor:
        return F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])

    def norm(name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], epsilon)

    cut = frames.unfold(2, patch_size, patch_size).unfold(3, patch_size, patch_size)
    patches = cut.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
    kernel = w["embeddings.patch_embeddings.projection.weight"].flatten(1)
    tokens = patches @ kernel.T + w["embeddings.patch_embeddings.projection.bias"]
    positions = w["embeddings.position_embeddings"]
    grid = positions[:, 1:].unflatten(1, (4, 4)).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=(height, width), mode="bicubic", align_corners=False)
    first = w["embeddings.cls_token"] + positions[:, :1]
    tokens = torch.cat([first.expand(len(frames), -1, -1), tokens + grid.flatten(2).mT], 1)
    for index in range(2):
        layer = f"encoder.layer.{index}"
        names = {"before": "norm1", "after": "norm2", "in": "mlp.fc1", "out": "mlp.fc2"}
        if kind == "dino":
            names = {"before": "layernorm_before", "after": "layernorm_after"}
            names |= {"in": "intermediate.dense", "out": "output.dense"}
        x = norm(f"{layer}.{names['before']}", tokens)
        query, key, value = (
            linear(f"{layer}.attention.attention.{name}", x).unflatten(-1, (num_heads, -1))
            for name in ("query", "key", "value")
        )
        scores = torch.einsum("bqhd,bkhd->bhqk", query, key) / query.shape[-1] ** 0.5
        x = torch.einsum("bhqk,bkhd->bqhd", scores.softmax(-1), value).flatten(2)
        x = linear(f"{layer}.attention.output.dense", x)
        tokens = tokens + x * w.get(f"{layer}.layer_scale1.lambda1", torch.ones(()))
        x = norm(f"{layer}.{names['after']}", tokens)
        x = linear(f"{layer}.{names['out']}", F.gelu(linear(f"{layer}.{names['in']}", x)))
        tokens = tokens + x * w.get(f"{layer}.layer_scale2.lambda1", torch.ones(()))
    return norm("layernorm", tokens)[:, 1:].mT.unflatten(2, (height, width))


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return request.param


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_features_are_those_of_the_textbook(kind: Kind, size: tuple[int, int]):
    backbone = make_vit(kind)
    randomise(backbone)
    frames = torch.randn(2, 3, *size)
    features, expected = backbone(frames), textbook(backbone.state_dict(), kind, frames)
    assert features.shape == (2, 24, size[0] // 8, size[1] // 8)
    assert backbone.feature_dim == 24
    limit = 1e-5 * expected.abs().max().item()
    torch.testing.assert_close(features, expected, atol=limit, rtol=0)


def test_the_features_before_the_last_norm(kind: Kind):
    """The textbook's, of which the last layer is then the identity; and no weights of it."""
    whole, backbone = make_vit(kind), make_vit(kind, final_norm=False)
    randomise(whole)
    weights = whole.state_dict()
    without = {name: w for name, w in weights.items() if not name.startswith("layernorm.")}
    assert len(without) == len(weights) - 2
    backbone.load_state_dict(without, strict=True)
    frames = torch.randn(2, 3, 32, 32)
    features = backbone(frames).movedim(1, -1)
    normed = F.layer_norm(
        features,
        (24,),
        weights["layernorm.weight"],
        weights["layernorm.bias"],
        {"dino": 1e-12, "dinov2": 1e-6}[kind],
    )
    torch.testing.assert_close(normed.movedim(-1, 1), whole(frames), atol=1e-5, rtol=1e-4)
    assert (normed - features).abs().max() > 0.1


def test_a_frozen_vit_takes_no_gradients_and_stays_in_eval_mode(kind: Kind):
    backbone = make_vit(kind)
    encoder = SlotEncoder(backbone, LearnedSlots(3, 8), SlotAttention(8, 8), projection_dim=8)
    for model in (backbone, encoder.train(), encoder.eval().train()):
        assert not any(module.training for module in backbone.modules())
        assert model.training == (model is encoder)
    frames = torch.randn(1, 3, 32, 32, requires_grad=True)
    assert not backbone(frames).requires_grad
    assert torch.is_grad_enabled()
    encoder(frames[:, None]).slots.sum().backward()
    assert frames.grad is None
    assert [p.requires_grad or p.grad is not None for p in backbone.parameters()].count(True) == 0
    assert all(p.grad is not None for p in encoder.projection.parameters())


def test_a_trained_vit_is_trained_everywhere(kind: Kind):
    backbone = make_vit(kind, frozen=False)
    assert all(module.training for module in backbone.train().modules())
    frames = torch.randn(1, 3, 40, 24)
    features = backbone(frames)
    torch.testing.assert_close(features, backbone.eval()(frames))  # nothing is dropped
    features.square().sum().backward()
    assert all(parameter.grad is not None for parameter in backbone.parameters())
    with torch.no_grad():
        assert not backbone(frames).requires_grad


class WithViT(HubModel):
    config_class: ClassVar[type[StrictConfig]] = StrictConfig

    def __init__(self, config: StrictConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = make_vit("dino")

    @classmethod
    def from_config(cls, config: Any) -> "WithViT":
        return cls(config)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_checkpoint_holds_it_under_the_names_of_the_hub(tmp_path: Path, dtype: torch.dtype):
    """Not under those of the installed transformers, which another version cannot read."""
    model = WithViT(StrictConfig()).to(dtype)
    names = model.state_dict().keys()
    assert "backbone.encoder.layer.1.attention.attention.query.weight" in names
    assert "backbone.encoder.layer.1.intermediate.dense.bias" in names
    assert len(names) == len(list(model.parameters()))
    model.save_pretrained(tmp_path)
    loaded = WithViT.from_pretrained(tmp_path)
    assert {parameter.dtype for parameter in loaded.parameters()} == {dtype}
    for one, other in zip(model.parameters(), loaded.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_copy_loads_what_the_first_one_has(kind: Kind):
    first = nn.Sequential(make_vit(kind))
    second = copy.deepcopy(first)
    randomise(first)
    second.load_state_dict(first.state_dict())
    frames = torch.randn(1, 3, 32, 32)
    assert torch.equal(first(frames), second(frames))
    with pytest.raises(RuntimeError, match="Missing key"):
        second.load_state_dict(
            {k: v for k, v in first.state_dict().items() if "layernorm" not in k}
        )
    with pytest.raises(RuntimeError, match="Unexpected key"):
        second.load_state_dict({**first.state_dict(), "0.pooler.dense.bias": torch.zeros(24)})


# Millions of parameters, from table 1 of the DINO paper and DINOv2's published list of models.
PUBLISHED_MILLIONS = {
    "dino-vits8": 21,
    "dino-vits16": 21,
    "dino-vitb8": 85,
    "dino-vitb16": 85,
    "dinov2-small": 22,
    "dinov2-base": 86,
}


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_has_the_published_size(name: str):
    with torch.device("meta"):
        backbone = ViT(**VARIANTS[name])
        features = backbone(torch.empty(1, 3, 224, 224))
    side = 224 // VARIANTS[name]["patch_size"]
    assert features.shape == (1, backbone.feature_dim, side, side)
    num_parameters = sum(parameter.numel() for parameter in backbone.parameters())
    assert num_parameters // 10**6 == PUBLISHED_MILLIONS[name]
    assert HUB_IDS[name] == f"facebook/{name}"


def test_what_cannot_be_cut_into_patches_is_refused(kind: Kind):
    for size, told in {(36, 32): "36x32", (32, 4): "32x4"}.items():
        with pytest.raises(InputError, match=f"frames are {told}; .* of the patch size, 8$"):
            make_vit(kind)(torch.zeros(1, 3, *size))


@pytest.mark.parametrize("changes", [{"num_heads": 5}, {"image_size": 36}], ids=str)
def test_impossible_sizes_are_refused(changes: dict[str, int]):
    with pytest.raises(InputError, match="is not built; expected multiples"):
        make_vit("dino", **changes)


@pytest.mark.usefixtures("unchecked_types")
def test_an_unknown_kind_is_refused():
    with pytest.raises(InputError, match="no ViT is of kind 'clip'; expected dino or dinov2"):
        ViT(kind="clip")  # pyright: ignore[reportArgumentType]: the mistake that is tested


def test_without_transformers_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match=r"a ViT needs transformers: install slot-core\[vit\]"):
        make_vit("dino")
