"""The metrics load torch, numpy, scipy and jaxtyping, and nothing else that is heavy."""

import subprocess
import sys

ALLOWED = {"torch", "numpy", "scipy", "jaxtyping", "slot_eval"}
# what may not come along, though an environment may hold it
HEAVY = ("PIL", "pandas", "sklearn", "matplotlib", "typer", "diffusers", "transformers", "datasets")


def loaded_by(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after the statement."""
    code = f"{statement}\nimport sys\nprint(' '.join({{m.partition('.')[0] for m in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_metrics_is_light():
    loaded = loaded_by("import slot_eval.functional, slot_eval.streaming")
    assert loaded >= ALLOWED
    assert not loaded & {*HEAVY, "slot_core", "slot_decoders", "slot_data"}
    # beyond what its four dependencies load by themselves, only itself and the standard library
    extra = loaded - loaded_by("import torch, numpy, scipy.optimize, jaxtyping")
    assert {name for name in extra if name not in sys.stdlib_module_names} == {"slot_eval"}
