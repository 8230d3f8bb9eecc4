"""predict.py --future: frames to come, drawn by the video model's own decoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from predicting import NUM_SLOTS, SLOT_DIM, ending, noise, read, save, sentence, tiny_video_model
from tiny_diffusion import tiny_video_diffusion

from slot_core import fingerprint
from slot_decoders.models import load_model, presets

BURN_IN = 3


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video model, one that predicts its slots, and a video of six frames of 24x40."""
    place = tmp_path_factory.mktemp("place")
    tiny_video_model().save_pretrained(place / "model")
    torch.manual_seed(0)
    dynamics = {"burn_in": BURN_IN, "model_dim": 8, "num_layers": 1, "num_heads": 2}
    for name, found_by in (("dynamics", fingerprint(place / "model")), ("foreign", "a" * 64)):
        presets.slot_former(
            num_slots=NUM_SLOTS, slot_dim=SLOT_DIM, stride=1, dynamics=dynamics, slots_of=found_by
        ).save_pretrained(place / name)
    for time in range(6):
        save(noise(24, 40, seed=time), place / "video" / f"{time}.png")
    return place


def predict(place: Path, out: Path, *more: object, dynamics: str = "dynamics") -> int:
    words = [place / "model", place / "video", "--frames", "--out", out, "--future", 4]
    return ending(*words, "--dynamics", place / dynamics, *more)


def test_the_frames_to_come_are_those_of_the_rollout(place: Path, tmp_path: Path):
    assert predict(place, tmp_path / "out") == 0
    drawn = sorted((tmp_path / "out" / "future" / "video").iterdir())
    assert [path.name for path in drawn] == [f"{number:06d}.png" for number in range(1, 5)]
    assert all(read(path).shape == (24, 40, 3) for path in drawn)
    model = tiny_video_model()
    frames = np.stack([read(place / "video" / f"{time}.png") for time in range(6)])
    video = torch.from_numpy(frames).movedim(-1, 1)[None].float() / 255
    slots = model.encode(video).slots
    later = load_model(place / "dynamics").rollout(slots, 4)
    with torch.no_grad():
        painted = model.preprocessing.undo(model.decoder.decode(later).reconstruction)
    expected = torch.nn.functional.interpolate(
        painted[0], (24, 40), mode="bilinear", antialias=True
    )
    pixels = (expected.clamp(0, 1) * 255).round()
    for number, path in enumerate(drawn):
        found = torch.from_numpy(read(path).copy()).movedim(-1, 0)
        assert (found - pixels[number]).abs().max() <= 1
    with Image.open(tmp_path / "out" / "future" / "video.gif") as moving:
        assert getattr(moving, "n_frames", 1) == 4


@pytest.mark.parametrize("half", ["model", "dynamics"])
def test_either_model_may_be_in_half_precision(half: str, place: Path, tmp_path: Path):
    words = [place / "video", "--frames", "--out", tmp_path / "out", "--future", 2]
    dynamics = load_model(place / "dynamics", changes={"slots_of": None})  # the model is another
    for name, model in (("model", tiny_video_model()), ("dynamics", dynamics)):
        model.to(torch.bfloat16 if name == half else torch.float32)
        model.save_pretrained(tmp_path / name)
    assert ending(tmp_path / "model", *words, "--dynamics", tmp_path / "dynamics") == 0
    assert read(tmp_path / "out" / "future" / "video" / "000002.png").shape == (24, 40, 3)


def test_the_strip_has_the_truth_where_it_is_known(place: Path, tmp_path: Path):
    assert predict(place, tmp_path / "all") == 0
    assert predict(place, tmp_path / "some", "--observed", 3) == 0
    alone, both = (Image.open(tmp_path / name / "future" / "video.png") for name in ("all", "some"))
    assert both.height > 1.5 * alone.height  # a second row
    with Image.open(tmp_path / "some" / "future" / "video.gif") as moving:
        assert getattr(moving, "n_frames", 1) == 3  # after three frames the truth is known of three


def test_what_cannot_be_foreseen_is_told(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert predict(place, tmp_path / "a", "--observed", 2) == 2
    assert "2 frames are seen; what comes after them is predicted from 3" in sentence(capsys)
    assert predict(place, tmp_path / "b", dynamics="foreign") == 2
    assert "predicts slots of the model aaaaaaaaaaaa, but" in sentence(capsys)
    assert predict(place, tmp_path / "c", dynamics="model") == 2
    assert "holds a SlotAutoencoder, which predicts no slots" in sentence(capsys)
    words = [place / "model", place / "video", "--out", tmp_path / "d"]
    assert ending(*words, "--frames", "--future", 4) == 2
    assert "--future needs --dynamics" in sentence(capsys)
    assert ending(*words, "--frames", "--observed", 4) == 2
    assert "--dynamics and --observed are about --future" in sentence(capsys)
    assert ending(*words, "--future", 4, "--dynamics", place / "dynamics") == 2
    assert "--future is of videos; what was given are pictures" in sentence(capsys)


def test_a_decoder_of_features_is_told_before_any_work(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    features = {"type": "feature_mlp", "hidden_dim": 8, "num_layers": 2}
    config = {**tiny_video_model().config.model_dump(), "decoder": features}
    presets.savi(**config).save_pretrained(tmp_path / "model")
    words = [tmp_path / "model", place / "video", "--frames", "--out", tmp_path / "out"]
    assert ending(*words, "--future", 2, "--dynamics", place / "dynamics") == 2
    assert "model: decodes slots to features, not to pictures, so --future" in sentence(capsys)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("decoder", ["transformer", "diffusion"])
def test_every_decoder_draws_what_comes(decoder: str, tmp_path: Path):
    if decoder == "diffusion":
        model = tiny_video_diffusion()
    else:
        model = tiny_video_model().config.model_dump()
        tokenizer = {"type": "dvae", "vocab_size": 8, "hidden_dim": 8}
        options = {"type": "transformer", "tokenizer": tokenizer, "num_layers": 1, "num_heads": 2}
        model = presets.steve(**{**model, "decoder": options, "mask_source": None})
    model.save_pretrained(tmp_path / "model")
    presets.slot_former(
        num_slots=NUM_SLOTS,
        slot_dim=SLOT_DIM,
        stride=1,
        dynamics={"burn_in": BURN_IN, "model_dim": 8, "num_layers": 1, "num_heads": 2},
    ).save_pretrained(tmp_path / "dynamics")
    for time in range(BURN_IN):
        save(noise(24, 40, seed=time), tmp_path / "video" / f"{time}.png")
    drawn = []
    for out in (tmp_path / "one", tmp_path / "again"):
        words = [tmp_path / "model", tmp_path / "video", "--frames", "--out", out, "--future", 2]
        assert ending(*words, "--dynamics", tmp_path / "dynamics") == 0
        drawn.append(read(out / "future" / "video" / "000002.png"))
    assert drawn[0].shape == (24, 40, 3)
    assert drawn[0].std() > 0
    assert (drawn[0] == drawn[1]).all()  # whatever a decoder draws at random
