"""A device that only pretends to be one: its tensors keep their numbers on the CPU, and never mix
with tensors that lie there. So code which forgets where its tensors are fails on a machine without
a GPU, in the way in which it would fail on one with.

It is PyTorch's own device for backends written in Python (``PrivateUse1``): a tensor of it holds
one of the CPU; every operation is done on those, and what comes out is wrapped again. As on a GPU,
an operation takes no tensors of two devices, but for numbers without dimensions, indices, and
copies; and it draws with a generator of its own device. As Apple's GPUs, it has no float64. What
PyTorch does not route through the dispatcher is replaced below. Its numbers are the CPU's, but for
fused operations that only the CPU has. One mistake is not found: a generator of this device also
fills tensors of the CPU.

All this holds for a whole process, so it is for those that ``test_other_devices.py`` starts:
imported, or as a plugin of pytest, which also makes it the device that apps choose by themselves.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor
from torch.nn.functional import linear
from torch.utils import backend_registration
from torch.utils._pytree import tree_leaves, tree_map

NAME = "pretended"
# Kernels of a GPU read these of their arguments from the CPU as well.
TAKES_CPU_INDICES = ("index.", "index_put", "_index_put", "_unsafe_index")
COPIES = ("copy_.default", "_to_copy.default")


class _Module(backend_registration._DummyBackendModule):
    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]


backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=_Module())
DEVICE = torch.device(NAME, 0)


class Pretended(Tensor):
    """A tensor of that device, whose ``numbers`` lie on the CPU."""

    numbers: Tensor

    @staticmethod
    def __new__(cls, numbers: Tensor) -> Pretended:
        return Tensor._make_wrapper_subclass(
            cls,
            numbers.shape,
            strides=numbers.stride(),
            storage_offset=numbers.storage_offset(),
            dtype=numbers.dtype,
            device=DEVICE,
            requires_grad=numbers.requires_grad,
        )

    def __init__(self, numbers: Tensor) -> None:
        self.numbers = numbers

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return dispatched(func, args, kwargs or {})

    def tolist(self) -> Any:  # for which PyTorch wants a storage
        return self.detach().cpu().tolist()

    def data_ptr(self) -> int:
        return self.numbers.data_ptr()

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.detach().cpu().__reduce_ex__(protocol)


def dispatched(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """An operation, done with the numbers; its results lie where its arguments do."""
    given = tree_leaves((args, kwargs))
    device = kwargs.get("device")
    theirs = [one for one in given if isinstance(one, Pretended)]
    here = bool(theirs) if device is None else torch.device(device).type == NAME
    if func.__name__ == "copy_.default":
        here = isinstance(args[0], Pretended)
    check_one_device(func, given, here or bool(theirs))
    args, kwargs = tree_map(lambda one: getattr(one, "numbers", one), (args, kwargs))
    if device is not None and here:
        kwargs["device"] = "cpu"
    if "pin_memory" in kwargs:
        kwargs["pin_memory"] = False
    found = func(*args, **kwargs)
    # What is changed in place stays the object that it is.
    same = {id(one.numbers): one for one in theirs} if func._schema.is_mutable else {}

    def wrapped(one: Any) -> Any:
        if not isinstance(one, Tensor) or not here:
            return one
        if one.dtype == torch.float64:
            raise TypeError(f"Cannot convert to float64, which {NAME} does not have: {func}")
        return same[id(one)] if id(one) in same else Pretended(one)

    return tree_map(wrapped, found)


def check_one_device(func: Any, given: list[Any], here: bool) -> None:
    """Raises RuntimeError, as PyTorch does, on arguments of two devices."""
    if not here:
        return
    for one in given:
        if isinstance(one, _Plain) and address(one) not in GENERATORS:
            raise RuntimeError(f"Expected a '{NAME}' device type for generator: {func}")
        if not isinstance(one, Tensor) or isinstance(one, Pretended) or one.dim() == 0:
            continue
        if not func.__name__.startswith((*TAKES_CPU_INDICES, *COPIES)):
            shape = tuple(one.shape)
            raise RuntimeError(f"Expected all tensors to be on {DEVICE}, found {shape}: {func}")


_LIBRARY = torch.library.Library("_", "IMPL")
_LIBRARY.fallback(lambda func, *args, **kwargs: dispatched(func, args, kwargs), "PrivateUse1")
_LIBRARY.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
# As on a GPU, a parameter that moves is the same object.
torch.__future__.set_swap_module_params_on_conversion(True)


# ---------------------------------------------------------------- what no dispatcher sees
GENERATORS: set[int] = set()
_Plain = torch.Generator


def address(generator: torch.Generator) -> int:
    """Of what both PyTorch and Python hold."""
    return generator._cdata  # pyright: ignore[reportAttributeAccessIssue]  (it is in no stub)


class _Generator(_Plain):
    """One of the CPU, which says that it is one of that device if it was made for it."""

    def __new__(cls, device: torch.device | str = "cpu") -> _Generator:
        one = _Plain.__new__(cls)
        one.named = torch.device(device)
        (GENERATORS.add if one.named.type == NAME else GENERATORS.discard)(address(one))
        return one

    def __init__(self, device: torch.device | str = "cpu") -> None:
        pass

    named: torch.device

    @property
    def device(self) -> torch.device:
        return DEVICE if self.named.type == NAME else self.named


def moved_afterwards(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """``torch.tensor`` and its like, which build the numbers without any dispatcher."""

    @wraps(make)
    def made(*args: Any, device: Any = None, **kwargs: Any) -> Tensor:
        there = device is not None and torch.device(device).type == NAME
        found = make(*args, device=None if there else device, **kwargs)
        return found.to(device) if there else found

    return made


def gru_cell(x: Tensor, h: Tensor, w_x: Tensor, w_h: Tensor, b_x: Any = None, b_h: Any = None):
    """For which other devices than the CPU have a kernel of their own."""
    reset, update, new = linear(x, w_x, b_x).chunk(3, -1)
    reset_h, update_h, new_h = linear(h, w_h, b_h).chunk(3, -1)
    update = torch.sigmoid(update + update_h)
    new = torch.tanh(new + torch.sigmoid(reset + reset_h) * new_h)
    return new + update * (h - new)


def lstm_cell(x: Tensor, state: Any, w_x: Tensor, w_h: Tensor, b_x: Any = None, b_h: Any = None):
    """The same of an LSTM."""
    h, c = state
    enter, forget, new, leave = (linear(x, w_x, b_x) + linear(h, w_h, b_h)).chunk(4, -1)
    c = torch.sigmoid(forget) * c + torch.sigmoid(enter) * torch.tanh(new)
    return torch.sigmoid(leave) * torch.tanh(c), c


def on_both(pretended: Callable[..., Any], plain: Callable[..., Any]) -> Callable[..., Any]:
    """The one for tensors of this device, the other for all others."""

    def called(x: Tensor, *args: Any, **kwargs: Any) -> Any:
        return (pretended if isinstance(x, Pretended) else plain)(x, *args, **kwargs)

    return called


def save_file(tensors: dict[str, Tensor], *args: Any, **kwargs: Any) -> None:
    """safetensors reads the memory of a tensor, or copies what lies on a GPU."""
    _save_file({name: one.detach().cpu() for name, one in tensors.items()}, *args, **kwargs)


_save_file = safetensors.torch.save_file
safetensors.torch.save_file = save_file
torch.Generator = _Generator
torch.tensor = moved_afterwards(torch.tensor)
torch.as_tensor = moved_afterwards(torch.as_tensor)
torch._VF.gru_cell = on_both(gru_cell, torch._VF.gru_cell)
torch._VF.lstm_cell = on_both(lstm_cell, torch._VF.lstm_cell)


# ---------------------------------------------------------------- as a plugin of pytest
def pytest_configure() -> None:
    """Apps and ``slot-eval`` take this device where none is named."""
    from accelerate import PartialState

    from slot_eval import jobs

    sys.path.insert(0, str(Path(__file__).parents[1]))
    from support import devices

    del os.environ["ACCELERATE_USE_CPU"]
    own = property(lambda self: DEVICE)
    setattr(PartialState, "default_device", own)  # noqa: B010  (types know it as unchangeable)
    usable, chosen = devices.usable_device, jobs.chosen_device
    devices.usable_device = lambda name: usable(name or NAME)
    jobs.chosen_device = lambda name: chosen(name or NAME)
