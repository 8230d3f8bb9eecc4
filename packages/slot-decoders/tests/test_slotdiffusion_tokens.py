"""SlotDiffusion's dVAE, SLATE and STEVE in our models, as its code computes them.

The witnesses are those of ``test_slotdiffusion.py``: the textbook in any case, numbers of the
original decoder in any case (``reference/README.md``), and whole models where SLOT_REFERENCE_DATA
holds their outputs.
"""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from textbook import Weights, textbook_attention, textbook_features
from textbook_tokens import (
    textbook_detokenize,
    textbook_generate,
    textbook_token_logits,
    textbook_tokenize,
)
from torch import Tensor

from slot_core import CheckpointError, ConfigError
from slot_decoders import DVAE
from slot_decoders.gumbel import gumbel_of, gumbel_softmax
from slot_decoders.models import SlotAutoencoder, TokenizerModel, build_model, presets
from slot_decoders.models.build import build_decoder
from slot_decoders.models.state_dicts import convert, get_origin

Make = Callable[[dict[str, Any]], dict[str, Tensor]]
Near = Callable[[Tensor, Tensor, float], None]
REFERENCE = Path(__file__).parent / "reference"
SLATE = "slotdiffusion.img_based.models.slate.slate.SLATE"
STEVE = "slotdiffusion.video_based.models.steve.steve.STEVE"
STEPS = 1000  # of the training whose temperatures are stored
TOKENS = {
    "dvae_dict": {"down_factor": 4, "vocab_size": 9, "dvae_ckp_path": "dvae.pth"},
    "dec_dict": {"dec_type": "slate", "dec_num_layers": 3, "dec_num_heads": 2, "dec_d_model": 8},
    "loss_dict": {"use_img_recon_loss": False},
}


@pytest.fixture
def slate(small: dict) -> dict[str, Any]:
    return {"cls": SLATE, "args": small | copy.deepcopy(TOKENS)}


@pytest.fixture
def steve(small_video: dict) -> dict[str, Any]:
    return {"cls": STEVE, "args": small_video["args"] | copy.deepcopy(TOKENS)}


def weights_of(described: dict[str, Any]) -> Weights:
    """Random weights under the foreign names, buffers included."""
    origin = get_origin("slotdiffusion")
    config = origin.read_config(described, source="test")
    names = origin.state_dict_map(config)
    own = build_model(config).state_dict()
    noise = {name: value + 0.1 * torch.randn_like(value) for name, value in own.items()}
    masks = {n: torch.ones(16, 16).triu(1).bool() for n in names.ignored if n.endswith("_mask")}
    grids = {n: torch.zeros(1, 16, 16, 4) for n in names.ignored if "encoder_pos" in n}
    return names.to_theirs(noise) | masks | grids


def test_names_go_there_and_back(slate: dict, steve: dict):
    for described in (slate, steve, {"cls": "dVAE", "args": {"vocab_size": 9}}):
        weights = weights_of(described)
        model = convert(weights, described)
        names = get_origin("slotdiffusion").state_dict_map(model.config)
        back = names.to_theirs(model.state_dict())
        assert back.keys() == weights.keys() - names.ignored.keys()
        for name, value in back.items():
            assert torch.equal(value, weights[name]), name


def test_slate_equals_the_textbook(slate: dict, assert_near: Near):
    weights, arguments = weights_of(slate), slate["args"]
    model = convert(weights, slate)
    img = torch.rand(2, 3, 16, 16) * 2 - 1
    features = textbook_features(weights, arguments, img)["encoder_out"]
    first = weights["init_latents"].repeat(2, 1, 1)
    slots = textbook_attention(weights, arguments, features, first)
    tokens = textbook_tokenize(weights, "dvae.", img).argmax(1).flatten(1)
    logits = textbook_token_logits(weights, arguments, slots, tokens[:, :-1])
    video = (img * 0.5 + 0.5)[:, None]
    losses = model(video)
    assert losses.slots is not None
    assert_near(losses.slots[:, 0], slots, 1e-5)
    assert torch.equal(model.decoder.tokenizer.encode(img).flatten(1), tokens)
    assert_near(model.decoder.logits(slots, tokens), logits, 1e-5)
    assert_near(losses.total, F.cross_entropy(logits.mT, tokens), 1e-5)
    generated = textbook_generate(weights, arguments, slots, 16)
    assert torch.equal(model.decoder.generate(slots), generated)
    one_hot = F.one_hot(generated, 9).float().mT.unflatten(2, (4, 4))
    painted = textbook_detokenize(weights, "dvae.", one_hot)
    assert_near(model.reconstruct(video)[:, 0], (painted * 0.5 + 0.5).clamp(0, 1), 1e-5)


