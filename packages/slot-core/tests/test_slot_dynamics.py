"""SlotFormer: the numbers of the original code, slots as a set, windows that move on.

data/slot_dynamics.safetensors holds weights, inputs and outputs of SlotDiffusion's LDMSlotFormer
(commit eacfc9a), run in float32 on the CPU with random weights: a burn-in of 4 frames, 5 slots of
width 24, 2 layers of width 32.
"""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from slot_core import InputError, SlotFormer, prediction_losses
from slot_core.slot_dynamics import DynamicsLayer

CLOSE = {"rtol": 0, "atol": 1e-5}
OUR_NAMES = {
    "in_proj": "input",
    "transformer_encoder.layers": "layers",
    "out_proj": "output",
}


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return load_file(Path(__file__).parent / "data" / "slot_dynamics.safetensors")


@pytest.fixture(scope="module")
def original(golden: dict[str, Tensor]) -> SlotFormer:
    model = SlotFormer(24, burn_in=4, model_dim=32, num_layers=2, num_heads=4, hidden_dim=64)
    weights = {}
    for name, value in golden.items():
        if name.startswith("weights.") and not name.endswith("enc_t_pe"):
            theirs = name.removeprefix("weights.rollouter.")
            start = next(start for start in OUR_NAMES if theirs.startswith(start))
            weights[OUR_NAMES[start] + theirs.removeprefix(start)] = value.float()
    model.load_state_dict(weights, strict=True)
    return model.eval()


def tiny(**options) -> SlotFormer:
    torch.manual_seed(0)
    sizes = {"burn_in": 3, "model_dim": 8, "num_layers": 2, "num_heads": 2, "hidden_dim": 12}
    return SlotFormer(6, **{**sizes, **options}).eval()


@pytest.fixture
def slots() -> Tensor:
    """Four frames of two videos with five slots."""
    return torch.randn(2, 4, 5, 6, generator=torch.Generator().manual_seed(1))


def test_the_rollout_is_the_original(golden: dict[str, Tensor], original: SlotFormer):
    slots = golden["slots"]
    predicted = original(slots[:, :4], 5)
    torch.testing.assert_close(predicted, golden["pred_slots"], **CLOSE)
    longer = original(slots[:, :5], 8)  # of five frames the last four are looked at
    torch.testing.assert_close(longer, golden["rollout_long"], **CLOSE)


def test_the_ages_are_the_original(golden: dict[str, Tensor], original: SlotFormer):
    torch.testing.assert_close(original.time_encoding, golden["enc_t_pe"][0], **CLOSE)


@pytest.mark.parametrize(
    ("case", "decay", "cut"),
    [("decay1.0", 1.0, False), ("decay0.5", 0.5, False), ("vid_len.decay0.5", 0.5, True)],
)
def test_the_losses_are_the_original(
    golden: dict[str, Tensor], case: str, decay: float, *, cut: bool
):
    num_valid = golden["vid_len"] - 4 if cut else None
    loss, each = prediction_losses(
        golden["pred_slots"], golden["slots"][:, 4:], decay=decay, num_valid=num_valid
    )
    name = f"base.{case}.slot_recon_loss"
    torch.testing.assert_close(loss, golden[name], **CLOSE)
    for step in range(5):
        torch.testing.assert_close(each[step], golden[f"{name}_{step + 1}"], **CLOSE)


def test_gradients_with_and_without_are_the_same_numbers(
    golden: dict[str, Tensor], original: SlotFormer
):
    """PyTorch takes another way through a layer without gradients."""
    past = golden["slots"][:, :4]
    with torch.no_grad():
        quick = original(past, 3)
    torch.testing.assert_close(original(past, 3), quick, **CLOSE)


@pytest.mark.parametrize("norm_first", [True, False])
def test_a_layer_is_pytorchs(*, norm_first: bool):
    torch.manual_seed(0)
    theirs = torch.nn.TransformerEncoderLayer(
        8, 2, 12, 0.0, batch_first=True, norm_first=norm_first
    )
    ours = DynamicsLayer(8, 2, 12, dropout=0.0, norm_first=norm_first)
    ours.load_state_dict(theirs.state_dict())
    tokens = torch.randn(2, 7, 8)
    found = [layer.train()(tokens) for layer in (ours, theirs)]
    torch.testing.assert_close(*found, **CLOSE)
    for output in found:
        (output * torch.arange(7)[:, None]).sum().backward()
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, theirs.get_parameter(name).grad, msg=name)


