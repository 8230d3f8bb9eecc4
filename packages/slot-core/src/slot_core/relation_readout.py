"""A yes-or-no question about any two objects, asked of the slots of a video.

Does one thing come to touch another (Physion, Bear et al. 2021)? Every pair of slots of every
frame becomes a relation, the relations of a frame are brought together, and the answer is that of
the frame that speaks most for yes. As in SlotFormer's code (arXiv 2210.05861, section 4.4), which
SlotDiffusion uses:

    logit = max over t of  w . aggregate over pairs i < j of  R [slot_i(t), slot_j(t)]

There R is a single linear layer and ``max`` the only non-linearity; and each pair is seen in one
order alone, so the answer depends on the order of the slots. Two arguments depart from that:
``num_layers`` makes R an MLP, which can tell how near two slots are, and ``both_orders`` makes the
slots a set.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from slot_core.errors import InputError
from slot_core.recomputing import recompute_methods
from slot_core.slot_input import check_slots

Aggregation = Literal["max", "mean", "sum"]


class RelationReadout(nn.Module):
    """One logit for each video, from the slots of its frames.

    Args:
        slot_dim: width of the slots.
        hidden_dim: width of a relation.
        aggregation: how the relations of a frame become one.
        num_layers: of the relations' MLP, with ReLUs between them.
        both_orders: look at each pair twice, as (i, j) and as (j, i).

    Raises:
        InputError: if ``num_layers`` is below 1, or ``aggregation`` is another word.
    """

    def __init__(
        self,
        slot_dim: int,
        *,
        hidden_dim: int = 192,
        aggregation: Aggregation = "max",
        num_layers: int = 1,
        both_orders: bool = False,
    ) -> None:
        super().__init__()
        if num_layers < 1:
            raise InputError(f"num_layers is {num_layers}, expected at least 1")
        if aggregation not in get_args(Aggregation):
            words = ", ".join(get_args(Aggregation))
            raise InputError(f"aggregation is '{aggregation}'; expected one of {words}")
        self.slot_dim = slot_dim
        self.aggregation: Aggregation = aggregation
        self.both_orders = both_orders
        layers: list[nn.Module] = [nn.Linear(2 * slot_dim, hidden_dim)]
        for _ in range(num_layers - 1):
            layers += [nn.ReLU(), nn.Linear(hidden_dim, hidden_dim)]
        self.relation = nn.Sequential(*layers)
        self.output = nn.Linear(hidden_dim, 1)

    def forward(self, slots: Float[Tensor, "batch time slots dim"]) -> Float[Tensor, " batch"]:
        """The logit of each video; above 0 the answer is yes.

        Args:
            slots: of at least one frame and two slots.

        Raises:
            InputError: if there are fewer, or the slots have another shape or kind of numbers.
        """
        check_slots(slots, self.slot_dim, self.output.weight)
        time, num_slots = slots.shape[1:3]
        if num_slots < 2:
            raise InputError(
                f"there are {num_slots} slots in {time} frames; an answer about pairs needs at "
                "least 2 slots in 1 frame"
            )
        return self.output(self.related(slots)).squeeze(-1).amax(1)

    def enable_gradient_checkpointing(self) -> None:
        """Recompute the relations, some frames after the other; see recomputing.py."""
        recompute_methods(self, "related", batch_axes=2)

    def related(
        self, slots: Float[Tensor, "batch time slots dim"]
    ) -> Float[Tensor, "batch time hidden"]:
        """The relations of each frame, brought together."""
        num_slots = slots.shape[2]
        first, second = torch.triu_indices(num_slots, num_slots, 1, device=slots.device)
        if self.both_orders:
            first, second = torch.cat([first, second]), torch.cat([second, first])
        pairs = torch.cat([slots[:, :, first], slots[:, :, second]], -1)
        return self._aggregate(self.relation(pairs))

    def _aggregate(
        self, relations: Float[Tensor, "batch time pairs hidden"]
    ) -> Float[Tensor, "batch time hidden"]:
        if self.aggregation == "max":
            return relations.amax(2)
        return relations.mean(2) if self.aggregation == "mean" else relations.sum(2)
