"""The encoder: one loop over time that gives the same slots whole, in chunks and as a stream."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from slot_core import (
    ClusteredSlots,
    ConditionedSlots,
    EncoderState,
    GaussianSlots,
    InputError,
    LearnedSlots,
    RecurrentPredictor,
    ResidualMLPPredictor,
    SlotAttention,
    SlotEncoder,
    SlotOutput,
    TransformerPredictor,
)
from slot_core.backbones import CNN

CLOSE = {"rtol": 0, "atol": 1e-6}


def make_encoder(
    initializer: nn.Module | None = None, *, differentiation: Any = "unrolled", **options: Any
) -> SlotEncoder:
    torch.manual_seed(0)
    return SlotEncoder(
        CNN((6, 8), strides=(2,)),
        initializer or LearnedSlots(3, 10),
        SlotAttention(12, 10, num_iterations=2, differentiation=differentiation),
        projection_dim=12,
        **options,
    )


def remembering() -> nn.Module:
    """A transformer with an LSTM: the predictor with the most to carry."""
    torch.manual_seed(2)
    return RecurrentPredictor(TransformerPredictor(10, num_heads=2), 10, 7)


@pytest.fixture
def video() -> Tensor:
    return torch.rand(2, 5, 3, 8, 12, generator=torch.Generator().manual_seed(1))


@pytest.fixture(params=["carried over", "predicted", "predicted, with inertia"])
def encoder(request: pytest.FixtureRequest) -> SlotEncoder:
    predictor = None if request.param == "carried over" else remembering()
    inertia = 2.0 if request.param.endswith("inertia") else 0.0
    return make_encoder(predictor=predictor, inertia=inertia).eval()


def test_shapes_of_a_video(video: Tensor):
    output = make_encoder()(video)
    assert output.slots.shape == (2, 5, 3, 10)
    assert output.attention.shape == (2, 5, 3, 24)
    assert output.feature_size == (4, 6)
    torch.testing.assert_close(output.attention.sum(2), torch.ones(2, 5, 24))
    assert torch.equal(output.state.slots, output.slots[:, -1])


def test_a_picture_is_a_video_of_one_frame(encoder: SlotEncoder, video: Tensor):
    picture = encoder(video[:, :1])
    torch.testing.assert_close(picture.slots, encoder(video).slots[:, :1], **CLOSE)
    slots, _ = encoder.step(video[:, 0])
    torch.testing.assert_close(picture.slots[:, 0], slots, **CLOSE)


def test_a_stream_gives_what_the_batch_call_gives(encoder: SlotEncoder, video: Tensor):
    whole, state = encoder(video), None
    for time, frame in enumerate(video.unbind(dim=1)):
        slots, state = encoder.step(frame, state)
        torch.testing.assert_close(slots, whole.slots[:, time], **CLOSE)


@pytest.mark.parametrize("cut", [1, 3, 4])
def test_chunks_with_carried_state_give_what_the_whole_gives(
    encoder: SlotEncoder, video: Tensor, cut: int
):
    whole = encoder(video)
    start = encoder(video[:, :cut])
    end = encoder(video[:, cut:], start.state)
    torch.testing.assert_close(torch.cat([start.slots, end.slots], 1), whole.slots, **CLOSE)
    torch.testing.assert_close(
        torch.cat([start.attention, end.attention], 1), whole.attention, **CLOSE
    )
    torch.testing.assert_close(end.state.slots, whole.state.slots, **CLOSE)


def test_the_state_matters(encoder: SlotEncoder, video: Tensor):
    carried, _ = encoder.step(video[:, 1], encoder(video[:, :1]).state)
    fresh, _ = encoder.step(video[:, 1])
    assert (carried - fresh).abs().max() > 1e-2


def test_features_are_those_of_each_frame_alone_from_one_call_of_the_backbone(video: Tensor):
    encoder = make_encoder()
    calls: list[torch.Size] = []
    encoder.backbone.register_forward_hook(lambda module, args, out: calls.append(args[0].shape))
    features, size = encoder.features(video)
    assert calls == [(10, 3, 8, 12)]
    assert features.shape == (2, 5, 24, 12)
    assert size == (4, 6)
    for time in range(5):
        alone, _ = encoder.features(video[:, time : time + 1])
        torch.testing.assert_close(features[:, time : time + 1], alone, **CLOSE)
    encoder(video)
    assert calls[-1] == (10, 3, 8, 12)


def test_features_are_projected_position_by_position(video: Tensor):
    encoder = make_encoder()
    maps = encoder.position_embedding(encoder.backbone(video[:, 0]))
    expected = encoder.projection(maps[:, :, 2, 3])  # row 2 and column 3 of a grid 6 wide
    features, _ = encoder.features(video[:, :1])
    torch.testing.assert_close(features[:, 0, 2 * 6 + 3], expected, **CLOSE)


def test_features_that_know_their_place_are_told_none(video: Tensor):
    """As in DINOSAUR, with a layer between of another width."""
    encoder = make_encoder(position_embedding=False, projection_hidden_dim=20)
    assert not list(encoder.position_embedding.parameters())
    widths = [layer.out_features for layer in encoder.projection if isinstance(layer, nn.Linear)]
    assert widths == [20, 12]
    frame = encoder.backbone(video[:, 0])
    features, _ = encoder.features(video[:, :1])
    expected = encoder.projection(frame.flatten(2).mT)
    torch.testing.assert_close(features[:, 0], expected, **CLOSE)


def test_random_first_slots_are_drawn_once_for_a_video(video: Tensor):
    encoder = make_encoder(GaussianSlots(3, 10))

    def run() -> SlotOutput:
        return encoder(video, generator=torch.Generator().manual_seed(5))

    assert torch.equal(run().slots, run().slots)
    generator, state, slots = torch.Generator().manual_seed(5), None, []
    for frame in video.unbind(dim=1):
        corrected, state = encoder.step(frame, state, generator)
        slots.append(corrected)
    torch.testing.assert_close(torch.stack(slots, 1), run().slots, **CLOSE)


def test_the_theory_frame_by_frame(video: Tensor):
    """Prediction between frames and correction on each, spelled out."""
    encoder = make_encoder(predictor=remembering(), first_iterations=3).eval()
    assert encoder.predictor is not None
    features, _ = encoder.features(video)
    slots = encoder.initializer(features[:, 0])
    memory: Any = None
    expected = []
    for time in range(5):
        if time:
            slots, memory = encoder.predictor(slots, memory)
        for _ in range(2 if time else 3):
            slots, _ = encoder.corrector(features[:, time], slots, 1)
        expected.append(slots)
    output = encoder(video)
    torch.testing.assert_close(output.slots, torch.stack(expected, 1), **CLOSE)
    torch.testing.assert_close(output.state.predictor.cell, memory.cell, **CLOSE)


def test_inertia_holds_a_slot_that_wins_little_and_only_after_the_first_frame(video: Tensor):
    free, heavy = make_encoder().eval(), make_encoder(inertia=6.0).eval()
    whole = heavy(video[:, :2])
    assert torch.equal(whole.slots[:, 0], free(video[:, :1]).slots[:, 0])
    before = whole.slots[:, 0]
    features, _ = heavy.features(video[:, 1:2])
    corrected, attention = heavy.corrector(features[:, 0], before)
    for slot in range(3):
        won = attention[:, slot].sum(-1)[:, None]
        expected = (6 * before[:, slot] + won * corrected[:, slot]) / (won + 6)
        torch.testing.assert_close(whole.slots[:, 1, slot], expected, **CLOSE)
    immovable = make_encoder(inertia=1e9).eval()(video).slots
    torch.testing.assert_close(immovable[:, 4], immovable[:, 0], rtol=0, atol=1e-5)


def test_inertia_holds_a_slot_where_it_was_predicted(video: Tensor):
    predictor = ResidualMLPPredictor(10)
    whole = make_encoder(predictor=predictor, inertia=1e9).eval()(video[:, :2]).slots
    predicted, _ = predictor(whole[:, 0])
    assert (predicted - whole[:, 0]).abs().max() > 0.1
    torch.testing.assert_close(whole[:, 1], predicted, rtol=0, atol=1e-5)


def test_a_predictor_sees_every_frame_but_the_first_of_a_video(video: Tensor):
    encoder = make_encoder(predictor=remembering())
    assert encoder.predictor is not None
    calls: list[int] = []
    encoder.predictor.register_forward_hook(lambda *_: calls.append(1))
    state = encoder(video[:, :1]).state
    assert len(calls) == 0
    assert state.predictor is None
    state = encoder(video[:, 1:4], state).state
    assert len(calls) == 3
    encoder.step(video[:, 4], state)
    assert len(calls) == 4


def test_noise_on_the_first_slots_is_for_training_and_from_the_generator(video: Tensor):
    encoder = make_encoder(slot_noise=0.3, predictor=ResidualMLPPredictor(10))
    seen: list[Tensor] = []
    encoder.corrector.register_forward_pre_hook(lambda module, args: seen.append(args[1].detach()))

    def starts(generator: torch.Generator | None = None) -> list[Tensor]:
        seen.clear()
        encoder(video[:, :2], generator=generator)
        return list(seen)

    assert isinstance(encoder.initializer, LearnedSlots)
    clean = encoder.initializer.slots.detach()
    drawn = starts(torch.Generator().manual_seed(3))
    noise = torch.randn(2, 3, 10, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(drawn[0], clean + 0.3 * noise, **CLOSE)
    assert not torch.equal(starts()[0], starts()[0])
    encoder.eval()
    assert torch.equal(starts()[0], clean.expand(2, -1, -1))
    encoder.train()
    state = encoder(video[:, :1]).state
    assert torch.equal(encoder.step(video[:, 1], state)[0], encoder.step(video[:, 1], state)[0])


class Doubling(nn.Module):
    """Shows that a video went through it."""

    def forward(self, video: Tensor) -> Tensor:
        return 2 * video[..., ::2, :]


def test_preprocessing_stands_before_the_backbone(video: Tensor):
    plain, encoder = make_encoder().eval(), make_encoder(preprocessing=Doubling()).eval()
    expected = plain(2 * video[..., ::2, :])
    output = encoder(video)
    assert torch.equal(output.slots, expected.slots)
    assert output.feature_size == expected.feature_size == (2, 6)
    assert torch.equal(encoder.step(video[:, 0])[0], plain.step(2 * video[:, 0, :, ::2])[0])
    assert encoder.state_dict().keys() == plain.state_dict().keys()


BOXES = torch.tensor([[[0.0, 0.0, 0.5, 0.5], [0.5, 0.25, 1.0, 1.0]]]).expand(2, -1, -1)


def test_a_conditioned_video_whole_and_streamed(video: Tensor):
    encoder = make_encoder(ConditionedSlots(3, 10), predictor=remembering()).eval()
    whole = encoder(video, conditioning=BOXES)
    state, told = None, BOXES
    for time, frame in enumerate(video.unbind(dim=1)):
        slots, state = encoder.step(frame, state, conditioning=told)
        torch.testing.assert_close(slots, whole.slots[:, time], **CLOSE)
        told = None
    other = encoder(video, conditioning=BOXES.flip(1))
    assert (other.slots - whole.slots).abs().max() > 1e-2


@pytest.mark.usefixtures("unchecked_types")
def test_conditioning_is_for_the_first_frame_of_a_conditioned_encoder(video: Tensor):
    conditioned = make_encoder(ConditionedSlots(3, 10))
    with pytest.raises(InputError, match="conditioned on boxes, but none were given"):
        conditioned(video)
    state = conditioned(video, conditioning=BOXES).state
    with pytest.raises(InputError, match="conditioning is of a video's first frame"):
        conditioned(video, state, conditioning=BOXES)
    for initializer in (LearnedSlots(3, 10), GaussianSlots(3, 10), ClusteredSlots(3)):
        with pytest.raises(InputError, match="this model's first slots are not conditioned"):
            make_encoder(initializer)(video, conditioning=BOXES)


def test_a_state_of_other_videos_is_refused(video: Tensor):
    encoder = make_encoder()
    state = encoder(video[:1]).state
    with pytest.raises(InputError, match="the state is of 1 videos, these frames of 2"):
        encoder.step(video[:, 0], EncoderState(state.slots))


INITIALIZERS = {
    "learned": lambda: LearnedSlots(3, 10),
    "gaussian": lambda: GaussianSlots(3, 10),
    "conditioned": lambda: ConditionedSlots(3, 10, hidden_dim=6),
}


@pytest.mark.parametrize("initializer", INITIALIZERS)
@pytest.mark.parametrize("differentiation", ["unrolled", "straight_through"])
def test_gradients_reach_every_parameter(video: Tensor, initializer: str, differentiation: str):
    encoder = make_encoder(
        INITIALIZERS[initializer](), differentiation=differentiation, predictor=remembering()
    )
    encoder.zero_grad()
    conditioning = BOXES if initializer == "conditioned" else None
    slots = encoder(video, conditioning=conditioning).slots
    (slots * torch.randn(slots.shape, generator=torch.Generator().manual_seed(2))).sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("inertia", [0.0, 2.0])
def test_implicit_gradients_miss_no_weight_that_trains(video: Tensor, inertia: float):
    predictor = remembering() if inertia else None  # which only inertia lets them reach
    encoder = make_encoder(
        GaussianSlots(3, 10), differentiation="implicit", predictor=predictor, inertia=inertia
    )
    encoder(video).slots.square().sum().backward()
    trained = {name for name, parameter in encoder.named_parameters() if parameter.requires_grad}
    reached = {name for name, parameter in encoder.named_parameters() if parameter.grad is not None}
    assert trained == reached
    assert not any(name.startswith("initializer.") for name in trained)


def test_a_predictor_that_no_gradient_would_reach_is_refused():
    with pytest.raises(
        InputError, match="is implicit, by which no gradient reaches the predictor;"
    ):
        make_encoder(differentiation="implicit", predictor=remembering())


def test_a_video_without_frames_is_refused(video: Tensor):
    with pytest.raises(InputError, match="the video has no frames; expected at least 1"):
        make_encoder()(video[:, :0])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_the_encoder_runs_in_other_dtypes(video: Tensor, dtype: torch.dtype):
    encoder = make_encoder()
    expected = encoder(video).slots
    got = encoder.to(dtype)(video.to(dtype)).slots
    assert got.dtype == dtype
    assert (got.float() - expected).norm() < 0.05 * expected.norm()


class Fixed(nn.Module):
    """A corrector of one's own, with two arguments and nothing else."""

    def __init__(self, turned: bool = False) -> None:
        super().__init__()
        self.turned = turned

    def forward(self, features: Tensor, slots: Tensor) -> tuple[Tensor, Tensor]:
        attention = (slots @ features[..., : slots.shape[-1]].transpose(1, 2)).softmax(dim=1)
        return slots + 1, attention.transpose(1, 2) if self.turned else attention