def test_dropout_is_of_training_alone():
    torch.manual_seed(0)
    layer, tokens = DynamicsLayer(8, 2, 12, dropout=0.5, norm_first=True), torch.randn(1, 7, 8)
    assert not torch.equal(layer(tokens), layer(tokens))
    layer.eval()
    assert torch.equal(layer(tokens), layer(tokens))


@pytest.mark.parametrize("norm_first", [True, False])
def test_the_last_layer_skips_only_what_nobody_reads(slots: Tensor, *, norm_first: bool):
    model = tiny(norm_first=norm_first, num_layers=1)
    tokens = torch.randn(2, 15, 8)
    layer = model.layers[0]
    assert isinstance(layer, DynamicsLayer)
    torch.testing.assert_close(layer.newest(tokens, 5), layer(tokens)[:, -5:], **CLOSE)


@pytest.mark.parametrize("time_encoding", ["sine", "learned"])
@pytest.mark.parametrize("norm_first", [True, False])
def test_slots_are_a_set(slots: Tensor, time_encoding: str, *, norm_first: bool):
    model = tiny(time_encoding=time_encoding, norm_first=norm_first)
    order = torch.tensor([2, 0, 4, 3, 1])
    predicted = model(slots, 3)
    torch.testing.assert_close(model(slots[:, :, order], 3), predicted[:, :, order], **CLOSE)
    assert (predicted[:, :, order] - predicted).abs().max() > 1e-2


def test_an_encoding_of_slots_tells_them_apart(slots: Tensor):
    model = tiny(slot_encoding="sine", num_slots=5)
    order = torch.tensor([2, 0, 4, 3, 1])
    changed = model(slots[:, :, order], 1) - model(slots, 1)[:, :, order]
    assert changed.abs().max() > 1e-2


def test_a_residual_is_a_change_of_the_newest_slots(slots: Tensor):
    model = tiny(residual=True)
    still = slots[:, -1:].expand(-1, 4, -1, -1)
    torch.testing.assert_close(model(slots, 4), still, rtol=0, atol=0)  # nothing is learned yet
    torch.nn.init.normal_(model.output.weight)
    plain = tiny()
    plain.load_state_dict(model.state_dict())
    first = slots[:, -1] + plain(slots, 1)[:, 0]
    seen = torch.cat([slots, first[:, None]], 1)
    second = first + plain(seen, 1)[:, 0]
    torch.testing.assert_close(model(slots, 2), torch.stack([first, second], 1), **CLOSE)


def test_time_has_an_order(slots: Tensor):
    model = tiny()
    assert (model(slots, 1) - model(slots.flip(1), 1)).abs().max() > 1e-3
    blind = tiny(time_encoding="learned")  # all zeros at first
    torch.testing.assert_close(
        blind(slots[:, 1:], 1), blind(slots[:, [2, 1, 3]], 1), rtol=0, atol=1e-5
    )


def test_each_step_goes_on_from_the_last(slots: Tensor):
    model = tiny()
    at_once = model(slots, 7)
    one_by_one = slots
    for _ in range(7):
        one_by_one = torch.cat([one_by_one, model(one_by_one, 1)], 1)
    torch.testing.assert_close(at_once, one_by_one[:, 4:], **CLOSE)
    torch.testing.assert_close(model(slots[:, 1:], 7), at_once, rtol=0, atol=0)


def test_interleaved_rollouts_are_as_if_alone():
    """As SlotDiffusion rolls out Physion: each offset apart, and then the frames in order."""
    model, past = tiny(), torch.randn(2, 8, 5, 6)
    apart = [model(past[:, offset::2], 3) for offset in (0, 1)]
    together = model(past, 5, stride=2)
    expected = torch.stack(apart, 2).flatten(1, 2)[:, :5]
    torch.testing.assert_close(together, expected, **CLOSE)


