"""SlotDiffusion's SAVi in our model: each predictor, whole and in clips, as its code computes it.

The witnesses are those of ``test_slotdiffusion.py``. The encoder with a transformer and an LSTM
is compared with numbers of the original code in any case (``reference/README.md``), the whole
model where SLOT_REFERENCE_DATA holds its outputs.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from textbook import Weights, textbook_predictor, textbook_video
from torch import Tensor

from slot_core import SlotEncoder
from slot_decoders.models.build import build_encoder
from slot_decoders.models.state_dicts import convert, get_origin

Make = Callable[[dict[str, Any]], dict[str, Tensor]]
Near = Callable[[Tensor, Tensor, float], None]
REFERENCE = Path(__file__).parent / "reference"


def test_names_go_there_and_back(video_arguments: dict, foreign_weights: Make):
    weights = foreign_weights(video_arguments)
    model = convert(weights, video_arguments)
    names = get_origin("slotdiffusion").state_dict_map(model.config)
    back = names.to_theirs(model.state_dict())
    assert back.keys() == weights.keys() - names.ignored.keys()
    assert any(name.startswith("predictor.") for name in back)
    for name, value in back.items():
        assert torch.equal(value, weights[name]), name


def test_our_model_equals_the_textbook(
    video_arguments: dict, foreign_weights: Make, assert_near: Near
):
    weights = foreign_weights(video_arguments)
    img = torch.rand(2, 4, 3, 16, 16) * 2 - 1
    model = convert(weights, video_arguments)
    theirs = textbook_video(weights, video_arguments["args"], img)
    losses = model(img * 0.5 + 0.5)
    decoded = losses.decoded
    assert decoded is not None
    assert decoded.masks is not None
    assert decoded.components is not None
    assert losses.slots is not None
    assert_near(losses.slots, theirs["slots"], 1e-5)
    assert_near(decoded.masks[:, :, :, None], theirs["masks"], 1e-5)
    assert_near(decoded.components, theirs["recons"], 1e-5)
    assert_near(decoded.reconstruction, theirs["recon_img"], 1e-5)
    assert_near(losses.total, theirs["img_recon_loss"], 1e-5)


def test_the_gradients_are_those_of_the_textbook(video_arguments: dict, foreign_weights: Make):
    """In double precision, in eval mode: dropout would part them."""
    weights = {name: value.double() for name, value in foreign_weights(video_arguments).items()}
    img = torch.rand(2, 3, 3, 16, 16, dtype=torch.float64) * 2 - 1
    model = convert(weights, video_arguments).double()
    model(img * 0.5 + 0.5).total.backward()
    names = get_origin("slotdiffusion").state_dict_map(model.config)
    weights = {n: v.requires_grad_() for n, v in names.to_theirs(model.state_dict()).items()}
    textbook_video(weights, video_arguments["args"], img)["img_recon_loss"].backward()
    ours = names.to_theirs({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    assert ours.keys() == weights.keys()
    expected = [value.grad for value in weights.values()]
    torch.testing.assert_close([ours[name] for name in weights], expected, atol=1e-10, rtol=1e-6)


def test_the_encoder_gives_the_numbers_of_the_original_code(assert_near: Near):
    described = json.loads((REFERENCE / "savi_encoder.json").read_text())
    stored = load_file(REFERENCE / "savi_encoder.safetensors")
    weights = {k.removeprefix("weights."): v for k, v in stored.items() if "weights." in k}
    origin = get_origin("slotdiffusion")
    config = origin.read_config(described, source="reference")
    encoder = build_encoder(config).eval()
    own = {f"encoder.{name}": value for name, value in encoder.state_dict().items()}
    converted = origin.state_dict_map(config).to_ours(weights, own, source="reference")
    encoder.load_state_dict({k.removeprefix("encoder."): v for k, v in converted.items()})
    assert_predicts(encoder, stored, assert_near)
    video = stored["long_img"] * 0.5 + 0.5
    with torch.no_grad():
        assert_near(encoder(video).slots, stored["long_slots"], 1e-5)
        start = encoder(video[:, :4])
        end = encoder(video[:, 4:], start.state)
    assert_near(torch.cat([start.slots, end.slots], 1), stored["long_slots"], 1e-5)


def assert_predicts(encoder: SlotEncoder, stored: Weights, assert_near: Near) -> None:
    """The same slots twice: the second time the LSTM remembers the first."""
    assert encoder.predictor is not None
    with torch.no_grad():
        first, state = encoder.predictor(stored["pred_in"])
        second, _ = encoder.predictor(stored["pred_in"], state)
    assert_near(first, stored["pred_step1"], 1e-5)
    assert_near(second, stored["pred_step2"], 1e-5)


@pytest.fixture
def original(reference_data: Path) -> tuple[dict, Weights, Weights, Weights]:
    """Description, weights, inputs and outputs of the original code's small SAVi."""
    folder = reference_data / "golden" / "savi_a"
    described = json.loads((folder / "config.json").read_text())
    weights, inputs, outputs = (
        load_file(folder / f"{name}.safetensors") for name in ("state_dict", "inputs", "outputs")
    )
    return described, {n: v.float() for n, v in weights.items()}, inputs, outputs


def test_the_textbook_is_the_original(original: tuple, assert_near: Near):
    described, weights, inputs, outputs = original
    made = textbook_video(weights, described["args"], inputs["img"])
    for name in ("slots", "masks", "recon_img", "img_recon_loss"):
        assert_near(made[name], outputs[name], 1e-5)
    assert_near(made["recons"][:, -1], outputs["recons_frame_last"], 1e-5)
    memory = None
    for step in ("pred_step1", "pred_step2"):
        predicted, memory = textbook_predictor(
            weights, described["args"], inputs["pred_in"], memory
        )
        assert_near(predicted, outputs[step], 1e-5)


def test_our_model_equals_the_original(original: tuple, assert_near: Near):
    described, weights, inputs, outputs = original
    model = convert(weights, described)
    video = inputs["img"] * 0.5 + 0.5
    with torch.no_grad():
        losses = model(video)
        features, _ = model.encoder.features(video)
    decoded = losses.decoded
    assert decoded is not None
    assert decoded.masks is not None
    assert decoded.components is not None
    assert_near(features[:, 0], outputs["encoder_out_frame0"], 1e-5)
    assert_near(model.encode(video).slots, outputs["slots"], 1e-5)
    assert_near(model.segment(video)[:, :, :, None], outputs["masks"], 1e-5)
    assert_near(decoded.reconstruction, outputs["recon_img"], 1e-5)
    assert_near(decoded.components[:, -1], outputs["recons_frame_last"], 1e-5)
    assert_near(losses.total, outputs["img_recon_loss"], 1e-5)
    assert_predicts(model.encoder, inputs | outputs, assert_near)


@pytest.mark.parametrize("clip", [7, 4, 3, 1])
def test_a_long_video_whole_and_in_clips_equals_the_original(
    original: tuple, assert_near: Near, clip: int
):
    described, weights, inputs, outputs = original
    model = convert(weights, described)
    video = inputs["long_img"] * 0.5 + 0.5
    found = list(model.stream(video.split(clip, dim=1)))
    slots = torch.cat([chunk.slots for chunk in found], 1)
    masks = torch.cat([chunk.masks for chunk in found], 1)
    assert_near(slots, outputs["long_slots"], 1e-5)
    assert_near(slots, outputs["long_slots_split"], 1e-5)
    assert torch.equal(masks.argmax(2), outputs["long_masks_argmax"].long())
