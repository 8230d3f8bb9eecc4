"""Methods that recompute what they keep: when they do, in which pieces, and that nothing else
changes."""

from __future__ import annotations

import pytest
import torch
from tiny_vits import make_vit
from torch import Tensor, nn

from slot_core import ConfigError, GaussianSlots, SlotAttention, SlotEncoder, SlotFormer
from slot_core.backbones import CNN
from slot_core.recomputing import enable_gradient_checkpointing, kept_bytes, recompute_methods


class Block(nn.Module):
    """Rows of a batch, each on its own, and how many of them came in each call."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(8, 8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 8)
        )
        self.calls: list[tuple[int, ...]] = []

    def forward(self, rows: Tensor, more: Tensor | None = None) -> tuple[Tensor, int]:
        self.calls.append(tuple(rows.shape[:-1]))
        return self.layers(rows if more is None else rows + more), 8


def gradients(block: nn.Module) -> list[Tensor]:
    return [one.grad.clone() for one in block.parameters() if one.grad is not None]


def stepped(block: Block, *rows: Tensor) -> tuple[Tensor, list[Tensor]]:
    torch.manual_seed(0)
    block.zero_grad()
    made, _ = block(*rows)
    made.square().sum().backward()
    return made.detach(), gradients(block)


def test_a_method_runs_again_where_there_are_gradients_and_draws_the_same():
    block, rows = Block(dropout=0.5), torch.randn(4, 8)
    made, slopes = stepped(block, rows)
    recompute_methods(block, "forward")
    block.calls.clear()
    again, same = stepped(block, rows)
    assert len(block.calls) == 2
    assert torch.equal(again, made)
    assert len(same) == len(slopes) == 4
    assert all(map(torch.equal, same, slopes))
    with torch.no_grad():
        block(rows)
    assert len(block.calls) == 3


def test_only_what_a_method_is_given_is_kept():
    block, rows = Block(), torch.randn(4, 8)
    plain = kept_bytes(block, lambda: block(rows))
    assert plain == 2 * 4 * 8 * 4  # what goes into each linear layer
    recompute_methods(block, "forward")
    assert kept_bytes(block, lambda: block(rows)) == 4 * 8 * 4


@pytest.mark.parametrize(
    ("shape", "pieces"),
    [
        ((3,), [(1,)] * 3),
        ((16,), [(2,)] * 8),
        ((9,), [(2,), *[(1,)] * 7]),
        ((2, 3), [(1, 1)] * 6),
        ((2, 12), [(2, 1)] * 12),  # a frame of each video
        ((1, 1, 11), [*[(2, 1, 1)] * 3, *[(1, 1, 1)] * 5]),  # one picture, slot by slot
        ((2, 12, 4), [(8, 1, 1)] * 12),
    ],
)
def test_rows_come_in_pieces(shape, pieces):
    block, rows, more = Block(), torch.randn(*shape, 8), torch.randn(*shape, 8)
    made, slopes = stepped(block, rows, more)
    recompute_methods(block, "forward", batch_axes=len(shape))
    block.calls.clear()
    again, close = stepped(block, rows, more)
    assert block.calls[: len(pieces)] == pieces
    assert sorted(block.calls[len(pieces) :]) == sorted(pieces)
    torch.testing.assert_close(again, made)
    torch.testing.assert_close(close, slopes)
    assert block(rows, None)[1] == 8
    with torch.no_grad():
        block(rows)
    assert block.calls[-1] == shape


def test_a_part_that_does_not_say_how_is_refused():
    with pytest.raises(ConfigError, match="Linear cannot recompute what it keeps for its gradien"):
        enable_gradient_checkpointing(nn.Linear(2, 2))


def encoder_of(backbone: nn.Module) -> SlotEncoder:
    corrector = SlotAttention(8, 8)
    return SlotEncoder(backbone, GaussianSlots(3, 8), corrector, projection_dim=8)


def counted(backbone: nn.Module) -> list[int]:
    """How many frames the backbone is shown in each call from now on."""
    seen: list[int] = []
    backbone.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    return seen


@pytest.mark.parametrize(("frozen", "calls"), [(False, [2] * 18), (True, [18])])
def test_an_encoder_looks_frame_by_frame_and_not_again_through_what_is_frozen(frozen, calls):
    video = torch.rand(2, 9, 3, 8, 8)
    encoder = encoder_of(CNN([8, 8]).requires_grad_(not frozen))
    before = kept_bytes(encoder, lambda: encoder(video))
    seen = counted(encoder.backbone)
    encoder.enable_gradient_checkpointing()
    encoder(video).slots.sum().backward()
    assert seen == calls
    assert before > 5 * kept_bytes(encoder, lambda: encoder(video))


@pytest.mark.parametrize("kind", ["dino", "dinov2"])
def test_a_vit_that_trains_recomputes_its_blocks(kind):
    torch.manual_seed(0)
    frames = torch.rand(2, 3, 32, 32)
    vit = make_vit(kind, frozen=False, num_layers=8)
    made, before = vit(frames), kept_bytes(vit, lambda: vit(frames))
    made.square().sum().backward()
    slopes = gradients(vit)
    vit.zero_grad()
    vit.enable_gradient_checkpointing()
    assert before > 5 * kept_bytes(vit, lambda: vit(frames))
    again = vit(frames)
    again.square().sum().backward()
    assert torch.equal(again, made)
    assert all(map(torch.equal, gradients(vit), slopes))


def test_an_encoder_leaves_a_vit_to_itself():
    encoder = encoder_of(make_vit("dino", frozen=False))
    seen = counted(encoder.backbone)
    encoder.enable_gradient_checkpointing()
    encoder(torch.rand(2, 3, 3, 32, 32)).slots.sum().backward()
    assert seen == [6]


def test_a_rollout_keeps_what_its_layers_are_given():
    former = SlotFormer(8, burn_in=3, model_dim=8, num_layers=4, num_heads=2, dropout=0.1)
    slots = torch.randn(2, 3, 4, 8)
    before = kept_bytes(former, lambda: former(slots, 3))
    former.enable_gradient_checkpointing()
    assert before > 5 * kept_bytes(former, lambda: former(slots, 3))
