"""What the composite model promises: the training step, and methods that leave no trace."""

from collections.abc import Callable, Iterator
from typing import Any, Literal

import jaxtyping
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slot_core import DecoderOutput, InputError, LossOutput
from slot_core.config import merge
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


def test_masks_reach_a_smaller_size_without_antialiasing(model: SlotAutoencoder):
    """As in published evaluations: of 4x4 places the four in the middle count, and no others."""
    video = torch.rand(1, 1, 3, 4, 4)
    masks = model.decoder.decode(model.encode(video).slots).masks
    assert masks is not None
    middles = masks.unflatten(4, (4, 4)).unflatten(3, (4, 4))[..., 1:3, :, 1:3].mean((-3, -1))
    torch.testing.assert_close(model.segment(video, source="decoder"), middles)


def test_masks_reach_a_larger_size_between_the_middles_of_their_places(model: SlotAutoencoder):
    """Twice the size is 3/4 of a place and 1/4 of the next one; borders have nothing beyond."""
    video = torch.rand(1, 1, 3, 32, 32)
    masks = model.decoder.decode(model.encode(video).slots).masks
    assert masks is not None
    place = torch.arange(32)
    near, other = place // 2, (place // 2 + 2 * (place % 2) - 1).clamp(0, 15)
    weights = 0.75 * torch.eye(16)[near] + 0.25 * torch.eye(16)[other]
    expected = weights @ masks @ weights.T
    torch.testing.assert_close(model.segment(video, source="decoder"), expected)


def test_masks_between_two_places_are_not_tied_in_half_precision(
    model: SlotAutoencoder, monkeypatch: pytest.MonkeyPatch
):
    """Two slots differ by one step of the type at a place, so by a part of it beside that."""
    attention = torch.full((1, 3, 16, 16), 0.25, dtype=torch.bfloat16)
    attention[:, :2] = 0.375
    attention[:, 1, :, 8] += 2**-9

    def correct(features: Tensor, slots: Tensor) -> tuple[Tensor, Tensor]:
        return slots, attention.flatten(2)

    monkeypatch.setattr(model.encoder.corrector, "forward", correct)
    masks = model.bfloat16().segment(torch.rand(1, 1, 3, 16, 128), source="encoder")
    assert masks.dtype == torch.float32
    ahead = (masks[0, 0, 1] > masks[0, 0, 0]).all(0).nonzero().flatten()
    assert ahead.tolist() == list(range(60, 76))  # 8 for the place, and 4 on either side


def test_a_pixel_is_kept_if_all_that_it_is_made_of_is(model: SlotAutoencoder):
    video = torch.rand(1, 1, 3, 32, 32)
    slots, places = torch.rand(1, 1, 3, 8), torch.ones(1, 1, 32, 32, dtype=torch.bool)
    places[:, :, 10, 21] = False  # shrunk to a half, each pixel is made of 4x4
    kept = model._kept(slots, video, places).places
    assert (~kept).nonzero()[:, 2:].tolist() == [[4, 10], [4, 11], [5, 10], [5, 11]]
    for size in ((50, 30), (7, 9), (16, 16)):  # whose weights need not sum to 1 exactly
        everything = torch.ones(1, 1, *size, dtype=torch.bool)
        assert model._kept(slots, torch.rand(1, 1, 3, *size), everything).places.all()


def test_what_is_kept_has_colours(model: SlotAutoencoder):
    slots, places = torch.rand(1, 1, 3, 8), torch.ones(1, 1, 16, 16, dtype=torch.bool)
    with pytest.raises(InputError, match=r"colours of the video reach from .*; video / 255 makes"):
        model._kept(slots, torch.rand(1, 1, 3, 16, 16) * 255, places)


def test_a_video_streamed_frame_by_frame_gives_the_same_slots(
    model: SlotAutoencoder, video: Tensor
):
    batch = model.encode(video).slots
    state = None
    for time, frame in enumerate(video.unbind(1)):  # in [0, 1], as every method takes it
        slots, state = model.encoder.step(frame, state)
        torch.testing.assert_close(slots, batch[:, time])


def changed(config: SlotAutoencoderConfig, **changes: object) -> SlotAutoencoder:
    """A model with some keys different."""
    merged = merge(config.model_dump(), changes)
    return build_model(SlotAutoencoderConfig.parse(merged, source="test"))


