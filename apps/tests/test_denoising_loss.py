"""SlotFormer trained by the loss of a frozen diffusion decoder, tiny, through train.py.

The slots are those of a SlotDiffusion for videos whose weights are random, so that what the decoder
wants depends on the slots.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from predicting import NUM_SLOTS, SLOT_DIM
from runs import events
from tiny_diffusion import go, tiny_video_diffusion
from torch import Tensor

import extract_slots
import train
from slot_decoders.models import load_model

BURN_IN, FRAMES = 3, 5


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SlotDiffusion for videos, and its slots of short clips."""
    place = tmp_path_factory.mktemp("place")
    tiny_video_diffusion().save_pretrained(place / "model")
    words = [str(place / "model"), "shapes", "--out", str(place / "slots")]
    for split in ("train", "validation", "test"):
        words += ["--split", split]
    for option in ("num_samples=8", f"num_frames={FRAMES}", "image_size=32", "max_objects=3"):
        words += ["--option", option]
    go(extract_slots.main, words)
    return place


def trained(place: Path, out: Path, num_steps: int, **changes: Any) -> dict[str, Tensor]:
    """The weights after so many steps, with the denoising loss alone unless told."""
    config = load_model(place / "model").config
    settings: dict[str, Any] = {
        "model.num_slots": NUM_SLOTS,
        "model.slot_dim": SLOT_DIM,
        "model.preprocessing": config.preprocessing.model_dump(mode="json"),
        "model.decoder": config.decoder.model_dump(mode="json"),
        "model.slot_loss_weight": 0,
        "model.image_loss_weight": 1,
        "start.decoder": str(place / "model"),
        "data.root": str(place / "slots"),
        "data.num_frames": FRAMES,
        "data.pixels": True,
        "data.evaluation": {"clips": "first", "pixels": False},  # nothing is painted
        "train.num_steps": num_steps,
        "train.batch_size": 4,
        "train.num_threads": 1,
        "validation.every": num_steps,
        "validation.num_samples": 4,
        "checkpoint.every": num_steps,
        "log.every": 1,
        "log.curves": False,
    }
    tiny = {"burn_in": BURN_IN, "model_dim": 8, "num_layers": 1, "num_heads": 2, "hidden_dim": 8}
    settings |= {f"model.dynamics.{key}": value for key, value in tiny.items()}
    words = ["slot_former/shapes", "--out", str(out)]
    for key, value in {**settings, **changes}.items():
        words += ["--set", f"{key}={json.dumps(value)}"]
    go(train.main, words)
    return load_model(out).state_dict()


def test_the_decoder_stays_and_the_slots_are_moved(place: Path, tmp_path: Path):
    weights = trained(place, tmp_path / "run", 4)
    found_by = load_model(place / "model").decoder.state_dict()
    decoder = {name: value for name, value in weights.items() if name.startswith("decoder.")}
    assert decoder.keys() == {f"decoder.{name}" for name in found_by}
    for name, value in found_by.items():
        assert torch.equal(decoder[f"decoder.{name}"], value), name
    logged = events(tmp_path / "run", "train")
    assert all(event["loss"] == event["image_denoising"] for event in logged)
    assert all(event["gradient_norm"] > 0 for event in logged)
    # Its validation has no pixels, so there is no held-out loss of them.
    assert "loss" not in events(tmp_path / "run", "validation")[0]
    # Every weight of SlotFormer moves, though no loss is on the slots themselves.
    fewer = trained(place, tmp_path / "fewer", 2)
    for name in weights.keys() - decoder.keys():
        assert not torch.equal(weights[name], fewer[name]), name


def test_both_losses_are_added(place: Path, tmp_path: Path):
    changes = {"model.slot_loss_weight": 2, "model.image_loss_weight": 0.5}
    trained(place, tmp_path / "run", 1, **changes)
    (event,) = events(tmp_path / "run", "train")
    expected = 2 * event["slot_error"] + 0.5 * event["image_denoising"]
    assert event["loss"] == pytest.approx(expected, rel=1e-6)
