"""Backbones: sizes, normalisation that no other picture disturbs, and what they refuse."""

from typing import Literal

import pytest
import torch
from torch import nn

from slot_core import InputError
from slot_core.backbones import CNN, ResNet


@pytest.mark.parametrize(
    ("strides", "size"), [((), (16, 24)), ((2,), (8, 12)), ((2, 1, 2), (4, 6))]
)
def test_cnn_divides_the_grid_by_its_strides(strides: tuple[int, ...], size: tuple[int, int]):
    backbone = CNN((4, 8, 6), strides=strides)
    assert backbone.feature_dim == 6
    assert backbone(torch.rand(2, 3, 16, 24)).shape == (2, 6, *size)


def test_cnn_has_a_relu_between_convolutions_and_none_after_the_last():
    backbone = CNN((4, 8, 6), kernel_size=3)
    kinds = [type(layer) for layer in backbone.layers]
    assert kinds == [nn.Conv2d, nn.ReLU, nn.Conv2d, nn.ReLU, nn.Conv2d]
    assert backbone(torch.rand(2, 3, 8, 8)).min() < 0


@pytest.mark.parametrize(
    ("depth", "num_stages", "channels", "size"),
    [(18, 1, 64, (16, 24)), (18, 3, 256, (4, 6)), (34, 3, 256, (4, 6)), (18, 4, 512, (2, 3))],
)
def test_resnet_halves_the_grid_in_each_stage_after_the_first(
    depth: Literal[18, 34], num_stages: int, channels: int, size: tuple[int, int]
):
    backbone = ResNet(depth, num_stages=num_stages)
    assert backbone.feature_dim == channels
    assert backbone(torch.rand(1, 3, 16, 24)).shape == (1, channels, *size)


@pytest.mark.parametrize(("depth", "convolutions"), [(18, 17), (34, 33)])
def test_resnet_is_as_deep_as_its_name(depth: Literal[18, 34], convolutions: int):
    """The name counts the 3x3 convolutions and the classifier, which is not part of it."""
    modules = ResNet(depth, num_stages=4).modules()
    found = [m for m in modules if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert len(found) == convolutions


def test_resnet_normalises_in_groups_only():
    kinds = {type(module).__name__ for module in ResNet().modules()}
    assert {kind for kind in kinds if "Norm" in kind} == {"GroupNorm"}


@pytest.mark.parametrize("backbone", [CNN((4, 4)), ResNet(18, num_stages=2)])
def test_features_of_a_picture_do_not_depend_on_the_batch(backbone: nn.Module):
    frames = torch.rand(3, 3, 16, 16)
    backbone.train()
    together = backbone(frames)
    torch.testing.assert_close(together[1:2], backbone(frames[1:2]), rtol=1e-4, atol=1e-5)


def test_impossible_backbones_are_refused():
    with pytest.raises(InputError, match="3 strides for 2 layers"):
        CNN((4, 4), strides=(1, 1, 2))
    with pytest.raises(InputError, match="kernel_size is 4; expected an odd number"):
        CNN((4, 4), kernel_size=4)
    with pytest.raises(InputError, match="depth 18 with 5 stages"):
        ResNet(18, num_stages=5)


@pytest.mark.usefixtures("unchecked_types")
def test_an_unknown_depth_is_refused():
    with pytest.raises(InputError, match="expected a depth of 18 or 34"):
        ResNet(50)  # pyright: ignore[reportArgumentType]: the mistake that is tested


def test_resnet_begins_as_kaiming_says_by_what_goes_out():
    torch.manual_seed(0)
    wide = [m for m in ResNet(18).modules() if isinstance(m, nn.Conv2d) and m.in_channels == 128]
    for convolution in wide:
        outputs = convolution.out_channels * convolution.weight[0, 0].numel()
        assert convolution.weight.std().item() == pytest.approx((2 / outputs) ** 0.5, rel=0.05)
