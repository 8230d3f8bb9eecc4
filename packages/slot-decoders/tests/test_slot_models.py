"""The models of slots: losses, a decoder that stays as it is, answers, and foreign weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from slot_core import CheckpointError, ConfigError, InputError, fingerprint
from slot_decoders.models import (
    RelationReadoutModel,
    SlotAutoencoder,
    SlotDynamicsConfig,
    SlotDynamicsModel,
    load_model,
    presets,
    start_decoder,
)
from slot_decoders.models.state_dicts import convert, get_origin

DYNAMICS = {"burn_in": 3, "model_dim": 8, "num_layers": 1, "num_heads": 2, "hidden_dim": 12}


def former(model: SlotAutoencoder, **changes: Any) -> SlotDynamicsModel:
    """A tiny SlotFormer with a decoder like that of ``model``."""
    config = model.config.model_dump(include={"num_slots", "slot_dim", "preprocessing", "decoder"})
    return presets.slot_former(dynamics=DYNAMICS, **{"stride": 1, **config, **changes})


@pytest.fixture
def slots() -> Tensor:
    return torch.randn(2, 5, 3, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def frames() -> Tensor:
    return torch.rand(2, 5, 3, 16, 16, generator=torch.Generator().manual_seed(2))


def test_the_loss_is_the_error_of_the_rollout(model: SlotAutoencoder, slots: Tensor):
    made = former(model).eval()
    losses = made(slots)
    predicted = made.rollout(slots[:, :3], 2)
    torch.testing.assert_close(losses.total, F.mse_loss(predicted, slots[:, 3:]))
    assert losses.slots is not None
    torch.testing.assert_close(losses.slots, predicted, rtol=0, atol=1e-6)
    each = [losses.parts[f"slot_error_{step}"] for step in (1, 2)]
    torch.testing.assert_close(torch.stack(each).mean(), losses.parts["slot_error"])
    decayed = former(model, loss_decay=0.5).eval()
    decayed.load_state_dict(made.state_dict())
    expected = each[0] * 2 / 3 + each[1] / 3  # weights of 4/3 and 2/3, divided by two frames
    torch.testing.assert_close(decayed(slots).total, expected)


def test_frames_to_train_on_are_already_as_far_apart_as_the_stride(
    model: SlotAutoencoder, slots: Tensor
):
    near, far = former(model).eval(), former(model, stride=2).eval()
    far.load_state_dict(near.state_dict())
    torch.testing.assert_close(far(slots).total, near(slots).total)


def test_the_image_loss_is_the_decoders_and_moves_the_slots_alone(
    model: SlotAutoencoder, slots: Tensor, frames: Tensor
):
    made = former(model, image_loss_weight=0.5, slot_loss_weight=2).train()
    assert not made.decoder.training
    before = {name: value.clone() for name, value in made.decoder.state_dict().items()}
    made.dynamics.eval()  # no dropout
    losses = made(slots, frames)
    predicted = made.rollout(slots[:, :3], 2)
    image = made.decoder(predicted, made.preprocessing(frames[:, 3:])).total
    expected = 2 * F.mse_loss(predicted, slots[:, 3:]) + 0.5 * image
    torch.testing.assert_close(losses.total, expected)
    losses.total.backward()
    assert all(parameter.grad is None for parameter in made.decoder.parameters())
    alone = former(model, image_loss_weight=1, slot_loss_weight=0).train()
    alone(slots, frames).total.backward()
    for name, parameter in alone.dynamics.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name
    with torch.no_grad():
        for name, value in made.decoder.state_dict().items():
            assert torch.equal(value, before[name])


def test_rollouts_are_of_any_length_and_can_be_looked_at(model: SlotAutoencoder, slots: Tensor):
    made = former(model).train()
    later = made.rollout(slots, 23)
    assert later.shape == (2, 23, 3, 8)
    assert made.training
    assert not later.requires_grad
    video, masks = made.decode(later)
    assert masks is not None
    assert video.shape == (2, 23, 3, 16, 16)
    assert masks.shape == (2, 23, 3, 16, 16)
    assert 0 <= video.min() <= video.max() <= 1
    torch.testing.assert_close(masks.sum(2), torch.ones(2, 23, 16, 16))


def test_a_model_of_every_second_frame_predicts_every_frame(model: SlotAutoencoder):
    made, past = former(model, stride=2), torch.randn(1, 6, 3, 8)
    later = made.rollout(past, 3)
    expected = [made.rollout(past[:, start::2], 2, stride=1) for start in (0, 1)]
    torch.testing.assert_close(later[:, ::2], expected[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(later[:, 1::2], expected[1][:, :1], rtol=0, atol=1e-5)


def test_it_travels_with_its_decoder(model: SlotAutoencoder, slots: Tensor, tmp_path: Path):
    model.save_pretrained(tmp_path / "video")
    found_by = fingerprint(tmp_path / "video")
    made = former(model, slots_of=found_by)
    start_decoder(made, tmp_path / "video")
    made.save_pretrained(tmp_path / "former")
    again = load_model(tmp_path / "former")
    assert isinstance(again, SlotDynamicsModel)
    assert again.config.slots_of == found_by
    torch.testing.assert_close(again.rollout(slots, 2), made.rollout(slots, 2))
    decoded = model.preprocessing.undo(model.decoder.decode(slots).reconstruction)
    torch.testing.assert_close(again.decode(slots)[0], decoded.detach())


def test_another_decoder_is_told(model: SlotAutoencoder, tmp_path: Path):
    model.save_pretrained(tmp_path / "video")
    where = tmp_path / "video"
    with pytest.raises(ConfigError, match=r"has another decoder; its slot_dim is 8, the model's i"):
        start_decoder(former(model, slot_dim=12), where)
    with pytest.raises(CheckpointError, match=r"is the model [0-9a-f]{12}, but the slots are of a"):
        start_decoder(former(model, slots_of="a" * 64), where)
    with pytest.raises(InputError, match=r"has no decoder; state it as model\.decoder"):
        start_decoder(former(model, decoder=None), where)
    made = former(model)
    made.save_pretrained(tmp_path / "former")
    with pytest.raises(CheckpointError, match="holds a SlotDynamicsModel, expected a SlotAuto"):
        start_decoder(made, tmp_path / "former")


def test_what_does_not_fit_is_told(model: SlotAutoencoder, slots: Tensor):
    with pytest.raises(InputError, match="of 3 frames; training needs the burn-in of 3 and at le"):
        former(model)(slots[:, :3])
    with pytest.raises(InputError, match="the image loss needs the video"):
        former(model, image_loss_weight=1)(slots)
    with pytest.raises(InputError, match="has no decoder"):
        former(model, decoder=None).decode(slots)
    for changes, words in (
        ({"image_loss_weight": 1.0}, "'image_loss_weight' needs a 'decoder'"),
        ({"slot_loss_weight": 0.0}, "are both 0"),
        ({"slots_of": "abc"}, "slots_of"),
        ({"dynamics": {"model_dim": 9, "num_heads": 3}}, "'model_dim' is 9, expected a multiple o"),
    ):
        with pytest.raises(ConfigError, match=words):
            SlotDynamicsConfig.parse(changes, source="test")


def readout(**changes: Any) -> RelationReadoutModel:
    return presets.relation_readout(num_slots=3, slot_dim=8, readout={"hidden_dim": 6, **changes})


def test_the_readout_learns_what_is_asked():
    torch.manual_seed(0)
    made = readout(num_layers=2)
    videos = torch.randn(32, 2, 3, 8)
    outcomes = videos[:, :, :, 0].amax((1, 2)) > 1.2
    assert 0.3 < outcomes.float().mean() < 0.7
    optimizer = torch.optim.Adam(made.parameters(), 0.03)
    for _ in range(60):
        losses = made(videos, outcomes)
        losses.total.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert ((made.answer(videos) > 0) == outcomes).float().mean() > 0.9
    logits = made.answer(videos)
    expected = F.binary_cross_entropy_with_logits(logits, outcomes.float())
    torch.testing.assert_close(made(videos, outcomes).total.detach(), expected)


def test_the_readout_travels(slots: Tensor, tmp_path: Path):
    made = readout()
    made.save_pretrained(tmp_path)
    again = load_model(tmp_path)
    assert isinstance(again, RelationReadoutModel)
    torch.testing.assert_close(again.answer(slots), made.answer(slots))


READOUT = {
    "cls": "slotdiffusion.vp_vqa.models.readout.PhysionReadout",
    "args": {
        "readout_dict": {"num_slots": 4, "slot_size": 6, "agg_func": "sum", "feats_dim": 5},
    },
}


def test_foreign_readouts_load_and_go_back():
    weights = {
        "comb_idx": torch.arange(12),
        "linear1.weight": torch.randn(5, 12),
        "linear1.bias": torch.randn(5),
        "linear2.weight": torch.randn(1, 5),
        "linear2.bias": torch.randn(1),
    }
    made = convert(weights, READOUT)
    names = get_origin("slotdiffusion").state_dict_map(made.config)
    back = names.to_theirs(made.state_dict())
    assert back.keys() == weights.keys() - {"comb_idx"}
    for name, value in back.items():
        assert torch.equal(value, weights[name])
    assert made.config.readout.aggregation == "sum"
    assert made.num_slots == 4


def test_a_readout_of_other_pairs_is_refused():
    weights = {
        "comb_idx": torch.arange(20),  # the ten pairs of five slots
        "linear1.weight": torch.randn(5, 12),
        "linear1.bias": torch.randn(5),
        "linear2.weight": torch.randn(1, 5),
        "linear2.bias": torch.randn(1),
    }
    with pytest.raises(
        CheckpointError, match=r"comb_idx has the shape \[20\], .* asks for \[12\]$"
    ):
        convert(weights, READOUT)


def test_the_positions_of_a_foreign_slotformer_say_how_many_frames_it_sees():
    changes = {
        "num_slots": 3,
        "dynamics": {**DYNAMICS, "burn_in": 7, "model_dim": 8, "slot_encoding": "sine"},
        "decoder": {"type": "diffusion"},
    }
    config = SlotDynamicsConfig.parse(changes, source="test")
    implied = get_origin("slotdiffusion").state_dict_map(config).implied
    assert implied["rollouter.enc_t_pe"] == (1, 7, 8)
    assert implied["rollouter.enc_slots_pe"] == (1, 3, 8)


def test_what_a_checkpoint_says_of_its_configuration_is_read(reference_data: Path):
    for case, key, changes, told in (
        ("sa_ldm_a", "dec_dict.diffusion_dict", {"linear_end": 0.02}, r"dm_decoder\.betas is 0"),
        ("sa_a", "", {"resolution": [128, 128]}, r"encoder_pos_embedding\.grid has the shape"),
        ("slotformer_a", "rollout_dict", {"history_len": 8}, r"rollouter\.enc_t_pe has the shape"),
        ("readout_a", "readout_dict", {"num_slots": 8}, r"comb_idx has the shape \[20\]"),
    ):
        folder = reference_data / "golden" / case
        described = json.loads((folder / "config.json").read_text())
        weights = load_file(folder / "state_dict.safetensors")
        convert(weights, described)
        changed = described["args"]
        for part in filter(None, key.split(".")):
            changed = changed[part]
        changed |= changes
        with pytest.raises(CheckpointError, match=told):
            convert(weights, described)


def test_a_foreign_readout_is_the_original(
    reference_data: Path, assert_near: Callable[[Tensor, Tensor, float], None]
):
    folder = reference_data / "golden" / "readout_a"
    described = json.loads((folder / "config.json").read_text())
    weights, inputs, outputs = (
        load_file(folder / f"{name}.safetensors") for name in ("state_dict", "inputs", "outputs")
    )
    for aggregation in ("max", "sum", "mean"):
        described["args"]["readout_dict"]["agg_func"] = aggregation
        made = convert(weights, described)
        prefix = "" if aggregation == "max" else f"{aggregation}."
        logits = made.answer(inputs["slots"])
        assert_near(logits, outputs[f"{prefix}logits"], 1e-5)
        losses = made(inputs["slots"], inputs["label"].bool())
        assert_near(losses.total, outputs[f"{prefix}vqa_loss"], 1e-5)
        for threshold in (0.1, 0.3, 0.5, 0.7, 0.9):
            right = (logits.sigmoid() > threshold) == inputs["label"].bool()
            assert right.float().mean() == outputs[f"{prefix}acc_{threshold:.2f}"]


def test_what_a_foreign_slotformer_cannot_be_is_told():
    changes = {"dynamics": {**DYNAMICS, "residual": True}, "decoder": {"type": "diffusion"}}
    config = SlotDynamicsConfig.parse(changes, source="test")
    with pytest.raises(ConfigError, match=r"dynamics\.residual is true, but .* expected false"):
        get_origin("slotdiffusion").state_dict_map(config)
    alone = SlotDynamicsConfig.parse({"dynamics": DYNAMICS}, source="test")
    with pytest.raises(ConfigError, match=r"decoder is none, but .* expected diffusion"):
        get_origin("slotdiffusion").state_dict_map(alone)


def test_the_card_of_each_kind_of_model_says_what_it_can(
    model: SlotAutoencoder, slots: Tensor, tmp_path: Path
):
    video = torch.rand(1, 2, 3, 16, 16)
    tokenizer = presets.dvae(image_size=16, tokenizer={"vocab_size": 8, "hidden_dim": 8})
    for number, one in enumerate((model, tokenizer, former(model), readout())):
        folder = tmp_path / str(number)
        one.save_pretrained(folder)
        card = (folder / "README.md").read_text(encoding="utf-8")
        code = card.split("```python\n")[1].split("```")[0]
        exec(code.replace("this/repository", str(folder)), {"video": video, "slots": slots})
    assert "rollout" in (tmp_path / "2" / "README.md").read_text(encoding="utf-8")
    assert "Finds objects" not in (tmp_path / "3" / "README.md").read_text(encoding="utf-8")


def test_a_foreign_slotformer_is_the_original(
    reference_data: Path, assert_near: Callable[[Tensor, Tensor, float], None]
):
    folder = reference_data / "golden" / "slotformer_a"
    described = json.loads((folder / "config.json").read_text())
    weights, inputs, outputs = (
        load_file(folder / f"{name}.safetensors") for name in ("state_dict", "inputs", "outputs")
    )
    made = convert(weights, described)
    slots = inputs["slots"]
    with torch.no_grad():
        losses = made(slots)
    assert losses.slots is not None
    assert_near(losses.slots, outputs["pred_slots"], 1e-5)
    assert_near(losses.total, outputs["slot_recon_loss"], 1e-5)
    assert_near(made.rollout(slots[:, :5], 8), outputs["rollout_long"], 1e-5)
    names = get_origin("slotdiffusion").state_dict_map(made.config)
    back = names.to_theirs(made.state_dict())
    assert back.keys() == weights.keys() - names.ignored.keys()
    past = slots[:1, :4]
    seen = torch.cat([past, made.rollout(past, 2)], 1)
    assert_near(seen, outputs["decode.slots"], 1e-5)
    noise = inputs["xT_same"][:, None].expand(-1, 6, -1, -1, -1)
    with torch.no_grad():
        drawn = made.decoder.sample(seen, noise=noise).reconstruction
    assert_near(drawn, outputs["decode.recon_combined"], 1e-3)
