"""SlotDiffusion's weights in our model compute what its code computes.

Three witnesses. ``textbook`` below writes the published model down with plain functions, straight
from the foreign names; it is compared with the full output of the original code where
SLOT_REFERENCE_DATA holds it, and with our model in any case. The decoder is compared with numbers
that the original code gave (``reference/README.md``).
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from slot_core import EncoderState
from slot_decoders import SpatialBroadcastDecoder
from slot_decoders.models import SlotAutoencoder, presets
from slot_decoders.models.state_dicts import convert, get_origin

Make = Callable[[dict[str, Any]], dict[str, Tensor]]
Near = Callable[[Tensor, Tensor, float], None]
Weights = dict[str, Tensor]
REFERENCE = Path(__file__).parent / "reference" / "mixture_decoder.safetensors"


def textbook(
    weights: Weights, arguments: dict, img: Tensor, first: Tensor | None = None
) -> Weights:
    """The published model, position by position, on pictures in [-1, 1]."""
    w = {name: value.to(img.dtype) for name, value in weights.items()}
    encoder = arguments["enc_dict"]
    if "resnet" in encoder:
        features = textbook_resnet(w, img)
    else:
        features = img
        for i in range(len(encoder["enc_channels"]) - 1):
            features = features.relu() if i else features
            stride = 2 if i == 0 and img.shape[-2] > 64 else 1
            kernel, bias = w[f"encoder.{i}.0.weight"], w[f"encoder.{i}.0.bias"]
            features = F.conv2d(features, kernel, bias, stride, padding=encoder["enc_ks"] // 2)
    made = {"encoder_feat": features}
    features = with_positions(w, "encoder_pos_embedding", features).flatten(2).mT
    features = normalised(w, "encoder_out_layer.0", features)
    features = linear(w, "encoder_out_layer.1", features).relu()
    made["encoder_out"] = features = linear(w, "encoder_out_layer.3", features)
    slots = w["init_latents"].repeat(len(img), 1, 1) if first is None else first
    made["slots"] = textbook_attention(w, arguments, features, slots)
    return made | textbook_decoder(w, arguments, made["slots"], img)


def textbook_resnet(w: Weights, img: Tensor) -> Tensor:
    """He et al. (2016) with torchvision's names, group norms and a small-input stem."""

    def norm(name: str, x: Tensor) -> Tensor:
        return F.group_norm(x, 32, w[f"{name}.weight"], w[f"{name}.bias"])

    x = norm("encoder.bn1", F.conv2d(img, w["encoder.conv1.weight"], padding=1)).relu()
    blocks = dict.fromkeys(name.rsplit(".", 2)[0] for name in w if ".conv1." in name)
    for block in (name for name in blocks if "layer" in name):
        stride = 2 if f"{block}.downsample.0.weight" in w else 1
        shortcut = x
        if stride == 2:
            shortcut = F.conv2d(x, w[f"{block}.downsample.0.weight"], stride=2)
            shortcut = norm(f"{block}.downsample.1", shortcut)
        y = F.conv2d(x, w[f"{block}.conv1.weight"], stride=stride, padding=1)
        y = F.conv2d(norm(f"{block}.bn1", y).relu(), w[f"{block}.conv2.weight"], padding=1)
        x = (norm(f"{block}.bn2", y) + shortcut).relu()
    return x