def test_a_corrector_of_ones_own_takes_features_and_slots(video: Tensor):
    encoder = make_encoder()
    encoder.corrector = Fixed()
    output = encoder(video)
    torch.testing.assert_close(output.slots[:, 4], output.slots[:, 0] + 4)
    encoder.first_iterations = 2
    with pytest.raises(TypeError, match="positional arguments"):
        encoder(video)


def test_attention_that_lies_the_other_way_round_is_refused(video: Tensor):
    encoder = make_encoder()
    encoder.corrector = Fixed(turned=True)
    with pytest.raises(
        InputError, match=r"Fixed gives .* attention \[2, 24, 3\], expected .* \[2, 3, 24\]"
    ):
        encoder(video)


@pytest.mark.usefixtures("unchecked_types")
def test_a_state_and_maps_that_are_none_of_the_video_are_refused(video: Tensor):
    encoder = make_encoder()
    found = encoder(video)
    for state in (found, found.slots[:, -1]):
        with pytest.raises(
            InputError, match=r"the state is of the type (SlotOutput|Tensor), expec"
        ):
            encoder(video, state)
    maps = encoder.maps(video)
    torch.testing.assert_close(encoder(video, maps=maps).slots, found.slots)
    for wrong in (maps[:, 1:], maps[:1]):
        with pytest.raises(
            InputError, match=r"the maps are of \d videos of \d frames, the video h"
        ):
            encoder(video, maps=wrong)


@pytest.mark.usefixtures("unchecked_types")
def test_a_step_takes_a_frame_and_no_video(video: Tensor):
    with pytest.raises(InputError, match=r"the frame has the shape \[2, 5, 3, 8, 12\], expected"):
        make_encoder().step(video)