@pytest.mark.parametrize("options", [{}, {"time_encoding": "learned"}, {"norm_first": False}])
def test_gradients_reach_every_parameter(slots: Tensor, options: dict):
    model = tiny(slot_encoding="learned", num_slots=5, **options).train()
    predicted = model(slots, 2)
    (predicted * torch.randn_like(predicted)).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_layers_start_apart():
    first, second = tiny().layers
    assert isinstance(first, DynamicsLayer)
    assert isinstance(second, DynamicsLayer)
    assert not torch.equal(first.linear1.weight, second.linear1.weight)


def test_decay_keeps_the_size_of_the_loss():
    target = torch.zeros(2, 4, 3, 5)
    for decay in (1.0, 0.5, 0.01):
        loss, each = prediction_losses(torch.ones_like(target), target, decay=decay)
        assert abs(float(loss) - 1) < 1e-6
        assert each.tolist() == [1.0] * 4


def test_what_cannot_be_used_is_told_in_a_sentence(slots: Tensor, unchecked_types: None):
    model = tiny()
    with pytest.raises(InputError, match=r"of 2 frames; a prediction needs 3, the burn-in of 3$"):
        model(slots[:, :2], 1)
    with pytest.raises(InputError, match=r"4 frames; .* needs 6, the burn-in of 3 frames 2 apart"):
        model(slots, 1, stride=2)
    with pytest.raises(InputError, match="num_steps is 0, expected at least 1"):
        model(slots, 0)
    for stride in (0, -1):
        with pytest.raises(InputError, match=f"stride is {stride}, expected at least 1"):
            model(slots, 1, stride=stride)
    with pytest.raises(InputError, match=r"expected \[batch time slots 6\]; those of pictures"):
        model(slots[:, 0], 1)
    numbered = tiny(slot_encoding="learned", num_slots=5)
    with pytest.raises(InputError, match=r"there are 3 slots in a frame; .* are always 5$"):
        numbered(slots[:, :, :3], 1)
    with pytest.raises(InputError, match="a width of 8 cannot be split among 3 heads"):
        tiny(num_heads=3)
    for name in ("time_encoding", "slot_encoding"):
        with pytest.raises(InputError, match=f"{name} is 'learnt'; expected sine or learned"):
            tiny(num_slots=3, **{name: "learnt"})
    with pytest.raises(InputError, match="a width of 9 is odd"):
        tiny(model_dim=9, num_heads=3)
    with pytest.raises(InputError, match="the encoding of slots needs num_slots"):
        tiny(slot_encoding="sine")


def test_errors_are_not_taken_of_one_frame_for_all(unchecked_types: None):
    predicted = torch.randn(2, 4, 3, 5)
    for target in (predicted[:, :1], predicted[:1], predicted.transpose(0, 1)):
        with pytest.raises(
            InputError, match=r"the predicted slots have .*\[2, 4, 3, 5\].* one sha"
        ):
            prediction_losses(predicted, target)


def test_dropout_is_of_the_attention_of_what_it_gives_and_in_and_behind_the_mlp():
    usual = SlotFormer(8, model_dim=12, num_heads=2, num_layers=1).layers[0]
    assert isinstance(usual, DynamicsLayer)
    assert (usual.dropout.p, usual.self_attn.dropout) == (0.1, 0.1)
    layer = DynamicsLayer(8, 2, 12, dropout=1.0, norm_first=True).train()
    widths = []
    layer.dropout.register_forward_hook(lambda module, args, out: widths.append(out.shape[-1]))
    tokens = torch.randn(2, 5, 8)
    assert torch.equal(layer(tokens), tokens)  # nothing is added
    assert widths == [8, 12, 8]
    layer.dropout.p = 0.0
    nothing = layer.self_attn.out_proj.bias.expand(2, 5, 8)  # all of the attention is dropped
    torch.testing.assert_close(layer._look(tokens, 5), nothing)


def test_mlps_are_four_times_as_wide_unless_told_otherwise():
    layer = SlotFormer(8, model_dim=12, num_heads=2, num_layers=1).layers[0]
    assert isinstance(layer, DynamicsLayer)
    assert layer.linear1.out_features == 48
