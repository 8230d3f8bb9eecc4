"""What a launcher may ask of the training app: whole models on each process, or FSDP2's shards.

By default each process holds all weights, and gradients are averaged (data parallelism, DDP); the
largest model here has 130 million parameters and fits into any GPU with its optimizer. FSDP2 is
taken with the settings of apps/launch/fsdp2.yaml (see support/sharding.py).

DeepSpeed and Megatron-LM are refused. Under Accelerate, DeepSpeed's backward pass also makes the
optimizer's step, before the processes can agree to pass over a loss that is not finite; what its
stages 1 to 3 divide among processes, FSDP2 divides as well.
"""

from __future__ import annotations

import os

from accelerate import Accelerator

from slot_core import ConfigError

REFUSED = {  # set by `accelerate launch`
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
}
SHARDED = "ACCELERATE_USE_FSDP"
# Version 1 has checkpoints of another kind. Modules wrapped one by one gather their weights only
# when they are called, and models here also use them by named methods.
EXPECTED = {
    "FSDP_VERSION": ("1", "2"),
    "FSDP_AUTO_WRAP_POLICY": ("NO_WRAP", "NO_WRAP"),
    "FSDP_OFFLOAD_PARAMS": ("false", "false"),
    "FSDP_CPU_RAM_EFFICIENT_LOADING": ("false", "false"),
}
"""Variable of the launcher -> what Accelerate takes where it is not set, and what must be taken."""


def check_launcher() -> None:
    """See that the launcher asks for nothing that the loop does not do.

    Raises:
        ConfigError: if it does.
    """
    for variable, name in REFUSED.items():
        if _is_set(variable):
            raise ConfigError(
                f"the launcher asks for {name}, which the training app does not take: launch with "
                "apps/launch/multi_gpu.yaml or two_nodes.yaml, or with fsdp2.yaml to divide the "
                "optimizer among processes"
            )
    if not _is_set(SHARDED):
        return
    for variable, (default, expected) in EXPECTED.items():
        value = os.environ.get(variable, default)
        if value.lower() != expected.lower():
            raise ConfigError(
                f"the launcher asks for FSDP with {variable.lower()}={value}, expected {expected}: "
                "launch with apps/launch/fsdp2.yaml"
            )


def check_shards(accelerator: Accelerator, compare_ranks_every: int) -> None:
    """See that FSDP was given where it was asked for, and that nothing forbids it.

    On a CPU, and to a single process, Accelerate gives plain data parallelism without a word.

    Args:
        accelerator: of the run.
        compare_ranks_every: the option of the run.

    Raises:
        ConfigError: if it was not, or something does.
    """
    if _is_set(SHARDED) and not accelerator.is_fsdp2:
        raise ConfigError(
            f"the launcher asks for FSDP, which needs several processes with a GPU each; here are "
            f"{accelerator.num_processes} process(es) on {accelerator.device.type}"
        )
    if accelerator.is_fsdp2 and compare_ranks_every:
        raise ConfigError(
            "train.compare_ranks_every compares whole models, and under FSDP each process holds a "
            f"part of its own; expected 0, got {compare_ranks_every}"
        )


def check_precision(accelerator: Accelerator) -> None:
    """See that half precision has what keeps small gradients from becoming 0.

    Raises:
        ConfigError: if it has not: on a CPU Accelerate takes fp16 and computes in float32.
    """
    if accelerator.mixed_precision == "fp16" and accelerator.scaler is None:
        raise ConfigError(
            f"train.mixed_precision is fp16, which does not train on {accelerator.device.type}; "
            "expected no or bf16"
        )


def _is_set(variable: str) -> bool:
    return os.environ.get(variable, "false").lower() == "true"
