"""The mixture decoder over features against a textbook loop, and inside the model that uses it."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slot_core import ConfigError, InputError
from slot_decoders import FeatureMLPDecoder
from slot_decoders.models import SlotAutoencoder, presets

VIT = {"patch_size": 4, "hidden_dim": 12, "num_layers": 1, "num_heads": 2, "image_size": 8}
TINY: dict[str, Any] = {
    "num_slots": 3,
    "slot_dim": 8,
    "encoder": {
        "backbone": VIT,
        "projection_hidden_dim": 12,
        "corrector": {"hidden_dim": 16},
    },
    "decoder": {"hidden_dim": 16},
}


def decoder(**options: int) -> FeatureMLPDecoder:
    torch.manual_seed(0)
    made = FeatureMLPDecoder(5, 6, (2, 3), **{"hidden_dim": 7, **options})
    with torch.no_grad():  # also where it begins at zero
        for parameter in made.parameters():
            parameter.normal_()
    return made


@pytest.fixture
def slots() -> Tensor:
    return torch.randn(2, 2, 3, 5, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def model() -> SlotAutoencoder:
    torch.manual_seed(2)
    return presets.dinosaur(image_size=16, **TINY)


# --- the block ----------------------------------------------------------------------------------


@pytest.mark.parametrize("num_layers", [2, 4])
def test_each_pair_of_slot_and_place_is_decoded_on_its_own_and_then_mixed(
    slots: Tensor, num_layers: int
):
    made = decoder(num_layers=num_layers)
    decoded = made.decode(slots)
    assert decoded.masks is not None
    assert decoded.masks.shape == (2, 2, 3, 2, 3)
    assert decoded.reconstruction.shape == (2, 2, 6, 2, 3)
    linear = [made.first, *(layer for layer in made.layers if isinstance(layer, nn.Linear))]
    assert len(linear) == num_layers
    for batch, time, row, column in torch.cartesian_prod(*map(torch.arange, (2, 2, 2, 3))).tolist():
        made_of = []
        for slot in slots[batch, time]:
            x = slot + made.places[3 * row + column]
            for layer in linear[:-1]:
                x = F.relu(layer(x))
            made_of.append(linear[-1](x))
        features, logits = torch.stack(made_of)[:, :-1], torch.stack(made_of)[:, -1]
        masks = logits.exp() / logits.exp().sum()
        place = (batch, time, slice(None), row, column)
        torch.testing.assert_close(decoded.masks[place], masks, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(
            decoded.reconstruction[place], masks @ features, atol=1e-5, rtol=1e-4
        )


def test_the_loss_is_the_squared_error_of_the_features(slots: Tensor):
    made = decoder()
    target = torch.randn(2, 2, 6, 2, 3)
    losses = made(slots, target)
    expected = (made.decode(slots).reconstruction - target).square().mean()
    torch.testing.assert_close(losses.total, expected)
    assert losses.parts.keys() == {"features"}
    losses.total.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in made.parameters())


def test_it_begins_without_biases_and_with_places_that_hardly_matter():
    made = FeatureMLPDecoder(64, 32, (8, 8), hidden_dim=64)
    biases = [value for name, value in made.named_parameters() if name.endswith("bias")]
    assert len(biases) == 4
    assert not any(bias.any() for bias in biases)
    assert made.places.std().item() == pytest.approx(0.02, rel=0.05)


def test_masks_sum_to_one_in_half_precision(slots: Tensor):
    with torch.autocast("cpu", torch.bfloat16):
        losses = decoder()(slots, torch.randn(2, 2, 6, 2, 3))
    assert losses.decoded is not None
    assert losses.decoded.masks is not None
    assert losses.total.dtype == losses.decoded.masks.dtype == torch.float32
    torch.testing.assert_close(losses.decoded.masks.sum(2), torch.ones(2, 2, 2, 3))


def test_what_does_not_fit_is_refused(slots: Tensor):
    with pytest.raises(ConfigError, match="num_layers is 1, expected at least 2"):
        decoder(num_layers=1)
    with pytest.raises(InputError, match=r"the slots have the shape \[2, 2, 3, 4\], expected"):
        decoder().decode(slots[..., 1:])
    with pytest.raises(InputError, match=r"\[2, 2, 6, 3, 2\], expected \[2, 2, 6, 2, 3\]"):
        decoder()(slots, torch.randn(2, 2, 6, 3, 2))


# --- the model ----------------------------------------------------------------------------------


def test_it_decodes_towards_what_the_frozen_backbone_makes(model: SlotAutoencoder, video: Tensor):
    """Once for encoder and target, and not at all where it is known."""
    calls: list[int] = []
    model.encoder.backbone.register_forward_hook(lambda *_: calls.append(1))
    own = torch.Generator
    losses = model(video, generator=own().manual_seed(3))
    assert len(calls) == 1
    target = model.encoder.maps(video)
    slots = model.encoder(video, generator=own().manual_seed(3)).slots
    torch.testing.assert_close(losses.total, model.decoder(slots, target).total)
    known = model.look_ahead(video)
    assert known.keys() == {"maps"}
    calls.clear()
    again = model(video, generator=own().manual_seed(3), known=known)
    assert not calls
    torch.testing.assert_close(again.total, losses.total)


def test_gradients_reach_every_weight_but_the_backbones(model: SlotAutoencoder, video: Tensor):
    model(video).total.backward()
    for name, parameter in model.named_parameters():
        reached = parameter.grad is not None and bool(parameter.grad.any())
        assert reached != name.startswith("encoder.backbone."), name


def test_a_backbone_that_learns_is_no_target(video: Tensor):
    learning = presets.dinosaur(
        image_size=16, **TINY | {"encoder": {"backbone": {**VIT, "frozen": False}}}
    )
    with pytest.raises(InputError, match=r"FeatureMLPDecoder decodes .* the backbone learns"):
        learning(video)
    learning.encoder.backbone.requires_grad_(requires_grad=False)
    assert learning(video).total.isfinite()


def test_it_segments_by_the_decoders_masks_and_paints_nothing(
    model: SlotAutoencoder, video: Tensor
):
    own = torch.Generator
    masks = model.segment(video, generator=own().manual_seed(3))
    assert masks.shape == (*video.shape[:2], 3, *video.shape[-2:])
    expected = model.segment(video, source="decoder", generator=own().manual_seed(3))
    assert torch.equal(masks, expected)
    assert not model.paints
    with pytest.raises(InputError, match="FeatureMLPDecoder makes features of each place"):
        model.reconstruct(video)


def test_the_backbone_may_be_any_that_is_frozen(video: Tensor):
    """The decoder has the size of its maps, whatever the strides."""
    cnn = {"type": "cnn", "channels": [6, 10], "strides": [2, 2], "kernel_size": 3}
    encoder = {**TINY["encoder"], "backbone": cnn, "preprocessing": {"image_size": [20, 12]}}
    model = presets.dinosaur(image_size=16, **TINY | {"encoder": encoder})
    model.encoder.backbone.requires_grad_(requires_grad=False)
    assert model.decoder.grid_size == (5, 3)
    assert model.decoder.feature_dim == 10
    model(video).total.backward()


def test_videos_are_followed_by_a_predictor(video: Tensor):
    predictor = {"type": "transformer", "num_layers": 1, "hidden_dim": 8, "num_heads": 2}
    followed = presets.dinosaur(
        image_size=16, **TINY | {"encoder": {**TINY["encoder"], "predictor": predictor}}
    )
    followed(video).total.backward()
    assert followed.segment(video).shape[:3] == (*video.shape[:2], 3)


def test_some_steps_of_training_lower_the_loss(model: SlotAutoencoder):
    video = torch.zeros(2, 1, 3, 16, 16)
    video[0, :, :, :, 8:], video[1, :, 0, 8:] = 1.0, 1.0
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = model(video, generator=torch.Generator().manual_seed(1)).total
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_predicted_slots_are_not_painted_by_it():
    decoder = {"type": "feature_mlp"}
    with pytest.raises(ConfigError, match=r"decoder.*feature_mlp"):
        presets.slot_former(decoder=decoder)
