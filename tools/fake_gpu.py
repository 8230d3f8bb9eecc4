"""A GPU without numbers: what a program would take of its memory, on a machine that has none.

Tensors under ``FakeGPU`` are PyTorch's fake ones (``FakeTensorMode``): they say that they lie on
"cuda", and every operation on them finds out shape and type of what it would give, and nothing
else. So the operations are those of a GPU, autocast and fused kernels included. Four things want a
driver all the same, and are done here instead:

- ``torch.autocast`` refuses to be switched on.
- ``torch.Generator`` cannot be made.
- Attention would take the kernel that keeps the whole matrix, and no GPU that is in use does.
- The engine of ``backward()`` asks for the device's context; graph_walk.py does its work.

The memory is that of all storages that are alive, each rounded as PyTorch's allocator for CUDA
does. What a kernel takes for itself while it runs (workspaces of cuDNN and cuBLAS) is not in it.
PyTorch's own ``MemTracker`` counts the same, but cannot be used on a model with frozen weights: it
hooks their gradients.
"""

from __future__ import annotations

import math
import weakref
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from slot_core import InputError

DEVICE = torch.device("cuda:0")
BLOCK = 512  # bytes: kMinBlockSize of PyTorch's CUDACachingAllocator
WIDEST_FLASH = 256  # of a head, in FlashAttention
aten = torch.ops.aten


class FakeGPU:
    """Such a device while it is entered; ``held`` and ``peak`` are bytes."""

    def __init__(self) -> None:
        self._storages = _Storages()

    def __enter__(self) -> FakeGPU:
        if not hasattr(torch._C, "_ensureCUDADeviceGuardSet"):
            raise InputError(
                f"fake tensors of PyTorch {torch.__version__} want the driver of a GPU; those of "
                "2.11 do not"
            )
        with ExitStack() as stack:
            common = torch.cuda.amp.common
            stack.enter_context(
                patch.object(common, "amp_definitely_not_available", return_value=False)
            )
            stack.enter_context(patch.object(torch.cuda, "is_bf16_supported", return_value=True))
            # Models are built elsewhere, on "meta", and brought here.
            stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
            stack.enter_context(self._storages)
            stack.enter_context(_Attention())
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    @property
    def held(self) -> int:
        """Of all tensors that are alive."""
        return self._storages.held

    @property
    def peak(self) -> int:
        """The most that was held since ``forget_peak``."""
        return self._storages.peak

    def forget_peak(self) -> None:
        """As ``torch.cuda.reset_peak_memory_stats``."""
        self._storages.peak = self.held


def rounded(size: int) -> int:
    """Bytes that a tensor of so many bytes takes."""
    return math.ceil(size / BLOCK) * BLOCK


class Generator(torch.Generator):
    """One that says it is of this device."""

    @property
    def device(self) -> torch.device:
        """The device, of which fake tensors ask no more than its name."""
        return DEVICE


class _Storages(TorchDispatchMode):
    """Counts the storages that operations leave, until nobody holds them."""

    def __init__(self) -> None:
        super().__init__()
        self.held = self.peak = 0
        self._alive: set[int] = set()
        self._true = WeakIdKeyDictionary()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is aten._local_scalar_dense.default and not args[0].is_floating_point():
            return args[0] in self._true  # of a check: all is as expected, nothing is wrong
        kwargs = dict(kwargs or {})
        if "generator" in kwargs:
            kwargs["generator"] = None  # nothing is drawn, and not all operations expect one
        found = func(*args, **kwargs)
        for one in tree_leaves(found):
            if isinstance(one, Tensor) and one.device.type == DEVICE.type:
                self._count(one.untyped_storage())
        if func.overloadpacket is aten.all:
            self._true[found] = True
        return found

    def _count(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._alive:
            return
        size = rounded(storage.nbytes())
        self._alive.add(key)
        self.held += size
        self.peak = max(self.peak, self.held)
        weakref.finalize(storage, self._let_go, key, size)

    def _let_go(self, key: int, size: int) -> None:
        self._alive.discard(key)
        self.held -= size


class _Attention(TorchFunctionMode):
    """``F.scaled_dot_product_attention`` by the kernel that a GPU would choose."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is scaled_dot_product_attention:
            return _attention(*args, **kwargs)
        return func(*args, **kwargs)


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """FlashAttention in half precision without a mask, else the memory-efficient kernel.

    Both keep one number for each query instead of the matrix. Where rows of a head are not a whole
    number of 16 bytes, a GPU takes the plain way, too.
    """
    if torch.is_autocast_enabled(DEVICE.type):
        low = torch.get_autocast_dtype(DEVICE.type)
        query, key, value = query.to(low), key.to(low), value.to(low)
    width, half = query.shape[-1], query.dtype != torch.float32
    if enable_gqa or query.dim() != 4 or width * query.element_size() % 16:
        options = {"dropout_p": dropout_p, "is_causal": is_causal, "scale": scale}
        return scaled_dot_product_attention(
            query, key, value, attn_mask, enable_gqa=enable_gqa, **options
        )
    if half and attn_mask is None and width <= WIDEST_FLASH:
        return aten._scaled_dot_product_flash_attention(
            query, key, value, dropout_p, is_causal, scale=scale
        )[0]
    if attn_mask is not None:
        attn_mask = torch.zeros_like(attn_mask, dtype=query.dtype)
        attn_mask = attn_mask.expand(*query.shape[:-1], key.shape[-2])
    return aten._scaled_dot_product_efficient_attention(
        query, key, value, attn_mask, torch.is_grad_enabled(), dropout_p, is_causal, scale=scale
    )[0]
