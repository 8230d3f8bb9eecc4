"""One tiny run that every test of the training app varies."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from accelerate.state import AcceleratorState

TINY = {
    "model.num_slots": 4,
    "model.slot_dim": 16,
    "model.preprocessing.image_size": [32, 32],
    "model.encoder.preprocessing": None,
    "model.encoder.corrector.hidden_dim": 16,
    "model.decoder.channels": [8, 8],
    "model.decoder.broadcast_size": [8, 8],
    "model.decoder.output_stride": 1,
    "data.name": "shapes",
    "data.image_size": 32,
    "data.num_samples": 24,
    "train.num_steps": 8,
    "train.batch_size": 4,
    "train.num_threads": 1,
    "validation.every": 4,
    "validation.num_samples": 6,
    "validation.batch_size": 4,
    "checkpoint.every": 2,
    "log.every": 1,
}


@pytest.fixture(autouse=True)
def fresh_accelerator() -> None:
    """Accelerate keeps the first run's precision for the whole process."""
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(autouse=True)
def own_signals() -> Iterator[None]:
    """A training that ends with an error, which ends its process elsewhere, still listens."""
    heard = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
    before = {number: signal.getsignal(number) for number in heard}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def tiny() -> Callable[..., list[str]]:
    """Arguments of a run of seconds: ``tiny(out, **{"train.num_steps": 2})``."""

    def arguments(
        out: Path,
        recipe: str = "slot_attention/shapes",
        without: Sequence[str] = (),
        **changes: Any,
    ) -> list[str]:
        words = [recipe, "--out", str(out)]
        for key, value in {**TINY, **changes}.items():
            if key not in without:
                words += ["--set", f"{key}={json.dumps(value)}"]
        return words

    return arguments
