"""The mixture decoder against a case worked by hand, a textbook loop, and its own promises."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from slot_core import ConfigError
from slot_decoders import SpatialBroadcastDecoder


def decoder(**options) -> SpatialBroadcastDecoder:
    stated = {"channels": (4, 4), "broadcast_size": (4, 4), "kernel_size": 3, **options}
    return SpatialBroadcastDecoder(5, stated.pop("image_size", (16, 16)), **stated)


def fixed_output(components: Tensor, logits: Tensor) -> SpatialBroadcastDecoder:
    """A decoder of one colour channel whose two slots decode to given constants.

    Slot 0 is the unit vector e0 and slot 1 is e1; every layer passes these two channels on.
    """
    made = SpatialBroadcastDecoder(
        2, (2, 2), channels=(2,), broadcast_size=(2, 2), kernel_size=1, out_channels=1
    )
    output = made.output
    assert isinstance(output, torch.nn.Conv2d)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.zero_()
        dict(made.named_parameters())["layers.0.weight"].copy_(torch.eye(2)[:, :, None, None])
        output.weight.copy_(torch.stack([components, logits])[:, :, None, None])
    return made


def test_the_mixture_worked_by_hand():
    """Mask logits 0 and ln 3 make masks 1/4 and 3/4; 8 / 4 + 4 * 3 / 4 = 5."""
    made = fixed_output(components=torch.tensor([8.0, 4.0]), logits=torch.tensor([3.0, 9.0]).log())
    slots = torch.eye(2)[None, None]
    decoded = made.decode(slots)
    assert decoded.masks is not None
    assert decoded.components is not None
    ones = torch.ones(1, 1, 2, 2)
    torch.testing.assert_close(decoded.masks[:, :, 0], 0.25 * ones)
    torch.testing.assert_close(decoded.masks[:, :, 1], 0.75 * ones)
    torch.testing.assert_close(
        decoded.components[:, :, :, 0].mean((-1, -2)), torch.tensor([[[8.0, 4.0]]])
    )
    torch.testing.assert_close(decoded.reconstruction, 5 * torch.ones(1, 1, 1, 2, 2))
    # Against a target of 3 and 5 in halves: (2^2 + 0^2) / 2.
    target = torch.tensor([[3.0, 3.0], [5.0, 5.0]])[None, None, None]
    losses = made(slots, target)
    torch.testing.assert_close(losses.total, torch.tensor(2.0))
    assert losses.parts.keys() == {"reconstruction"}


def test_each_slot_is_decoded_on_its_own_and_then_mixed():
    """The batched decoder equals a loop over samples, frames and slots with plain functions."""
    made = decoder()
    slots = torch.randn(2, 2, 3, 5)
    decoded = made.decode(slots)
    assert decoded.components is not None
    assert decoded.masks is not None
    ramp = torch.linspace(0, 1, 4)
    borders = torch.stack(
        [
            ramp[:, None].repeat(1, 4),
            ramp.repeat(4, 1),
            1 - ramp[:, None].repeat(1, 4),
            1 - ramp.repeat(4, 1),
        ]
    )
    weights = dict(made.named_parameters())
    embedding = torch.einsum("fc,chw->fhw", weights["position_embedding.linear.weight"], borders)
    embedding = embedding + weights["position_embedding.linear.bias"][:, None, None]
    for sample in range(2):
        for frame in range(2):
            pictures, logits = [], []
            for slot in slots[sample, frame]:
                grid = slot[:, None, None] + embedding
                for layer in ("layers.0", "layers.2"):
                    grid = F.conv_transpose2d(
                        grid,
                        weights[f"{layer}.weight"],
                        weights[f"{layer}.bias"],
                        stride=2,
                        padding=1,
                        output_padding=1,
                    ).relu()
                grid = F.conv2d(grid, weights["output.weight"], weights["output.bias"])
                pictures.append(grid[:3])
                logits.append(grid[3])
            odds = torch.stack(logits).exp()
            masks = odds / odds.sum(0)
            mixed = sum(mask * picture for mask, picture in zip(masks, pictures, strict=True))
            torch.testing.assert_close(decoded.masks[sample, frame], masks)
            torch.testing.assert_close(decoded.reconstruction[sample, frame], mixed)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"image_size": (16, 32), "broadcast_size": (4, 8)},
        {"image_size": (12, 20), "broadcast_size": (3, 5)},
        {"image_size": (7, 5), "broadcast_size": (7, 5)},
        {"channels": (4, 6, 4, 4)},  # two layers that keep the size
        {"output_stride": 2, "channels": (4,)},
        {"output_stride": 4, "channels": (4,)},
        {"output_stride": 3, "image_size": (24, 24)},
        {"output_stride": 5, "image_size": (20, 20)},
        {"kernel_size": 1},
        {"out_channels": 1},
    ],
    ids=str,
)
def test_shapes_and_masks(options: dict):
    made = decoder(**options)
    height, width = options.get("image_size", (16, 16))
    channels = options.get("out_channels", 3)
    decoded = made.decode(torch.randn(2, 3, 4, 5))
    assert decoded.masks is not None
    assert decoded.components is not None
    assert decoded.reconstruction.shape == (2, 3, channels, height, width)
    assert decoded.components.shape == (2, 3, 4, channels, height, width)
    assert decoded.masks.shape == (2, 3, 4, height, width)
    assert (decoded.masks >= 0).all()
    torch.testing.assert_close(decoded.masks.sum(2), torch.ones(2, 3, height, width))


@pytest.mark.parametrize("stride", [2, 3, 4, 5])
def test_every_inner_pixel_of_a_strided_output_sees_as_many_inputs(stride: int):
    output = decoder(output_stride=stride, channels=(4,), image_size=(4 * stride, 4 * stride))
    layer = output.output
    assert isinstance(layer, torch.nn.ConvTranspose2d)
    with torch.no_grad():
        layer.weight.fill_(1)
        assert layer.bias is not None
        layer.bias.zero_()
        drawn = layer(torch.ones(1, 4, 4, 4))
    inner = drawn[..., stride:-stride, stride:-stride]
    assert inner.numel()
    torch.testing.assert_close(inner, inner[..., :1, :1].expand_as(inner))


def test_the_order_of_slots_changes_only_the_order_of_masks():
    made, slots, order = decoder(), torch.randn(1, 1, 4, 5), [2, 0, 3, 1]
    decoded, permuted = made.decode(slots), made.decode(slots[:, :, order])
    assert decoded.masks is not None
    assert permuted.masks is not None
    torch.testing.assert_close(permuted.masks, decoded.masks[:, :, order])
    torch.testing.assert_close(permuted.reconstruction, decoded.reconstruction)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions(dtype: torch.dtype):
    made, slots = decoder().to(dtype), torch.randn(1, 1, 4, 5, dtype=dtype)
    decoded = made.decode(slots)
    assert decoded.masks is not None
    assert decoded.reconstruction.dtype == dtype
    assert decoded.masks.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(decoded.masks.sum(2), torch.ones_like(decoded.masks[:, :, 0]))


def test_gradients_are_those_of_finite_differences():
    made = decoder(image_size=(4, 4), broadcast_size=(2, 2), channels=(2,)).double()
    target = torch.randn(1, 1, 3, 4, 4, dtype=torch.float64)
    slots = torch.randn(1, 1, 2, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda given: made(given, target).total, slots)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"channels": (4,)}, "4x4 becomes 8x8 after 1 layers and output_stride 1, expected 16x16"),
        ({"image_size": (15, 15)}, "4x4 becomes 16x16 after 2 layers .* expected 15x15"),
        ({"image_size": (16, 32)}, "4x4 becomes 16x16 after 2 layers .* expected 16x32"),
        ({"output_stride": 3}, "after 2 layers and output_stride 3, expected 16x16"),
        ({"kernel_size": 4}, "kernel_size is 4, expected an odd number"),
        ({"channels": ()}, "channels is empty, expected at least one layer"),
    ],
    ids=str,
)
def test_layers_that_do_not_arrive_are_refused(options: dict, sentence: str):
    with pytest.raises(ConfigError, match=sentence):
        decoder(**options)
