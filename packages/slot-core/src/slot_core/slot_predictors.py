"""From one frame's slots to the start of the next (SAVi, arXiv 2111.12594, section 2.4).

The slots interact in a transformer or change one by one in an MLP; a recurrent cell around
either gives every slot a memory. All treat the slots as a set: permuted slots (and state) give
permuted predictions. State goes in and comes out, and None begins a video; nothing is kept in
the modules.

Departures from SAVi: its transformer normalises after the residual sum (``norm_first=False``) and
has no dropout; the defaults here are those of SlotDiffusion's code, whose recurrent cell, too, is
not SAVi's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from slot_core.errors import InputError


class TransformerPredictor(nn.Module):
    """Slots of a frame attend to one another.

    Args:
        slot_dim: width of the slots.
        num_layers: self-attention and MLP, so many times.
        num_heads: of the self-attention.
        hidden_dim: width of the MLPs; None for four times ``slot_dim``.
        norm_first: True normalises what goes into attention and MLP and leaves the last sum as
            it is; False normalises the sums, as SAVi does.
        dropout: of the attention and the MLPs while training; SlotDiffusion's code fixes 0.1.
        identity_start: begin by carrying the slots over as they are: attention and MLPs add
            nothing until training says otherwise. A random transformer throws the slots away that
            the corrector found, and the corrector has to learn in spite of it. Needs
            ``norm_first``.
        normed_sum: as in STEVE's code, layers add to the normalised slots instead of the slots,
            and what leaves the last one is normalised. Needs ``norm_first``.

    Raises:
        InputError: if ``num_heads`` does not divide ``slot_dim``, or ``identity_start`` or
            ``normed_sum`` lacks its need.
    """

    def __init__(
        self,
        slot_dim: int,
        *,
        num_layers: int = 2,
        num_heads: int = 4,
        hidden_dim: int | None = None,
        norm_first: bool = True,
        dropout: float = 0.1,
        identity_start: bool = False,
        normed_sum: bool = False,
    ) -> None:
        super().__init__()
        if slot_dim % num_heads:
            raise InputError(f"slots of width {slot_dim} cannot be split among {num_heads} heads")
        if identity_start and not norm_first:
            raise InputError("identity_start needs norm_first: a norm after the sum changes slots")
        if normed_sum and (identity_start or not norm_first):
            raise InputError("normed_sum needs norm_first, and slots that it normalises change")
        # Each layer with its own first weights: nn.TransformerEncoder would copy those of one.
        self.layers = nn.ModuleList(
            (_NormedSumLayer if normed_sum and layer == 0 else nn.TransformerEncoderLayer)(
                slot_dim,
                num_heads,
                4 * slot_dim if hidden_dim is None else hidden_dim,
                dropout,
                batch_first=True,
                norm_first=norm_first,
            )
            for layer in range(num_layers)
        )
        self.norm = nn.LayerNorm(slot_dim) if normed_sum else None
        if identity_start:
            for layer in self.layers:
                assert isinstance(layer, nn.TransformerEncoderLayer)
                for last in (layer.self_attn.out_proj, layer.linear2):
                    nn.init.zeros_(last.weight)
                    nn.init.zeros_(last.bias)

    def forward(
        self, slots: Float[Tensor, "batch slots dim"], state: None = None
    ) -> tuple[Float[Tensor, "batch slots dim"], None]:
        """The next frame's first slots; there is no state."""
        for layer in self.layers:
            slots = layer(slots)
        return slots if self.norm is None else self.norm(slots), None


class _NormedSumLayer(nn.TransformerEncoderLayer):
    """A layer that adds to its normalised input."""

    def forward(
        self, src: Float[Tensor, "batch slots dim"], *_: Any, **__: Any
    ) -> Float[Tensor, "batch slots dim"]:
        slots = self.norm1(src)
        found, _ = self.self_attn(slots, slots, slots, need_weights=False)
        slots = slots + self.dropout1(found)
        hidden = self.dropout(self.linear1(self.norm2(slots)).relu())
        return slots + self.dropout2(self.linear2(hidden))


class ResidualMLPPredictor(nn.Module):
    """Each slot changes on its own, by an MLP of its normalised self.

    Args:
        slot_dim: width of the slots.
        hidden_dim: width of the MLP; None for twice ``slot_dim``.
        norm_first: what the MLP's output is added to. True: the normalised slot, as
            SlotDiffusion's code has it, so that the first slots of a frame have all one scale.
            False: the slot as it came.
    """

    def __init__(
        self, slot_dim: int, *, hidden_dim: int | None = None, norm_first: bool = True
    ) -> None:
        super().__init__()
        hidden_dim = 2 * slot_dim if hidden_dim is None else hidden_dim
        self.norm_first = norm_first
        self.norm = nn.LayerNorm(slot_dim)
        self.mlp = nn.Sequential(
            nn.Linear(slot_dim, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, slot_dim)
        )

    def forward(
        self, slots: Float[Tensor, "batch slots dim"], state: None = None
    ) -> tuple[Float[Tensor, "batch slots dim"], None]:
        """The next frame's first slots; there is no state."""
        normalised = self.norm(slots)
        return (normalised if self.norm_first else slots) + self.mlp(normalised), None


@dataclass(frozen=True)
class RecurrentState:
    """What ``RecurrentPredictor`` remembers of each slot.

    Attributes:
        hidden: of the cell.
        cell: of the cell.
        base: the state of the predictor before it.
    """

    hidden: Float[Tensor, "batch slots hidden_dim"]
    cell: Float[Tensor, "batch slots hidden_dim"]
    base: Any = None


class RecurrentPredictor(nn.Module):
    """A predictor whose output passes an LSTM that remembers each slot, and a linear layer.

    All slots of all samples share the LSTM's weights, and each has its own state. The result
    replaces the slots; it is not added to them.

    Args:
        base: the predictor before the LSTM.
        slot_dim: width of the slots.
        hidden_dim: width of the LSTM.
    """

    def __init__(self, base: nn.Module, slot_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.base = base
        self.lstm = nn.LSTMCell(slot_dim, hidden_dim)
        self.output = nn.Linear(hidden_dim, slot_dim)

    def forward(
        self, slots: Float[Tensor, "batch slots dim"], state: RecurrentState | None = None
    ) -> tuple[Float[Tensor, "batch slots dim"], RecurrentState]:
        """The next frame's first slots, and what is remembered for the frame after.

        Args:
            slots: of a frame.
            state: after the frame before; None after a video's first frame.
        """
        inputs, base = self.base(slots, None if state is None else state.base)
        memory = None if state is None else (_flat(state.hidden), _flat(state.cell))
        hidden, cell = self.lstm(_flat(inputs), memory)
        after = RecurrentState(
            hidden.unflatten(0, slots.shape[:2]), cell.unflatten(0, slots.shape[:2]), base
        )
        return self.output(after.hidden), after


def _flat(per_slot: Float[Tensor, "batch slots dim"]) -> Float[Tensor, "all_slots dim"]:
    return per_slot.flatten(0, 1)
