"""One tiny run that every test of the training app varies."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from accelerate.state import AcceleratorState
from tiny_run import TINY


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
