"""The metrics load torch, numpy, scipy and jaxtyping, and nothing else that is heavy."""

import json
import subprocess
import sys

import pytest

# what may not come along, though an environment may hold it
UNWANTED = {"PIL", "pandas", "sklearn", "matplotlib", "typer", "diffusers", "transformers"}
SIBLINGS = {"slot_core", "slot_decoders", "slot_data"}
CODE = """
import json, sys
import torch, numpy, scipy.optimize, jaxtyping
before = set(sys.modules)
import slot_eval.functional, slot_eval.streaming
top = lambda names: sorted({name.partition(".")[0] for name in names})
print(json.dumps([top(sys.modules), top(set(sys.modules) - before)]))
"""


@pytest.mark.slow
def test_importing_the_metrics_in_a_fresh_process_is_light():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    loaded, added = (set(names) for names in json.loads(done.stdout))
    assert not loaded & (UNWANTED | SIBLINGS)
    # beyond what the four dependencies load by themselves: itself and the standard library
    dependencies = {"torch", "numpy", "scipy", "jaxtyping"}
    assert added - dependencies - set(sys.stdlib_module_names) == {"slot_eval"}
