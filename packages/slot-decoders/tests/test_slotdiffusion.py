"""SlotDiffusion's weights in our model compute what its code computes.

Three witnesses. ``textbook.py`` writes the published model down with plain functions, straight
from the foreign names; it is compared with the full output of the original code where
SLOT_REFERENCE_DATA holds it, and with our model in any case. The decoder is compared with numbers
that the original code gave (``reference/README.md``). Videos are in
``test_slotdiffusion_video.py``.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from textbook import Weights, textbook
from torch import Tensor

from slot_core import EncoderState
from slot_core.config import merge
from slot_decoders import SpatialBroadcastDecoder
from slot_decoders.models import SlotAutoencoder
from slot_decoders.models.state_dicts import convert, get_origin

Make = Callable[[dict[str, Any]], dict[str, Tensor]]
Near = Callable[[Tensor, Tensor, float], None]
REFERENCE = Path(__file__).parent / "reference" / "mixture_decoder.safetensors"


def outputs_of(model: SlotAutoencoder, img: Tensor) -> Weights:
    """Our model's outputs under the foreign names, with their axes."""
    video = (img * 0.5 + 0.5)[:, None]
    normalised_video = model.preprocessing(video)
    losses = model(video)
    decoded = losses.decoded
    assert decoded is not None
    assert decoded.masks is not None
    assert decoded.components is not None
    return {
        "encoder_feat": model.encoder.backbone(normalised_video[:, 0]),
        "encoder_out": model.encoder.features(video)[0][:, 0],
        "slots": model.encode(video).slots[:, 0],
        "recons": decoded.components[:, 0],
        "masks": decoded.masks[:, 0, :, None],
        "recon_img": decoded.reconstruction[:, 0],
        "img_recon_loss": losses.total,
    }


def gradients_of(model: SlotAutoencoder) -> Weights:
    """Of every parameter, by our name."""
    assert all(parameter.grad is not None for parameter in model.parameters())
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def test_our_model_equals_the_textbook(arguments: dict, foreign_weights: Make, assert_near: Near):
    weights = foreign_weights(arguments)
    img = torch.rand(2, 3, *arguments["resolution"]) * 2 - 1
    model = convert(weights, arguments)
    ours, theirs = outputs_of(model, img), textbook(weights, arguments, img)
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert_near(ours[name], value, 1e-5)


def test_the_gradients_are_those_of_the_textbook(small: dict, foreign_weights: Make):
    """In double precision, as some of them vanish and are rounding errors in single."""
    weights = {name: value.double() for name, value in foreign_weights(small).items()}
    img = torch.rand(2, 3, 16, 16, dtype=torch.float64) * 2 - 1
    model = convert(weights, small).double()
    outputs_of(model, img)["img_recon_loss"].backward()
    names = get_origin("slotdiffusion").state_dict_map(model.config)
    weights = {
        name: value.requires_grad_() for name, value in names.to_theirs(model.state_dict()).items()
    }
    textbook(weights, small, img)["img_recon_loss"].backward()
    ours = names.to_theirs(gradients_of(model))
    assert ours.keys() == weights.keys()
    expected = [value.grad for value in weights.values()]
    torch.testing.assert_close([ours[name] for name in weights], expected, atol=1e-10, rtol=1e-6)


def test_the_decoder_gives_the_numbers_of_the_original_code(small: dict, assert_near: Near):
    stored = load_file(REFERENCE)
    weights = {k.removeprefix("weights."): v.float() for k, v in stored.items() if "weights." in k}
    decoder = SpatialBroadcastDecoder(32, (64, 64), channels=(16,) * 4, broadcast_size=(8, 8))
    changes = {
        "slot_dict": {"slot_size": 32},
        "dec_dict": {"dec_channels": [32, *[16] * 4], "dec_resolution": [8, 8]},
    }
    arguments = merge(small, changes)
    origin = get_origin("slotdiffusion")
    names = origin.state_dict_map(origin.read_config(arguments, source="test"))
    own = {f"decoder.{name}": value for name, value in decoder.state_dict().items()}
    converted = names.to_ours(weights, own, source="reference")
    decoder.load_state_dict({k.removeprefix("decoder."): v for k, v in converted.items()})
    losses = decoder(stored["slots"][:, None], stored["img"][:, None])
    decoded = losses.decoded
    assert decoded is not None
    assert decoded.masks is not None
    assert decoded.components is not None
    every_fifth = (..., slice(None, None, 5), slice(None, None, 5))
    assert_near(decoded.components[:, 0][every_fifth], stored["recons"], 1e-5)
    assert_near(decoded.masks[:, 0, :, None][every_fifth], stored["masks"], 1e-5)
    assert_near(decoded.reconstruction[:, 0][every_fifth], stored["recon_img"], 1e-5)
    assert_near(losses.total, stored["img_recon_loss"], 1e-5)


@pytest.fixture
def original(reference_data: Path) -> tuple[dict, Weights, Weights, Weights]:
    """Arguments, weights, inputs and outputs of the original code's small Slot Attention."""
    folder = reference_data / "golden" / "sa_a"
    arguments = json.loads((folder / "config.json").read_text())["args"]
    weights, inputs, outputs = (
        load_file(folder / f"{name}.safetensors") for name in ("state_dict", "inputs", "outputs")
    )
    return arguments, weights, inputs, outputs


def test_the_textbook_is_the_original(original: tuple, assert_near: Near):
    arguments, weights, inputs, outputs = original
    made = textbook(weights, arguments, inputs["img"])
    for name, value in made.items():
        assert_near(value, outputs[name], 1e-5)
    again = textbook(weights, arguments, inputs["img"], first=inputs["init_slots"])
    assert_near(again["slots"], outputs["slots_from_init"], 1e-5)


def test_our_model_equals_the_original(original: tuple, assert_near: Near):
    arguments, weights, inputs, outputs = original
    model = convert(weights, arguments)
    ours = outputs_of(model, inputs["img"])
    for name, value in ours.items():
        assert_near(value, outputs[name], 1e-5)
    frame = (inputs["img"] * 0.5 + 0.5)[:, None]
    given = model.encoder(frame, EncoderState(inputs["init_slots"]))
    assert_near(given.slots[:, 0], outputs["slots_from_init"], 1e-5)
    ours["img_recon_loss"].backward()
    gradients = gradients_of(model)
    norms = torch.stack([gradient.norm() for gradient in gradients.values()])
    assert_near(norms.norm(), outputs["grad_norm_total"], 1e-4)
    theirs = get_origin("slotdiffusion").state_dict_map(model.config).to_theirs(gradients)
    for name in ("init_latents", "slot_attention.project_q.1.weight"):
        assert_near(theirs[name], outputs[f"grad.{name}"], 1e-4)
