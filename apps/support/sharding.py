"""A model whose weights are divided among the processes (FSDP2), and where it is needed whole.

Under FSDP2 (``fully_shard`` of PyTorch; Zhao et al., "PyTorch FSDP", 2023) each process keeps a
part of each trained weight, and with it a part of its gradient and of what the optimizer remembers;
weights are gathered for the forward and backward pass. Frozen parts (tokenizers, backbones) have
neither, and stay whole on each process, so that they can also be used beside ``forward``.

Models are scored, drawn and saved whole: checkpoints are the same files however a run is launched,
and a run may go on under another launcher. In an undivided model nothing here changes anything, and
PyTorch's divided tensors, which take seconds to import, are left alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import convert_outputs_to_fp32
from torch import Tensor, nn

from slot_core import LossOutput


def prepare(accelerator: Accelerator, model: nn.Module, optimizer: torch.optim.Optimizer) -> Any:
    """``accelerator.prepare(model, optimizer)``, of a model that may be divided.

    Lower precision is autocast's, as it is for undivided models: weights, gradients and their sums
    stay float32. Accelerate would make them bfloat16 under FSDP2.
    """
    if accelerator.is_fsdp2:
        # It warns of results that are views, of which one could change in place; none is here.
        warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
        plugin: Any = accelerator.state.fsdp_plugin
        plugin.mixed_precision_policy = None
        plugin.ignored_modules = [part for part in model.modules() if _is_frozen(part)]
        model.to(accelerator.device)  # FSDP would move what it divides, and no more
        _open_losses()
        model.forward = convert_outputs_to_fp32(accelerator.autocast()(model.forward))
    return accelerator.prepare(model, optimizer)


def gathered(value: Any, device: str | None = None) -> Any:
    """``value`` with whole tensors in the place of shards; all processes must ask together.

    Args:
        value: a tensor, or what holds some.
        device: where to keep what was gathered, one tensor after the other: on the "cpu" there is
            room for an optimizer's whole state. Where the shards are if None.
    """
    if _is_divided(value):
        whole = value.full_tensor()
        return whole if device is None else whole.to(device)
    if isinstance(value, Mapping):
        return {key: gathered(inner, device) for key, inner in value.items()}
    if isinstance(value, list):
        return [gathered(inner, device) for inner in value]
    return value


def load_optimizer(optimizer: Any, state: dict[str, Any]) -> None:
    """Give an optimizer what it remembered, of which each process takes its part.

    Args:
        optimizer: prepared.
        state: of the whole model, as ``gathered`` gave it.
    """
    parameters = [one for group in optimizer.param_groups for one in group["params"]]
    parts = {
        index: {name: _part(value, parameters[index]) for name, value in remembered.items()}
        for index, remembered in state["state"].items()
    }
    optimizer.load_state_dict({**state, "state": parts})


class WholeCopy:
    """A copy of a model on each process, for what is done beside ``forward``.

    Args:
        model: not divided yet; the copy is ``self.model``.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model: Any = deepcopy(model).requires_grad_(False).eval()

    def follow(self, model: nn.Module) -> None:
        """Take the weights that ``model`` has now; all processes must ask together."""
        self.model.load_state_dict(gathered(model.state_dict()))


@cache
def _open_losses() -> None:
    """Let PyTorch see the tensors in what ``forward`` gives. FSDP2 of older versions looks for them
    as in a tree, hangs the gathering of weights for the backward pass on them, and trains nothing,
    without a word, where a class hides them."""
    from torch.export import register_dataclass

    register_dataclass(LossOutput, serialized_type_name="slot_core.LossOutput")


def _is_divided(value: Any) -> bool:
    """Whether it is a DTensor, the tensor of which each process keeps a part."""
    return hasattr(value, "full_tensor")


def _is_frozen(part: nn.Module) -> bool:
    parameters = list(part.parameters())
    return bool(parameters) and not any(one.requires_grad for one in parameters)


def _part(value: Any, parameter: Tensor) -> Any:
    """What a process keeps of a tensor that has one number for each of the parameter's."""
    if not _is_divided(parameter) or value.shape != parameter.shape:
        return value
    from torch.distributed.tensor import distribute_tensor

    divided: Any = parameter
    mesh = divided.device_mesh
    whole = value.to(parameter.device)
    # Each process has read the whole, so none needs to be sent its part.
    return distribute_tensor(whole, mesh, divided.placements, src_data_rank=None)
