"""SlotDiffusion at tiny sizes, trained for two steps."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from predicting import NUM_SLOTS, SLOT_DIM

import train
from slot_decoders.models import SlotAutoencoder, presets
from support.command_line import run

TOKENIZER = {
    "channels": [8, 8],
    "num_groups": 4,
    "layers_per_block": 1,
    "vocab_size": 9,
    "reconstruction": "mse",
    "perceptual_weight": 0,
}
DENOISER = {
    "channels": [8, 8],
    "num_groups": 4,
    "layers_per_block": 1,
    "attention_levels": [0, 1],
    "head_dim": 8,
    "dropout": 0,
}
BACKBONE = {"type": "cnn", "channels": [4, 8], "kernel_size": 3}
SMALL_DATA: dict[str, Any] = {"name": "shapes", "image_size": 32, "num_samples": 8}
RUN = {
    "model.preprocessing": {"image_size": [16, 16]},
    "train.num_steps": 2,
    "train.batch_size": 2,
    "train.num_threads": 1,
    "data.num_workers": 0,
    "validation.every": 2,
    "validation.num_samples": 2,
    "validation.num_pictures": 1,
    "checkpoint.every": 2,
    "log.every": 1,
    "log.curves": False,
}


def go(main: Callable[..., None], arguments: Sequence[str]) -> None:
    """Run a command that must succeed."""
    with pytest.raises(SystemExit) as stopped:
        run(main, arguments)
    assert not stopped.value.code


def train_tiny(recipe: str, out: Path, data: dict | None = None, **changes: Any) -> Path:
    """Two steps of a recipe at tiny sizes, on the embedded shapes."""
    go(train.main, tiny_arguments(recipe, out, data, **changes))
    return out


def tiny_arguments(recipe: str, out: Path, data: dict | None = None, **changes: Any) -> list[str]:
    """Of ``train.py``, for such a run."""
    parts: dict[str, Any] = {"model.tokenizer": TOKENIZER}
    if not recipe.startswith("vqvae/"):
        parts = {
            "model.num_slots": 3,
            "model.slot_dim": 8,
            "model.encoder.preprocessing": None,
            "model.encoder.backbone": BACKBONE,
            "model.encoder.corrector": {"hidden_dim": 8},
            "model.decoder.tokenizer": TOKENIZER,
            "model.decoder.denoiser": DENOISER,
        }
    given = {**RUN, "data": data or SMALL_DATA, **parts, **changes}
    del given["data.num_workers"]  # it is part of the data
    words = [recipe, "--out", str(out)]
    for key, value in given.items():
        words += ["--set", f"{key}={json.dumps(value)}"]
    return words


def lines(run_folder: Path) -> list[dict[str, Any]]:
    """The log of a run."""
    return [json.loads(line) for line in (run_folder / "metrics.jsonl").read_text().splitlines()]


def tiny_video_diffusion() -> SlotAutoencoder:
    """SlotDiffusion for videos with random weights, whose denoiser minds its slots."""
    torch.manual_seed(0)
    predictor = {"type": "transformer", "num_layers": 1, "num_heads": 2, "hidden_dim": 8}
    model = presets.slot_diffusion(
        num_slots=NUM_SLOTS,
        slot_dim=SLOT_DIM,
        image_size=16,
        encoder={"backbone": BACKBONE, "corrector": {"hidden_dim": 8}, "predictor": predictor},
        decoder={"tokenizer": TOKENIZER, "denoiser": DENOISER},
    )
    for parameter in model.decoder.denoiser.parameters():  # its last layer begins with zeros
        torch.nn.init.normal_(parameter, std=0.2)
    return model