def test_the_second_loss_equals_the_textbook(slate: dict, assert_near: Near):
    slate["args"]["loss_dict"]["use_img_recon_loss"] = True
    weights, arguments = weights_of(slate), slate["args"]
    model = convert(weights, slate)
    img = torch.rand(2, 3, 16, 16) * 2 - 1
    torch.manual_seed(5)
    losses = model((img * 0.5 + 0.5)[:, None])
    slots = model.encode((img * 0.5 + 0.5)[:, None]).slots[:, 0]
    tokens = textbook_tokenize(weights, "dvae.", img).argmax(1).flatten(1)
    logits = textbook_token_logits(weights, arguments, slots, tokens[:, :-1])
    torch.manual_seed(5)
    in_rows = logits.mT.unflatten(2, (4, 4)).contiguous().log_softmax(1)
    noise = -torch.empty_like(in_rows).exponential_().log()
    drawn = ((in_rows + noise) / 0.1).softmax(1)
    error = (textbook_detokenize(weights, "dvae.", drawn) - img).square().mean()
    assert_near(losses.parts["reconstruction"], error, 1e-5)
    assert_near(losses.total, losses.parts["cross_entropy"] + error, 1e-5)


def test_the_decoder_gives_the_numbers_of_the_original_code(assert_near: Near):
    described = json.loads((REFERENCE / "token_decoder.json").read_text())
    stored = load_file(REFERENCE / "token_decoder.safetensors")
    weights = {k.removeprefix("weights."): v.float() for k, v in stored.items() if "weights." in k}
    origin = get_origin("slotdiffusion")
    config = origin.read_config(described, source="reference")
    decoder: Any = build_decoder(config).eval()
    own = {f"decoder.{n}": v for n, v in decoder.state_dict().items() if "tokenizer" not in n}
    converted = origin.state_dict_map(config).to_ours(weights, own, source="reference")
    converted = {name.removeprefix("decoder."): value for name, value in converted.items()}
    missing, surplus = decoder.load_state_dict(converted, strict=False)
    assert not surplus
    assert all(name.startswith("tokenizer.") for name in missing)
    logits = decoder.logits(stored["slots"], stored["target_token_id"].long())
    assert_near(logits, stored["pred_token_id"], 1e-5)
    assert torch.equal(decoder.generate(stored["slots"]), stored["generate.idx"].long())


@pytest.mark.parametrize("system", ["slate", "steve"])
def test_the_presets_are_their_recipes(request: pytest.FixtureRequest, system: str):
    described = request.getfixturevalue(system)
    arguments = described["args"]
    arguments["resolution"] = [128, 128]
    arguments["slot_dict"] = {
        "num_slots": 11 if system == "slate" else 15,
        "slot_size": 192,
        "slot_mlp_size": 384,
        "num_iterations": 3 if system == "slate" else 2,
    }
    arguments["enc_dict"] = {"resnet": "resnet18", "use_layer4": False, "enc_out_channels": 192}
    arguments["dvae_dict"]["vocab_size"] = 4096
    arguments["dec_dict"] = {"dec_num_layers": 8, "dec_num_heads": 4, "dec_d_model": 192}
    if system == "steve":
        sizes = {"pred_num_layers": 2, "pred_num_heads": 4, "pred_ffn_dim": 768}
        arguments["pred_dict"] |= sizes
    config = get_origin("slotdiffusion").read_config(described, source="recipe")
    assert config == presets.PRESETS[system]


def test_what_does_not_fit_is_named(slate: dict):
    weights = weights_of(slate)
    slate["args"]["dec_dict"]["dec_d_model"] = 12
    with pytest.raises(ConfigError, match=r"'dec_dict\.dec_d_model' is 12, expected slot_size, 8"):
        convert(weights, slate)
    slate["args"]["dec_dict"]["dec_d_model"] = 8
    slate["args"]["dvae_dict"]["down_factor"] = 8
    with pytest.raises(ConfigError, match=r"'dvae_dict\.down_factor' has the value 8"):
        convert(weights, slate)
    slate["args"]["dvae_dict"] = {"vocab_size": 10, "down_factor": 4}
    with pytest.raises(CheckpointError, match=r"has the shape .* the configuration asks for"):
        convert(weights, slate)


# ---------------------------------------------------------------- where the original's outputs are


