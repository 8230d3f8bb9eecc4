"""Calling predict.py with tiny models, and reading what it wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import predict
from slot_decoders.models import SlotAutoencoder, presets
from support.command_line import run

SCRIPT = Path(predict.__file__)
NUM_SLOTS, SLOT_DIM = 5, 16


def tiny_model(**changes: object) -> SlotAutoencoder:
    torch.manual_seed(0)
    changes.setdefault("num_slots", NUM_SLOTS)
    return presets.slot_attention(
        slot_dim=SLOT_DIM,
        image_size=32,
        encoder={
            "backbone": {"type": "cnn", "channels": (8,)},
            "corrector": {"hidden_dim": 16},
            "initializer": {"type": changes.pop("initializer", "learned")},
        },
        decoder={"channels": (8, 8)},
        **changes,
    ).eval()


def tiny_video_model(**changes: Any) -> SlotAutoencoder:
    torch.manual_seed(0)
    return presets.savi(
        num_slots=NUM_SLOTS,
        slot_dim=SLOT_DIM,
        image_size=32,
        encoder={
            "backbone": {"type": "cnn", "channels": (8,)},
            "predictor": {"num_layers": 1, "num_heads": 2, "recurrent_dim": 8},
        },
        decoder={"channels": (8, 8)},
        **changes,
    ).eval()


def ending(*arguments: object) -> int:
    with pytest.raises(SystemExit) as exit_info:
        run(predict.main, [str(argument) for argument in arguments])
    code = exit_info.value.code
    return 0 if code is None else int(code)


def noise(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def save(pixels: np.ndarray, path: Path, **options: Any) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return pixels


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def sentence(captured: pytest.CaptureFixture[str]) -> str:
    """What was told: one sentence, no traceback."""
    told = captured.readouterr().err
    assert told.startswith("error: ")
    assert told.count("\n") == 1
    return told
