"""What the composite model promises: the training step, and methods that leave no trace."""

from collections.abc import Callable
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from slot_decoders.models import SlotAutoencoder, SlotAutoencoderConfig, build_model

METHODS: dict[str, Callable[[SlotAutoencoder, Tensor], Any]] = {
    "encode": lambda model, video: model.encode(video).slots,
    "segment": lambda model, video: model.segment(video),
    "reconstruct": lambda model, video: model.reconstruct(video),
}
SOURCES: tuple[Literal["encoder", "decoder"], ...] = ("encoder", "decoder")


def test_the_training_step_is_the_error_of_the_normalised_reconstruction(
    model: SlotAutoencoder, video: Tensor
):
    losses = model(video)
    normalised = (video - 0.5) / 0.5
    assert losses.decoded is not None
    torch.testing.assert_close(
        losses.total, (losses.decoded.reconstruction - normalised).square().mean()
    )
    assert losses.parts == {"reconstruction": losses.total}


def test_gradients_reach_every_parameter(model: SlotAutoencoder, video: Tensor):
    model(video).total.backward()
    without = [
        name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0
    ]
    assert without == []


def test_gaussian_first_slots_are_learned_and_drawn_by_the_generator(
    tiny_config: SlotAutoencoderConfig, video: Tensor
):
    changed = tiny_config.model_dump()
    changed["encoder"]["initializer"] = {"type": "gaussian"}
    model = build_model(SlotAutoencoderConfig.parse(changed, source="test"))

    def drawn(seed: int) -> Tensor:
        return model.segment(video, generator=torch.Generator().manual_seed(seed))

    torch.testing.assert_close(drawn(1), drawn(1), rtol=0, atol=0)
    assert not torch.equal(drawn(1), drawn(2))
    model(video).total.backward()
    gradients = [parameter.grad for parameter in model.encoder.initializer.parameters()]
    assert [bool(g is not None and g.abs().sum() > 0) for g in gradients] == [True, True]


def test_what_is_logged_carries_no_graph(model: SlotAutoencoder, video: Tensor):
    losses = model(video)
    assert losses.slots is not None
    assert losses.attention is not None
    assert not losses.slots.requires_grad
    assert not losses.attention.requires_grad


def test_some_steps_of_training_lower_the_loss(model: SlotAutoencoder):
    video = torch.zeros(2, 1, 3, 16, 16)
    video[0, ..., 8:] = 1  # white on the right in one picture, below in the other
    video[1, ..., 8:, :] = 1
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = model(video).total
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("training", [True, False])
def test_a_method_takes_no_gradients_and_restores_every_mode(
    model: SlotAutoencoder, video: Tensor, method: str, training: bool
):
    model.train(training)
    model.encoder.backbone.eval()  # a part kept in eval while the rest trains
    modes = [module.training for module in model.modules()]
    seen = []
    hook = model.encoder.register_forward_hook(
        lambda module, *_: seen.append((module.training, torch.is_grad_enabled()))
    )
    result = METHODS[method](model, video)
    hook.remove()
    assert seen == [(False, False)]
    assert not result.requires_grad
    assert [module.training for module in model.modules()] == modes
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("method", METHODS)
def test_modes_and_gradients_are_restored_when_a_method_fails(
    model: SlotAutoencoder, video: Tensor, method: str
):
    model.train()

    def break_it(*_: object) -> None:
        raise RuntimeError("broken on purpose")

    model.encoder.corrector.register_forward_pre_hook(break_it)
    with pytest.raises(RuntimeError, match="broken on purpose"):
        METHODS[method](model, video)
    assert all(module.training for module in model.modules())
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("size", [(16, 16), (24, 40), (7, 5)], ids=str)
def test_masks_have_the_size_of_the_input_and_sum_to_one(
    model: SlotAutoencoder, source: Literal["encoder", "decoder"], size: tuple[int, int]
):
    video = torch.rand(2, 3, 3, *size)
    masks = model.segment(video, source=source)
    assert masks.shape == (2, 3, model.num_slots, *size)
    assert (masks >= 0).all()
    torch.testing.assert_close(masks.sum(2), torch.ones(2, 3, *size))


def test_the_mask_sources_are_the_attention_and_the_decoder_masks(
    model: SlotAutoencoder, video: Tensor
):
    encoded = model.encode(video)
    attention = encoded.attention.unflatten(-1, encoded.feature_size)
    torch.testing.assert_close(model.segment(video, source="encoder"), attention)
    decoded = model(video).decoded.masks
    torch.testing.assert_close(model.segment(video, source="decoder"), decoded)
    assert model.default_mask_source == "decoder"
    torch.testing.assert_close(model.segment(video), decoded)
    model.config = model.config.model_copy(update={"mask_source": "encoder"})
    assert model.default_mask_source == "encoder"
    torch.testing.assert_close(model.segment(video), attention)


@pytest.mark.parametrize("size", [(16, 16), (24, 40), (7, 5)], ids=str)
@pytest.mark.parametrize("colour", [-1e3, 1e3])
def test_reconstructions_stay_in_range_at_the_size_of_the_input(
    model: SlotAutoencoder, size: tuple[int, int], colour: float
):
    """Even where the decoder runs far over the range, and where resizing rounds."""
    output = model.decoder.output
    with torch.no_grad():
        output.bias.fill_(colour)
    again = model.reconstruct(torch.rand(1, 2, 3, *size))
    assert again.shape == (1, 2, 3, *size)
    assert again.min() >= 0
    assert again.max() <= 1
    torch.testing.assert_close(again, torch.full_like(again, float(colour > 0)))


def test_a_reconstruction_is_the_decoded_video_in_unit_range(model: SlotAutoencoder, video: Tensor):
    decoded = model(video).decoded.reconstruction
    torch.testing.assert_close(model.reconstruct(video), (decoded * 0.5 + 0.5).clamp(0, 1))


def test_a_picture_of_another_size_is_resized_before_it_is_encoded(model: SlotAutoencoder):
    """A picture of 2x2 equal pixels each, averaged, is the picture itself away from the edges;
    one of a single colour is so everywhere."""
    flat = torch.full((1, 1, 3, 50, 30), 0.25)
    encoded = model.encode(flat)
    assert encoded.attention.shape == (1, 1, 3, 16 * 16)
    torch.testing.assert_close(encoded.slots, model.encode(flat[..., :16, :16]).slots)
    small = torch.rand(1, 1, 3, 16, 16)
    doubled = small.repeat_interleave(2, -1).repeat_interleave(2, -2)
    shrunk = model.preprocessing(doubled) * 0.5 + 0.5
    assert (shrunk - small).abs().mean() < 0.5 * (shrunk - small.flip(-1)).abs().mean()


def test_a_video_streamed_frame_by_frame_gives_the_same_slots(
    model: SlotAutoencoder, video: Tensor
):
    batch = model.encode(video).slots
    state = None
    for time, frame in enumerate(model.preprocessing(video).unbind(1)):
        slots, state = model.encoder.step(frame, state)
        torch.testing.assert_close(slots, batch[:, time])


def test_building_twice_from_one_configuration_gives_the_same_model(
    tiny_config: SlotAutoencoderConfig, video: Tensor
):
    before = tiny_config.model_dump()
    made = []
    for _ in range(2):
        torch.manual_seed(3)
        made.append(build_model(tiny_config).segment(video))
    torch.testing.assert_close(made[0], made[1], rtol=0, atol=0)
    assert tiny_config.model_dump() == before