def test_an_encoder_may_look_at_another_size_than_the_decoder_paints(
    tiny_config: SlotAutoencoderConfig, video: Tensor
):
    other = {"image_size": [8, 12], "mean": [0.1, 0.2, 0.3], "std": [0.5, 0.4, 0.3]}
    model = changed(tiny_config, encoder={"preprocessing": other})
    seen = F.interpolate(video.flatten(0, 1), (8, 12), mode="bilinear", antialias=True)
    seen = (seen - torch.tensor([0.1, 0.2, 0.3])[:, None, None]) / (
        torch.tensor([0.5, 0.4, 0.3])[:, None, None]
    )
    maps: list[Tensor] = []
    model.encoder.backbone.register_forward_pre_hook(lambda module, args: maps.append(args[0]))
    losses = model(video)
    torch.testing.assert_close(maps[0], seen)
    assert losses.attention is not None
    assert losses.attention.shape == (2, 2, 3, 8 * 12)
    assert losses.decoded is not None
    assert losses.decoded.reconstruction.shape == (2, 2, 3, 16, 16)
    torch.testing.assert_close(
        losses.total, (losses.decoded.reconstruction - (video - 0.5) / 0.5).square().mean()
    )
    assert model.segment(video, source="encoder").shape == (2, 2, 3, 16, 16)
    assert model.state_dict().keys() == build_model(tiny_config).state_dict().keys()


RECURRENT = {"type": "transformer", "num_layers": 1, "num_heads": 2, "recurrent_dim": 6}


@pytest.fixture
def follower(tiny_config: SlotAutoencoderConfig) -> SlotAutoencoder:
    """A model of videos with the most to carry over, conditioned on boxes."""
    encoder = {"predictor": RECURRENT, "initializer": {"type": "conditioned"}}
    return changed(tiny_config, encoder=encoder).train()


@pytest.fixture
def long_video() -> Tensor:
    """Seven frames of another size than the model's."""
    return torch.rand(2, 7, 3, 12, 20, generator=torch.Generator().manual_seed(2))


BOXES = torch.tensor([[[0.0, 0.1, 0.5, 0.6], [0.4, 0.4, 1.0, 0.9]]] * 2)
CLOSE = {"rtol": 0, "atol": 1e-6}


@pytest.mark.parametrize("sizes", [[7], [3, 4], [1] * 7, [2, 4, 1]], ids=str)
@pytest.mark.parametrize("source", SOURCES)
def test_a_video_in_chunks_gives_what_the_whole_gives(
    follower: SlotAutoencoder,
    long_video: Tensor,
    sizes: list[int],
    source: Literal["encoder", "decoder"],
):
    chunks = long_video.split(sizes, dim=1)
    found = list(follower.stream(chunks, BOXES, source=source, reconstruct=True))
    assert [chunk.slots.shape[1] for chunk in found] == sizes
    whole = follower.encode(long_video, BOXES)
    torch.testing.assert_close(torch.cat([c.slots for c in found], 1), whole.slots, **CLOSE)
    masks = follower.segment(long_video, BOXES, source=source)
    torch.testing.assert_close(torch.cat([c.masks for c in found], 1), masks, **CLOSE)
    again = follower.reconstruct(long_video, BOXES)
    pictures = [chunk.reconstruction for chunk in found if chunk.reconstruction is not None]
    torch.testing.assert_close(torch.cat(pictures, 1), again, **CLOSE)


def test_every_method_goes_on_from_a_state(follower: SlotAutoencoder, long_video: Tensor):
    start = follower.encode(long_video[:, :3], BOXES)
    rest = long_video[:, 3:]
    torch.testing.assert_close(
        follower.encode(rest, state=start.state).slots,
        follower.encode(long_video, BOXES).slots[:, 3:],
        **CLOSE,
    )
    torch.testing.assert_close(
        follower.segment(rest, state=start.state),
        follower.segment(long_video, BOXES)[:, 3:],
        **CLOSE,
    )
    torch.testing.assert_close(
        follower.reconstruct(rest, state=start.state),
        follower.reconstruct(long_video, BOXES)[:, 3:],
        **CLOSE,
    )


def test_a_stream_finds_a_chunk_when_it_is_asked_for_it(
    follower: SlotAutoencoder, long_video: Tensor
):
    """And between two chunks the model is as it was: still training."""
    taken: list[int] = []

    def chunks() -> Iterator[Tensor]:
        for start in range(0, 7, 2):
            taken.append(start)
            yield long_video[:, start : start + 2]

    found = follower.stream(chunks(), BOXES)
    assert taken == []
    chunk = next(found)
    assert taken == [0]
    assert chunk.reconstruction is None
    assert not chunk.slots.requires_grad
    assert follower.training
    assert follower.encoder.predictor is not None
    assert follower.encoder.predictor.training
    assert len(list(found)) == 3
    assert list(follower.stream([])) == []


