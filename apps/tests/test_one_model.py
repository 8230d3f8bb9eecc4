"""Two processes with half a batch each compute the gradients that one computes with all of it,
for every family of models; and gradients are equal on both, bit by bit. So do two that divide the
weights (FSDP2).

Dropout is off, the weights have moved, and what is drawn for a sample is drawn from its id. The
processes are real and exchange gradients as in training (DistributedDataParallel over gloo).
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from families import BATCH, FAMILIES, gradients, loss_of, prepared
from torch import Tensor
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from support.sharding import gathered

APPS = Path(__file__).parents[1]


def one_of_two(rank: int, port: int, folder: str) -> None:
    """Half of the batch, in a process of its own."""
    torch.set_num_threads(1)
    address = f"tcp://127.0.0.1:{port}"
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    assert dist.get_world_size() == 2
    half = range(rank * BATCH // 2, (rank + 1) * BATCH // 2)
    found = {}
    for family in FAMILIES:
        model = prepared(family)
        together = DistributedDataParallel(model)
        loss_of(together, family, half, step=2).backward()
        found[family] = gradients(model)
        model = prepared(family)
        fully_shard(model)
        loss_of(model, family, half, step=2).backward()
        found[f"{family}, sharded"] = gathered(gradients(model))
    torch.save(found, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def of_two_processes(folder: Path) -> list[dict[str, Any]]:
    """What each of them finds, by family: whole models, and sharded ones."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    commands = [[sys.executable, __file__, str(rank), str(port), str(folder)] for rank in (0, 1)]
    environment = {**os.environ, "PYTHONPATH": str(APPS)}
    processes = [subprocess.Popen(command, env=environment) for command in commands]
    assert [process.wait(timeout=300) for process in processes] == [0, 0]
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.mark.slow
def test_halves_of_a_batch_give_its_gradients(tmp_path):
    """One test of all families, for which two processes start but once."""
    found = of_two_processes(tmp_path)
    for family in FAMILIES:
        model = prepared(family)
        loss_of(model, family, range(BATCH), step=2).backward()
        for key in (family, f"{family}, sharded"):
            first, second = (of_process[key] for of_process in found)
            assert_equal_gradients(gradients(model), first, second, key)


def assert_equal_gradients(
    whole: dict[str, Tensor], first: dict[str, Tensor], second: dict[str, Tensor], of: str
) -> None:
    """Of both processes bit by bit; of the whole batch within rounding."""
    assert whole.keys() == first.keys() == second.keys(), of
    assert any(bool(gradient.any()) for gradient in whole.values()), of
    largest = max(float(gradient.abs().max()) for gradient in whole.values())
    for name, gradient in whole.items():
        assert torch.equal(first[name], second[name]), (of, name)
        scale = max(float(gradient.abs().max()), 1e-3 * largest)
        assert float((first[name] - gradient).abs().max()) <= 1e-5 * scale, (of, name)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["savi", "steve", "slot_diffusion", "dvae"])
def test_two_accumulated_halves_give_its_gradients(family):
    model = prepared(family)
    loss_of(model, family, range(BATCH), step=2).backward()
    whole = gradients(model)
    model.zero_grad()
    for half in (range(2), range(2, BATCH)):
        (loss_of(model, family, half, step=2) / 2).backward()
    largest = max(float(gradient.abs().max()) for gradient in whole.values())
    for name, gradient in gradients(model).items():
        assert float((whole[name] - gradient).abs().max()) <= 1e-5 * largest, name


if __name__ == "__main__":
    one_of_two(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
