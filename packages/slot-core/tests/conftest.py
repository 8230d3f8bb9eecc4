"""Makes the helper modules beside the tests importable, here and in the processes they start."""

import sys
from pathlib import Path

import jaxtyping
import pytest

HERE = Path(__file__).parent

sys.path.insert(0, str(HERE))


@pytest.fixture
def unchecked_types(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turns the type checks of the test run off: a user has none and needs the sentence."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