def test_a_chunk_is_encoded_once_and_decoded_at_most_once(
    follower: SlotAutoencoder, long_video: Tensor
):
    calls: list[str] = []
    follower.encoder.register_forward_hook(lambda *_: calls.append("encode"))
    decode = follower.decoder.decode
    follower.decoder.decode = lambda *args: (calls.append("decode"), decode(*args))[1]
    cases: list[tuple[Literal["encoder", "decoder"], bool, list[str]]] = [
        ("encoder", False, ["encode"]),
        ("encoder", True, ["encode", "decode"]),
        ("decoder", True, ["encode", "decode"]),
    ]
    for source, reconstruct, expected in cases:
        calls.clear()
        list(follower.stream([long_video], BOXES, source=source, reconstruct=reconstruct))
        assert calls == expected


def test_random_first_slots_are_drawn_once_for_a_stream(
    tiny_config: SlotAutoencoderConfig, long_video: Tensor
):
    model = changed(tiny_config, encoder={"initializer": {"type": "gaussian"}})
    found = model.stream(long_video.split(3, 1), generator=torch.Generator().manual_seed(4))
    whole = model.encode(long_video, generator=torch.Generator().manual_seed(4))
    torch.testing.assert_close(torch.cat([c.slots for c in found], 1), whole.slots, **CLOSE)


def test_conditioning_reaches_the_first_slots(follower: SlotAutoencoder, long_video: Tensor):
    assert follower.conditioned_on == "boxes"
    slots = follower.encode(long_video, BOXES).slots
    swapped = follower.encode(long_video, BOXES.flip(1)).slots
    torch.testing.assert_close(swapped[:, :, [1, 0, 2]], slots, **CLOSE)
    assert (swapped - slots).abs().max() > 1e-3
    follower(long_video, BOXES).total.backward()
    gradients = {name: p.grad for name, p in follower.named_parameters()}
    assert [name for name, g in gradients.items() if g is None or not g.abs().sum() > 0] == []


def test_a_model_says_whether_it_is_conditioned(model: SlotAutoencoder, video: Tensor):
    assert model.conditioned_on is None
    with pytest.raises(InputError, match="this model's first slots are not conditioned"):
        model(video, BOXES)


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


@pytest.mark.parametrize("method", METHODS)
def test_colours_that_are_no_colours_are_refused_where_nothing_is_learned(
    model: SlotAutoencoder, video: Tensor, method: str
):
    with pytest.raises(InputError, match=r"expected floats in \[0, 1\].*video / 255"):
        METHODS[method](model, video * 255)
    with pytest.raises(InputError, match=r"expected floats in \[0, 1\].*video / 255"):
        next(model.stream([video * 255]))


def test_slots_of_another_shape_are_refused(
    model: SlotAutoencoder, video: Tensor, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    slots = model.encode(video).slots
    for wrong in (slots[:, 0], slots[..., 1:]):
        with pytest.raises(InputError, match=r"the slots have the shape .*, expected \[batch time"):
            model.sample(wrong)


def test_nothing_is_known_that_no_frozen_part_makes(model: SlotAutoencoder, video: Tensor):
    maps = model.encoder.maps(video)
    for name in ("maps", "codes"):
        with pytest.raises(
            InputError, match=f"is known holds {name}; .* of this model make nothin"
        ):
            model(video, known={name: maps})


class Features(nn.Module):
    """A decoder that makes features and masks of a few places, and no pictures."""

    default_mask_source, paints = "decoder", False

    def forward(self, slots: Tensor, target: Tensor, generator: Any = None) -> LossOutput:
        loss = self.decode(slots).reconstruction.square().mean()
        return LossOutput(loss, {"features": loss})

    def decode(self, slots: Tensor, generator: Any = None) -> DecoderOutput:
        batch, time, _, dim = slots.shape
        places = slots.mean(2)[..., None, None].expand(batch, time, dim, 4, 4)
        masks = slots.mean(-1).softmax(2)[..., None, None].expand(*slots.shape[:3], 4, 4)
        return DecoderOutput(places, masks)


def test_a_decoder_of_features_segments_and_says_that_it_paints_nothing(
    model: SlotAutoencoder, video: Tensor, monkeypatch: pytest.MonkeyPatch
):
    assert model.paints
    model.decoder = Features()
    assert not model.paints
    model(video).total.backward()
    masks = model.segment(video)
    torch.testing.assert_close(masks.sum(2), torch.ones_like(masks[:, :, 0]))
    monkeypatch.setattr(Features, "decode", lambda *_: pytest.fail("it decodes, then refuses"))
    for paint in (
        model.reconstruct,
        lambda video: model.sample(model.encode(video).slots),
        lambda video: next(model.stream([video], source="encoder", reconstruct=True)),
    ):
        with pytest.raises(InputError, match="the Features makes features of each place"):
            paint(video)
