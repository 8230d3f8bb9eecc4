"""The encoder: one loop over time that gives the same slots whole, in chunks and as a stream."""

import pytest
import torch
from torch import Tensor, nn

from slot_core import (
    GaussianSlots,
    InputError,
    LearnedSlots,
    SlotAttention,
    SlotEncoder,
    SlotOutput,
)
from slot_core.backbones import CNN

CLOSE = {"rtol": 0, "atol": 1e-6}


def make_encoder(initializer: nn.Module | None = None, **options) -> SlotEncoder:
    torch.manual_seed(0)
    return SlotEncoder(
        CNN((6, 8), strides=(2,)),
        initializer or LearnedSlots(3, 10),
        SlotAttention(12, 10, num_iterations=2, **options),
        projection_dim=12,
    )


@pytest.fixture
def video() -> Tensor:
    return torch.rand(2, 5, 3, 8, 12, generator=torch.Generator().manual_seed(1))


def test_shapes_of_a_video(video: Tensor):
    output = make_encoder()(video)
    assert output.slots.shape == (2, 5, 3, 10)
    assert output.attention.shape == (2, 5, 3, 24)
    assert output.feature_size == (4, 6)
    torch.testing.assert_close(output.attention.sum(2), torch.ones(2, 5, 24))
    assert torch.equal(output.state.slots, output.slots[:, -1])


def test_a_picture_is_a_video_of_one_frame(video: Tensor):
    encoder = make_encoder()
    picture = encoder(video[:, :1])
    torch.testing.assert_close(picture.slots, encoder(video).slots[:, :1], **CLOSE)
    slots, _ = encoder.step(video[:, 0])
    torch.testing.assert_close(picture.slots[:, 0], slots, **CLOSE)


def test_a_stream_gives_what_the_batch_call_gives(video: Tensor):
    encoder = make_encoder()
    whole, state = encoder(video), None
    for time, frame in enumerate(video.unbind(dim=1)):
        slots, state = encoder.step(frame, state)
        torch.testing.assert_close(slots, whole.slots[:, time], **CLOSE)


@pytest.mark.parametrize("cut", [1, 3, 4])
def test_chunks_with_carried_state_give_what_the_whole_gives(video: Tensor, cut: int):
    encoder = make_encoder()
    whole = encoder(video)
    start = encoder(video[:, :cut])
    end = encoder(video[:, cut:], start.state)
    torch.testing.assert_close(torch.cat([start.slots, end.slots], 1), whole.slots, **CLOSE)
    torch.testing.assert_close(
        torch.cat([start.attention, end.attention], 1), whole.attention, **CLOSE
    )
    torch.testing.assert_close(end.state.slots, whole.state.slots, **CLOSE)


def test_the_state_matters(video: Tensor):
    encoder = make_encoder()
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


@pytest.mark.parametrize("initializer", [LearnedSlots(3, 10), GaussianSlots(3, 10)])
@pytest.mark.parametrize("differentiation", ["unrolled", "straight_through"])
def test_gradients_reach_every_parameter(
    video: Tensor, initializer: nn.Module, differentiation: str
):
    encoder = make_encoder(initializer, differentiation=differentiation)
    encoder.zero_grad()
    slots = encoder(video).slots
    (slots * torch.randn(slots.shape, generator=torch.Generator().manual_seed(2))).sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


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
