"""train.py with FSDP2 on the CPU, for tests: Accelerate gives it to several GPUs only, and on a CPU
plain data parallelism in its place. Everything after that choice runs as it does on GPUs, but for
what is compiled: graphs with their backward pass are made, and no kernels of them."""

from __future__ import annotations

import atexit
import functools
import sys
from pathlib import Path
from typing import Any

import torch
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType

sys.path.append(str(Path(__file__).parents[1]))

import train
from support.command_line import run_and_leave
from support.optimizers import build_optimizer

_choose = AcceleratorState.__init__
_optimizers: list[torch.optim.Optimizer] = []


def _choose_shards(self: Any, *args: Any, fsdp_plugin: Any = None, **options: Any) -> None:
    _choose(self, *args, fsdp_plugin=fsdp_plugin, **options)
    if fsdp_plugin is not None:
        self.fsdp_plugin = fsdp_plugin
        self.distributed_type = DistributedType.FSDP
        PartialState._shared_state["distributed_type"] = DistributedType.FSDP


def _remember(*args: Any) -> torch.optim.Optimizer:
    _optimizers.append(build_optimizer(*args))
    return _optimizers[-1]


def _say_what_is_kept() -> None:
    """How many of Adam's first moments lie in this process, and how many there are; and what was
    compiled, where something was."""
    if _optimizers:
        moments = [kept["exp_avg"] for kept in _optimizers[-1].state.values()]
        own = sum(one.to_local().numel() for one in moments)
        print(f"keeps {own} of {sum(one.numel() for one in moments)} moments")
    if "torch._dynamo" in sys.modules:
        counters = sys.modules["torch._dynamo"].utils.counters
        breaks = sum(counters["graph_break"].values())
        print(f"compiled {counters['stats']['unique_graphs']} graphs with {breaks} breaks")


if __name__ == "__main__":
    AcceleratorState.__init__ = _choose_shards
    train.build_optimizer = _remember
    torch.compile = functools.partial(torch.compile, backend="aot_eager")
    atexit.register(_say_what_is_kept)
    run_and_leave(train.main)
