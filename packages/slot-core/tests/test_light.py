"""Importing slot_core in a fresh process loads none of the heavy packages around it."""

import json
import subprocess
import sys

import pytest

PROGRAM = "import json, sys, slot_core.backbones; print(json.dumps(sorted(sys.modules)))"
HEAVY = {"accelerate", "datasets", "diffusers", "evaluate", "torchvision", "transformers"}


@pytest.mark.slow
def test_importing_slot_core_is_light():
    done = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True)
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert {"slot_core", "torch"} <= loaded
    assert not loaded & HEAVY