def original(folder: Path) -> tuple[dict, Weights, Weights, Weights]:
    """Description, weights, inputs and outputs of a small model of the original code."""
    described = json.loads((folder / "config.json").read_text())
    weights, inputs, outputs = (
        load_file(folder / f"{name}.safetensors") for name in ("state_dict", "inputs", "outputs")
    )
    return described, weights, inputs, outputs


@pytest.mark.parametrize("name", ["dvae_img_a", "dvae_vid_a"])
def test_the_dvae_equals_the_original(reference_data: Path, assert_near: Near, name: str):
    described, weights, inputs, outputs = original(reference_data / "golden" / name)
    model = convert(weights, described)
    assert isinstance(model, TokenizerModel)
    dvae: Any = model.tokenizer
    assert isinstance(dvae, DVAE)
    frames = inputs["img"].flatten(0, -4)
    with torch.no_grad():
        logits = dvae.logits(frames)
    assert_near(logits, outputs["logits"], 1e-5)
    assert_near(logits.log_softmax(1), outputs["z_logits"].flatten(0, -4), 1e-5)
    assert torch.equal(dvae.encode(frames), outputs["tokens"].flatten(0, -3).long())
    assert_near(dvae.reconstruct(frames), outputs["recon_onehot"].flatten(0, -4), 1e-5)
    noise = gumbel_of(inputs["exponential_noise"])
    for draw, temperature, hard in (
        ("soft_tau1", 1.0, False),
        ("soft_tau0.1", 0.1, False),
        ("hard_tau0.5", 0.5, True),
    ):
        with torch.no_grad():
            drawn = gumbel_softmax(logits, noise, temperature, hard=hard)
            painted = dvae.decode_mixture(drawn)
        assert_near(drawn, outputs[f"{draw}.z"].flatten(0, -4), 1e-5)
        assert_near(painted, outputs[f"{draw}.recon"].flatten(0, -4), 1e-5)
        assert_near(F.mse_loss(painted, frames), outputs[f"{draw}.recon_loss"], 1e-5)


@pytest.mark.parametrize("name", ["slate_a", "steve_a"])
def test_the_model_equals_the_original(reference_data: Path, assert_near: Near, name: str):
    described, weights, inputs, outputs = original(reference_data / "golden" / name)
    model = convert(weights, described)
    assert isinstance(model, SlotAutoencoder)
    decoder, video = model.decoder, inputs["img"] * 0.5 + 0.5
    video = video if video.ndim == 5 else video[:, None]
    with torch.no_grad():
        losses = model(video)
        features, _ = model.encoder.features(video)
    shape = outputs["slots"].shape
    slots, masks = model.encode(video).slots, model.segment(video)
    assert_near(slots.view(shape), outputs["slots"], 1e-5)
    assert_near(masks.view(outputs["masks"].shape), outputs["masks"], 1e-5)
    first = outputs.get("encoder_out", outputs.get("encoder_out_frame0"))
    assert first is not None
    assert_near(features[:, 0], first, 1e-5)
    frames, slots = (inputs["img"].flatten(0, -4), slots.flatten(0, 1))
    tokens = decoder.tokenizer.encode(frames).flatten(1)
    assert torch.equal(tokens, outputs["target_token_id"].long())
    assert_near(decoder.logits(slots, tokens).detach(), outputs["pred_token_id"], 1e-5)
    assert_near(losses.total, outputs["token_recon_loss"], 1e-5)
    generated = decoder.generate(slots)
    assert torch.equal(generated, outputs["generate.idx"].long())
    assert_near(decoder.logits(slots, generated).detach(), outputs["generate.logits"], 1e-5)
    painted = decoder.decode(slots[:, None]).reconstruction[:, 0]
    assert_near(painted, outputs["generate.recon_img"].flatten(0, -4), 1e-5)
    if "token_id" in inputs:
        given = inputs["token_id"].long()
        logits = decoder.logits(slots, given).detach()
        assert_near(logits, outputs["given_token.pred_token_id"], 1e-5)
        loss = F.cross_entropy(logits.mT, given)
        assert_near(loss, outputs["given_token.token_recon_loss"], 1e-5)


def test_the_temperature_is_the_originals(reference_data: Path):
    stored = load_file(reference_data / "golden" / "schedules" / "outputs.safetensors")["tau.dvae"]
    dvae = DVAE(vocab_size=2, hidden_dim=1)
    ours = torch.tensor([dvae.temperature(step / STEPS) for step in range(len(stored))])
    torch.testing.assert_close(ours, stored.float(), atol=1e-6, rtol=0)
