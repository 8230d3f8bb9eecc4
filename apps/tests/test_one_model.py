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
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from slot_core import HubModel, sample_generators
from slot_decoders.models import build_model, presets
from support.sharding import gathered

APPS = Path(__file__).parents[1]
BATCH = 4
DVAE = {"vocab_size": 8, "hidden_dim": 8}
VQVAE = {
    "type": "vqvae",
    "channels": [8, 8],
    "layers_per_block": 1,
    "vocab_size": 16,
    "num_groups": 4,
}
VQVAE |= {"perceptual_weight": 0}
UNET = {"channels": [8, 16], "layers_per_block": 1, "attention_levels": [1], "head_dim": 8}
UNET |= {"dropout": 0, "num_groups": 4}
ENCODER = {
    "backbone": {"type": "cnn", "channels": [8], "strides": [2], "kernel_size": 3},
    "corrector": {"hidden_dim": 16},
    "initializer": {"type": "gaussian"},
}
PREDICTOR = {"type": "transformer", "num_layers": 1, "hidden_dim": 16, "dropout": 0}
TOKENS = {"tokenizer": DVAE, "num_layers": 1, "dropout": 0, "permuted_orders": True}
DIFFUSION = {"tokenizer": VQVAE, "denoiser": UNET}
MIXTURE = {"channels": [8], "broadcast_size": [8, 8]}
ROLLOUT = {"hidden_dim": 16, "burn_in": 2, "num_layers": 1, "num_heads": 2, "dropout": 0}
SLOTS = {"num_slots": 3, "slot_dim": 16}


def finding(decoder: dict[str, Any], **encoder: Any) -> dict[str, Any]:
    return {**SLOTS, "encoder": {**ENCODER, **encoder}, "decoder": decoder}


# preset, changes, frames of a video
FAMILIES: dict[str, tuple[str, dict[str, Any], int]] = {
    "slot_attention": ("slot_attention", finding(MIXTURE), 1),
    "savi": ("savi", finding(MIXTURE, predictor=PREDICTOR, slot_noise=0.1), 3),
    "slate": ("slate", finding(TOKENS), 1),
    "steve": ("steve", finding(TOKENS, predictor=PREDICTOR), 2),
    "slot_diffusion": ("slot_diffusion", finding(DIFFUSION), 1),
    "slot_diffusion_videos": ("slot_diffusion", finding(DIFFUSION, predictor=PREDICTOR), 2),
    "dvae": ("dvae", {"tokenizer": DVAE}, 1),
    "vqvae": ("vqvae", {"tokenizer": VQVAE}, 1),
    "slot_former": ("slot_former", {**SLOTS, "dynamics": ROLLOUT}, 4),
    "slot_former_images": (
        "slot_former",
        {**SLOTS, "dynamics": ROLLOUT, "decoder": {"type": "diffusion", **DIFFUSION},
         "image_loss_weight": 1.0},
        4,
    ),
    "relation_readout": (
        "relation_readout",
        {**SLOTS, "readout": {"num_layers": 1, "hidden_dim": 16}},
        4,
    ),
}  # fmt: skip


def prepared(family: str) -> HubModel:
    """The model with weights that have moved away from where they begin."""
    preset, changes, _ = FAMILIES[family]
    if not preset.endswith(("former", "readout")) or "decoder" in changes:
        changes = {**changes, "preprocessing": {"image_size": [16, 16]}}
    torch.manual_seed(0)
    model = build_model(presets.configure(preset, changes, source=family))
    model.train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.01)
    for step in range(2):
        loss_of(model, model, family, range(BATCH), step).backward()
        optimizer.step()
        optimizer.zero_grad()
    return model


def inputs(family: str) -> tuple[Tensor, ...]:
    """The whole batch; what kind of tensors, the family says."""
    preset, changes, frames = FAMILIES[family]
    generator = torch.Generator().manual_seed(1)
    slots = torch.randn(BATCH, frames, 3, 16, generator=generator)
    video = torch.rand(BATCH, frames, 3, 16, 16, generator=generator)
    if preset == "slot_former":
        return (slots, video) if "decoder" in changes else (slots,)
    if preset == "relation_readout":
        return slots, torch.tensor([True, False, False, True])
    return (video,)


def loss_of(model: HubModel, called: nn.Module, family: str, rows: range, step: int) -> Tensor:
    """The training loss of some samples of the batch, as train.py asks for it."""
    some = [whole[rows.start : rows.stop] for whole in inputs(family)]
    own = sample_generators(3, step, [f"sample {row}" for row in rows])
    return called(*some, generator=own, progress=0.1).total


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


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
        loss_of(model, together, family, half, step=2).backward()
        found[family] = gradients(model)
        model = prepared(family)
        fully_shard(model)
        loss_of(model, model, family, half, step=2).backward()
        found[f"{family}, sharded"] = gathered(gradients(model))
    torch.save(found, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def of_two_processes(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("gradients")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    commands = [[sys.executable, __file__, str(rank), str(port), str(folder)] for rank in (0, 1)]
    environment = {**os.environ, "PYTHONPATH": str(APPS)}
    processes = [subprocess.Popen(command, env=environment) for command in commands]
    assert [process.wait(timeout=300) for process in processes] == [0, 0]
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.mark.slow
@pytest.mark.parametrize("sharded", [False, True], ids=["whole", "sharded"])
@pytest.mark.parametrize("family", FAMILIES)
def test_halves_of_a_batch_give_its_gradients(of_two_processes, family, sharded):
    model = prepared(family)
    loss_of(model, model, family, range(BATCH), step=2).backward()
    whole = gradients(model)
    key = f"{family}, sharded" if sharded else family
    first, second = (of_process[key] for of_process in of_two_processes)
    assert whole.keys() == first.keys() == second.keys()
    assert any(bool(gradient.any()) for gradient in whole.values())
    largest = max(float(gradient.abs().max()) for gradient in whole.values())
    for name, gradient in whole.items():
        assert torch.equal(first[name], second[name]), name
        scale = max(float(gradient.abs().max()), 1e-3 * largest)
        assert float((first[name] - gradient).abs().max()) <= 1e-5 * scale, name


@pytest.mark.slow
@pytest.mark.parametrize("family", ["savi", "steve", "slot_diffusion", "dvae"])
def test_two_accumulated_halves_give_its_gradients(family):
    model = prepared(family)
    loss_of(model, model, family, range(BATCH), step=2).backward()
    whole = gradients(model)
    model.zero_grad()
    for half in (range(2), range(2, BATCH)):
        (loss_of(model, model, family, half, step=2) / 2).backward()
    largest = max(float(gradient.abs().max()) for gradient in whole.values())
    for name, gradient in gradients(model).items():
        assert float((whole[name] - gradient).abs().max()) <= 1e-5 * largest, name


if __name__ == "__main__":
    one_of_two(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
