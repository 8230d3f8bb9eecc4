"""What importing a package costs: asked of a fresh process, since this one has loaded it all."""

import json
import subprocess
import sys

PROGRAM = """
import json, sys, {module}
print(json.dumps(sorted({{name.partition(".")[0] for name in sys.modules}})))
"""

# The heavy third-party packages that any part of the workspace uses, now or as an extra.
HEAVY = {
    "accelerate", "datasets", "diffusers", "einops", "evaluate", "huggingface_hub", "lpips",
    "matplotlib", "pandas", "PIL", "pydantic", "safetensors", "scipy", "sklearn", "tensorboard",
    "torchvision", "transformers", "typer", "wandb",
}  # fmt: skip


def loaded_by(module: str) -> set[str]:
    """Top-level names of everything that `import module` loads."""
    command = [sys.executable, "-c", PROGRAM.format(module=module)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return set(json.loads(done.stdout))


def test_slot_core_loads_no_training_stack():
    loaded = loaded_by("slot_core")
    assert {"slot_core", "torch"} <= loaded
    assert not loaded & {"accelerate", "datasets", "diffusers", "evaluate", "transformers"}
    assert not loaded & {"slot_decoders", "slot_data", "slot_eval"}


def test_the_metrics_need_only_torch_scipy_and_jaxtyping():
    loaded = loaded_by("slot_eval.functional")
    assert {"slot_eval", "torch", "scipy", "jaxtyping"} <= loaded
    assert loaded & HEAVY == {"scipy"}
    assert not loaded & {"slot_core", "slot_decoders", "slot_data"}
