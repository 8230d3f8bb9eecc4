"""The layers of SLATE's transformer (Singh et al. 2021, arXiv 2110.11405, section 3.2): patches
attend to the patches before them, then to the slots.

The same layer runs in two ways that compute the same. ``forward`` takes all patches at once, as
teacher forcing does. ``step`` takes one more patch and finds the keys and values of those before
in a cache, so that the patches before are not computed again.

As in SLATE's code, the first layer replaces what it adds to by its normalised self, attention has
no biases, and slots are neither normalised nor told apart by position. DINOSAUR's (Seitzer et al.
2023, arXiv 2209.14860) is PyTorch's layer, which replaces nothing and has biases. One of keys is
left out: it adds the same to all logits of a query, which a softmax does not see.

One departure in the order of operations, none in the result. The logits of a patch x for a slot
with the key k are (W_q x + b_q).k = x.(W_q^T k) + b_q.k, and what it takes from the slot's value v
passes W_o. So W_q and W_o are applied to the few slots, not to the many patches.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from slot_core import InputError

Projection = tuple[Float[Tensor, "three_dim dim"], Float[Tensor, " three_dim"] | None]


@dataclass(frozen=True)
class SlotMemory:
    """What the patches read of the slots in one layer.

    Attributes:
        keys: by which a patch finds the slots, for every head.
        values: what it then adds to itself.
        shift: of the logits, whatever the patch; None where there are no biases.
    """

    keys: Float[Tensor, "batch dim heads_slots"]
    values: Float[Tensor, "batch heads_slots dim"]
    shift: Float[Tensor, "batch 1 heads_slots"] | None


@dataclass(frozen=True)
class LayerCache:
    """What one layer keeps while it decodes; the steps fill ``patches`` in place.

    Attributes:
        projection: of a patch to its query, key and value; weight, and bias if there is one.
        patches: keys and values; what lies behind the present step is not looked at.
        slots: the same in all steps.
    """

    projection: Projection
    patches: Float[Tensor, "2 batch heads positions head_dim"]
    slots: SlotMemory

    def up_to(self, length: int) -> LayerCache:
        """The same memory, as far as ``length`` positions."""
        return replace(self, patches=self.patches[:, :, :, :length])


class PatchAttention(nn.Module):
    """Self-attention of several heads to the patches before.

    Args:
        dim: width of the patches.
        num_heads: must divide ``dim``.
        gain: of the output's first weights.
        bias: of all but the keys.

    Raises:
        InputError: if ``num_heads`` does not divide ``dim``.
    """

    def __init__(self, dim: int, num_heads: int, *, gain: float, bias: bool = False) -> None:
        super().__init__()
        self.num_heads = _checked_heads(dim, num_heads)
        self.to_query = linear(dim, dim, bias=bias)
        self.to_key = linear(dim, dim, bias=False)
        self.to_value = linear(dim, dim, bias=bias)
        self.output = linear(dim, dim, bias=bias, gain=gain)

    def forward(
        self, patches: Float[Tensor, "batch positions dim"], *, dropout: float
    ) -> Float[Tensor, "batch positions dim"]:
        """What each patch finds in itself and those before; ``dropout`` is of the attention."""
        query, key, value = self._split(patches, self.projection())
        found = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout, is_causal=True)
        return self.output(found.transpose(1, 2).flatten(2))

    def step(
        self,
        patch: Float[Tensor, "batch 1 dim"],
        cache: LayerCache,
        position: Int[Tensor, " 1"],
        mask: Float[Tensor, "1 positions"],
    ) -> Float[Tensor, "batch 1 dim"]:
        """What one more patch finds; its key and value are written into ``cache``."""
        made = self._split(patch, cache.projection)
        cache.patches.index_copy_(3, position, made[1:])
        key, value = cache.patches
        found = F.scaled_dot_product_attention(made[0], key, value, attn_mask=mask)
        return self.output(found.transpose(1, 2).flatten(2))

    def projection(self) -> Projection:
        """To query, key and value at once."""
        weight = torch.cat([self.to_query.weight, self.to_key.weight, self.to_value.weight])
        first, last = self.to_query.bias, self.to_value.bias
        if first is None:
            return weight, None
        return weight, torch.cat([first, torch.zeros_like(first), last])

    def _split(
        self, patches: Float[Tensor, "batch positions dim"], projection: Projection
    ) -> Float[Tensor, "3 batch heads positions head_dim"]:
        made = F.linear(patches, *projection).unflatten(-1, (3, self.num_heads, -1))
        return made.permute(2, 0, 3, 1, 4)


class SlotReading(nn.Module):
    """Cross-attention of several heads to the slots.

    Args:
        dim: width of patches and slots.
        num_heads: must divide ``dim``.
        gain: of the output's first weights.
        bias: of all but the keys.

    Raises:
        InputError: if ``num_heads`` does not divide ``dim``.
    """

    def __init__(self, dim: int, num_heads: int, *, gain: float, bias: bool = False) -> None:
        super().__init__()
        self.num_heads = _checked_heads(dim, num_heads)
        self.to_query = linear(dim, dim, bias=bias)
        self.to_key = linear(dim, dim, bias=False)
        self.to_value = linear(dim, dim, bias=bias)
        self.output = linear(dim, dim, bias=bias, gain=gain)

    def forward(
        self,
        patches: Float[Tensor, "batch positions dim"],
        memory: SlotMemory,
        *,
        dropout: float = 0.0,
    ) -> Float[Tensor, "batch positions dim"]:
        """What each patch takes from the slots; ``dropout`` is of the attention."""
        weights = self.weights(patches, memory)
        return self.taken(F.dropout(weights, dropout) if dropout else weights, memory)

    def weights(
        self, patches: Float[Tensor, "batch positions dim"], memory: SlotMemory
    ) -> Float[Tensor, "batch positions heads slots"]:
        """By how much each patch looks at each slot, in single precision at least."""
        logits = torch.bmm(patches, memory.keys)
        logits = logits if memory.shift is None else logits + memory.shift
        logits = logits.unflatten(-1, (self.num_heads, -1))
        return logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(dim=-1)

    def taken(
        self, weights: Float[Tensor, "batch positions heads slots"], memory: SlotMemory
    ) -> Float[Tensor, "batch positions dim"]:
        """What patches that look by ``weights`` take."""
        read = torch.bmm(weights.flatten(2).to(memory.values.dtype), memory.values)
        bias = self.output.bias
        if bias is None:
            return read
        return read + bias.to(read.dtype)

    def memory(self, slots: Float[Tensor, "batch slots dim"]) -> SlotMemory:
        """What the patches read of ``slots``."""
        queries = self.to_query.weight.unflatten(0, (self.num_heads, -1))
        outputs = self.output.weight.unflatten(1, (self.num_heads, -1))
        keys = self.to_key(slots).unflatten(-1, (self.num_heads, -1))
        values = self.to_value(slots).unflatten(-1, (self.num_heads, -1))
        keys = keys * keys.shape[-1] ** -0.5
        values = torch.einsum("bshe,dhe->bhsd", values, outputs).flatten(1, 2)
        bias = self.to_query.bias
        shift = None
        if bias is not None:
            shift = torch.einsum("bshe,he->bhs", keys, bias.unflatten(0, (self.num_heads, -1)))
            shift = shift.flatten(1)[:, None]
        return SlotMemory(torch.einsum("bshe,hed->bdhs", keys, queries).flatten(2), values, shift)


class TokenBlock(nn.Module):
    """One layer: patches before, slots, and a residual MLP of four times the width.

    Args:
        dim: width of patches and slots.
        num_heads: of both attentions.
        dropout: of the attention and of what each part adds, while training.
        gain: of the first weights of the layers that end a residual branch.
        first: add to the normalised patches instead of to the patches themselves.
        bias: of the attentions, as PyTorch's own layer has.

    Raises:
        InputError: if ``num_heads`` does not divide ``dim``.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        dropout: float,
        gain: float,
        first: bool,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.first = first
        self.norm_patches = nn.LayerNorm(dim)
        self.patch_attention = PatchAttention(dim, num_heads, gain=gain, bias=bias)
        self.norm_queries = nn.LayerNorm(dim)
        self.slot_reading = SlotReading(dim, num_heads, gain=gain, bias=bias)
        self.norm_mlp = nn.LayerNorm(dim)
        hidden = linear(dim, 4 * dim, bias=True)
        nn.init.kaiming_uniform_(hidden.weight, nonlinearity="relu")
        self.mlp = nn.Sequential(hidden, nn.ReLU(), linear(4 * dim, dim, bias=True, gain=gain))

    def forward(
        self, patches: Float[Tensor, "batch positions dim"], slots: Float[Tensor, "batch slots dim"]
    ) -> Float[Tensor, "batch positions dim"]:
        """All patches at once, each seeing those before it."""
        rate = self.dropout if self.training else 0.0
        patches = self._with_those_before(patches, rate)
        memory = self.slot_reading.memory(slots)
        read = self.slot_reading(self.norm_queries(patches), memory, dropout=rate)
        patches = patches + F.dropout(read, rate)
        return patches + F.dropout(self.mlp(self.norm_mlp(patches)), rate)

    def attend(
        self, patches: Float[Tensor, "batch positions dim"], slots: Float[Tensor, "batch slots dim"]
    ) -> tuple[Float[Tensor, "batch positions dim"], Float[Tensor, "batch positions slots"]]:
        """The same without dropout, and by how much, of all heads, a patch looked at each slot."""
        patches = self._with_those_before(patches, 0.0)
        memory = self.slot_reading.memory(slots)
        weights = self.slot_reading.weights(self.norm_queries(patches), memory)
        patches = patches + self.slot_reading.taken(weights, memory)
        return patches + self.mlp(self.norm_mlp(patches)), weights.mean(dim=2)

    def _with_those_before(
        self, patches: Float[Tensor, "batch positions dim"], rate: float
    ) -> Float[Tensor, "batch positions dim"]:
        """What the first part of the layer makes of the patches."""
        normed = self.norm_patches(patches)
        patches = normed if self.first else patches
        return patches + F.dropout(self.patch_attention(normed, dropout=rate), rate)

    def step(
        self,
        patch: Float[Tensor, "batch 1 dim"],
        cache: LayerCache,
        position: Int[Tensor, " 1"],
        mask: Float[Tensor, "1 positions"],
    ) -> Float[Tensor, "batch 1 dim"]:
        """One more patch, without dropout.

        Args:
            patch: at ``position``.
            cache: filled up to ``position``; this patch is written into it.
            position: of the patch in the order of painting.
            mask: minus infinity at the positions behind this one, 0 elsewhere.
        """
        normed = self.norm_patches(patch)
        patch = normed if self.first else patch
        patch = patch + self.patch_attention.step(normed, cache, position, mask)
        patch = patch + self.slot_reading(self.norm_queries(patch), cache.slots)
        return patch + self.mlp(self.norm_mlp(patch))

    def empty_cache(
        self, slots: Float[Tensor, "batch slots dim"], num_positions: int
    ) -> LayerCache:
        """The cache before the first step."""
        batch, _, dim = slots.shape
        heads = self.patch_attention.num_heads
        memory = self.slot_reading.memory(slots)
        # Zeros: what a step may not see yet still takes part in the product, with weight 0. Of the
        # type that the layers make, which under autocast need not be that of the slots.
        patches = memory.values.new_zeros(2, batch, heads, num_positions, dim // heads)
        return LayerCache(self.patch_attention.projection(), patches, memory)


def next_patch(
    blocks: nn.ModuleList,
    patch: Float[Tensor, "batch dim"],
    position: Int[Tensor, " 1"],
    layers: tuple[LayerCache, ...],
) -> Float[Tensor, "batch dim"]:
    """What the last of several layers gives for one more patch.

    Shapes depend on the length of the caches alone, so that it can be compiled.

    Args:
        blocks: TokenBlocks.
        patch: at ``position``.
        position: in the order of painting: 0, 1, 2 and so on.
        layers: their caches, as far as ``position`` or further; they are written into.
    """
    behind = torch.arange(layers[0].patches.shape[3], device=patch.device) > position
    mask = torch.zeros_like(behind, dtype=patch.dtype).masked_fill(behind, -torch.inf)[None]
    patch = patch[:, None]
    for block, layer in zip(blocks, layers, strict=True):
        assert isinstance(block, TokenBlock)
        patch = block.step(patch, layer, position, mask)
    return patch[:, 0]


def empty_caches(
    blocks: nn.ModuleList, slots: Float[Tensor, "batch slots dim"], num_positions: int
) -> tuple[LayerCache, ...]:
    """Those of several layers before the first step."""
    layers = []
    for block in blocks:
        assert isinstance(block, TokenBlock)
        layers.append(block.empty_cache(slots, num_positions))
    return tuple(layers)


def linear(before: int, after: int, *, bias: bool, gain: float = 1.0) -> nn.Linear:
    """A layer with the first weights of SLATE's code."""
    layer = nn.Linear(before, after, bias=bias)
    nn.init.xavier_uniform_(layer.weight, gain)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def _checked_heads(dim: int, num_heads: int) -> int:
    if dim % num_heads:
        raise InputError(f"a transformer of width {dim} cannot be split among {num_heads} heads")
    return num_heads
