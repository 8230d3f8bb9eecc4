"""Every app tells OpenMP how to wait before PyTorch, which reads it, is loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

APPS = Path(__file__).parents[1]
# Run an app until it, or what it imports, asks for torch.
UNTIL_TORCH = """
import os, runpy, sys

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print(os.environ.get("OMP_WAIT_POLICY"))
            sys.exit(0)

sys.meta_path.insert(0, Watch())
sys.path.insert(0, os.path.dirname(sys.argv[1]))
runpy.run_path(sys.argv[1])
print("torch is not imported")
"""


@pytest.mark.parametrize("stated", [None, "ACTIVE"])
@pytest.mark.parametrize("app", sorted(APPS.glob("*.py")), ids=lambda app: app.stem)
def test_threads_that_wait_sleep_unless_told_otherwise(app: Path, stated: str | None):
    told = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    told |= {} if stated is None else {"OMP_WAIT_POLICY": stated}
    command = [sys.executable, "-c", UNTIL_TORCH, str(app)]
    done = subprocess.run(command, env=told, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == (stated or "PASSIVE")
