"""What a launcher may ask of the training app: processes that hold whole models.

Each process holds all weights, and gradients are averaged (data parallelism, DDP). Launchers that
divide weights, or what the optimizer remembers, are refused: the loop saves whole models from one
process, scores by methods beside ``forward`` and averages weights, which parts of a model cannot
do. The largest model here has 130 million parameters, and fits into any GPU with its optimizer.
"""

from __future__ import annotations

import os

from slot_core import ConfigError

DIVIDING = {  # set by `accelerate launch`
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
}


def require_whole_models() -> None:
    """See that the launcher divides no model among processes.

    It is asked of the environment: on a CPU, Accelerate itself would take plain DDP for FSDP
    without a word.

    Raises:
        ConfigError: if it does.
    """
    for variable, name in DIVIDING.items():
        if os.environ.get(variable, "false").lower() == "true":
            raise ConfigError(
                f"the launcher asks for {name}, which divides a model among processes; checkpoints "
                "here hold whole models: launch with apps/launch/multi_gpu.yaml or two_nodes.yaml"
            )