def textbook_attention(w: Weights, arguments: dict, features: Tensor, slots: Tensor) -> Tensor:
    """Algorithm 1 of Locatello et al. (2020), keys and values of every position in full."""
    features = normalised(w, "slot_attention.norm_inputs", features)
    keys, values = (linear(w, f"slot_attention.project_{x}", features) for x in "kv")
    gru = [w[f"slot_attention.gru.{x}"] for x in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    for _ in range(arguments["slot_dict"]["num_iterations"]):
        queries = normalised(w, "slot_attention.project_q.0", slots)
        queries = linear(w, "slot_attention.project_q.1", queries)
        logits = torch.einsum("bnd,bkd->bnk", keys, queries) / slots.shape[-1] ** 0.5
        attention = logits.softmax(-1) + arguments.get("eps", 1e-6)
        attention = attention / attention.sum(1, keepdim=True)
        updates = torch.einsum("bnk,bnd->bkd", attention, values)
        slots = textbook_gru(gru, updates, slots)
        hidden = normalised(w, "slot_attention.mlp.0", slots)
        hidden = linear(w, "slot_attention.mlp.1", hidden).relu()
        slots = slots + linear(w, "slot_attention.mlp.3", hidden)
    return slots


def textbook_gru(weights: list[Tensor], inputs: Tensor, state: Tensor) -> Tensor:
    """Cho et al. (2014), in the order reset, update, new."""
    of_input, of_state, input_bias, state_bias = weights
    ir, iz, new = (inputs @ of_input.T + input_bias).chunk(3, -1)
    hr, hz, old = (state @ of_state.T + state_bias).chunk(3, -1)
    update = (iz + hz).sigmoid()
    return (1 - update) * (new + (ir + hr).sigmoid() * old).tanh() + update * state


def textbook_decoder(w: Weights, arguments: dict, slots: Tensor, img: Tensor) -> Weights:
    """Spatial broadcast: stride 2 until the picture's size, then 1; a softmax over the slots."""
    height, width = arguments["dec_dict"]["dec_resolution"]
    grid = slots.flatten(0, 1)[:, :, None, None].repeat(1, 1, height, width)
    grid = with_positions(w, "decoder_pos_embedding", grid)
    layers = len(arguments["dec_dict"]["dec_channels"]) - 1
    for i in range(layers):
        stride = 1 if grid.shape[-2:] == img.shape[-2:] else 2
        kernel, bias = w[f"decoder.{i}.0.weight"], w[f"decoder.{i}.0.bias"]
        padding = kernel.shape[-1] // 2
        grid = F.conv_transpose2d(grid, kernel, bias, stride, padding, stride - 1).relu()
    out = F.conv2d(grid, w[f"decoder.{layers}.weight"], w[f"decoder.{layers}.bias"])
    out = out.unflatten(0, slots.shape[:2])
    masks = out[:, :, 3:].softmax(1)
    mixed = (out[:, :, :3] * masks).sum(1)
    loss = (mixed - img).square().mean()
    return {"recons": out[:, :, :3], "masks": masks, "recon_img": mixed, "img_recon_loss": loss}


def linear(w: Weights, name: str, x: Tensor) -> Tensor:
    return F.linear(x, w[f"{name}.weight"], w.get(f"{name}.bias"))


def normalised(w: Weights, name: str, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"])


def with_positions(w: Weights, name: str, x: Tensor) -> Tensor:
    height, width = x.shape[-2:]
    rows, columns = (torch.linspace(0, 1, size) for size in (height, width))
    y, x_ = torch.meshgrid(rows, columns, indexing="ij")
    grid = torch.stack([y, x_, 1 - y, 1 - x_], -1).to(x.dtype)
    return x + linear(w, f"{name}.dense", grid).permute(2, 0, 1)


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
        "encoder_out": model.encoder.features(normalised_video)[0][:, 0],
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
    arguments = presets.merge(small, changes)
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
    frame = model.preprocessing((inputs["img"] * 0.5 + 0.5)[:, None])
    given = model.encoder(frame, EncoderState(inputs["init_slots"]))
    assert_near(given.slots[:, 0], outputs["slots_from_init"], 1e-5)
    ours["img_recon_loss"].backward()
    gradients = gradients_of(model)
    norms = torch.stack([gradient.norm() for gradient in gradients.values()])
    assert_near(norms.norm(), outputs["grad_norm_total"], 1e-4)
    theirs = get_origin("slotdiffusion").state_dict_map(model.config).to_theirs(gradients)
    for name in ("init_latents", "slot_attention.project_q.1.weight"):
        assert_near(theirs[name], outputs[f"grad.{name}"], 1e-4)
