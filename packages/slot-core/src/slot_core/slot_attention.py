"""Slot Attention on the features of one frame (Locatello et al. 2020, arXiv 2006.15055).

Algorithm 1 of the paper: slots compete for positions (softmax over slots), each takes the mean
of the values it won (weights divided by their sum over positions), and a GRU and a residual MLP
update it.

One departure in the order of operations, none in the result. The keys and values of the paper
are linear in the features x: k = W_k x and v = W_v x. So q.k = (W_k^T q).x, and the weighted
mean of v is W_v times the weighted mean of x. Projecting the few slots instead of the many
positions leaves no product over all positions but the attention itself, whose cost is in the
number of slots and not in the slot width.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from slot_core.errors import InputError
from slot_core.slot_input import fits

Differentiation = Literal["unrolled", "implicit", "straight_through"]


class SlotAttention(nn.Module):
    """Iterative competition of slots for the positions of one frame.

    Args:
        feature_dim: width of the features.
        slot_dim: width of the slots.
        hidden_dim: width of the residual MLP; None for twice ``slot_dim``, 0 for no MLP.
        num_iterations: how often the slots are updated (T in the paper).
        epsilon: added to the attention before it is divided by its sum over positions.
        gru: True updates the slots by a GRU whose state are the previous slots (paper);
            False replaces them by the mean that attention found.
        differentiation: how gradients pass through the iterations.
            "unrolled": through all of them (paper).
            "implicit": through the last one only, which is the first-order Neumann
            approximation of the fixed point's implicit gradient (Chang et al. 2022,
            arXiv 2207.00787, section 3); nothing reaches the first slots, nor a predictor.
            "straight_through": as "implicit", and the first slots receive the gradient of the
            last iteration's input (BO-QSA, Jia et al. 2023, arXiv 2210.08990, equation 5).
        final_mlp: False leaves the MLP out of the last iteration, as STEVE's code does.
        kmeans_start: start as a soft k-means of the features: queries, keys and values are the
            normalised slots and features themselves and the MLP adds nothing, until training
            says otherwise. Random projections, as usual, have to find this first. Needs
            ``feature_dim`` equal to ``slot_dim`` and no GRU.

    Raises:
        InputError: if ``differentiation`` is none of these, or ``kmeans_start`` lacks its needs.
    """

    def __init__(
        self,
        feature_dim: int,
        slot_dim: int,
        *,
        hidden_dim: int | None = None,
        num_iterations: int = 3,
        epsilon: float = 1e-6,
        gru: bool = True,
        differentiation: Differentiation = "unrolled",
        final_mlp: bool = True,
        kmeans_start: bool = False,
    ) -> None:
        super().__init__()
        if differentiation not in get_args(Differentiation):
            raise InputError(
                f"differentiation is '{differentiation}'; expected one of "
                f"{', '.join(get_args(Differentiation))}"
            )
        hidden_dim = 2 * slot_dim if hidden_dim is None else hidden_dim
        self.slot_dim = slot_dim
        self.num_iterations = num_iterations
        self.epsilon = epsilon
        self.differentiation = differentiation
        self.final_mlp = final_mlp
        self.norm_features = nn.LayerNorm(feature_dim)
        self.norm_slots = nn.LayerNorm(slot_dim)
        self.to_query = nn.Linear(slot_dim, slot_dim, bias=False)
        self.to_key = nn.Linear(feature_dim, slot_dim, bias=False)
        self.to_value = nn.Linear(feature_dim, slot_dim, bias=False)
        self.gru = nn.GRUCell(slot_dim, slot_dim) if gru else None
        self.mlp = _residual_mlp(slot_dim, hidden_dim) if hidden_dim else None
        if kmeans_start:
            self._start_as_kmeans()

    def forward(
        self,
        features: Float[Tensor, "batch positions feature_dim"],
        slots: Float[Tensor, "batch slots dim"],
        num_iterations: int | None = None,
    ) -> tuple[Float[Tensor, "batch slots dim"], Float[Tensor, "batch slots positions"]]:
        """Refine ``slots`` on ``features``.

        Args:
            features: of one frame, positions flattened.
            slots: to start from.
            num_iterations: instead of the module's own.

        Returns:
            The slots, and the attention of the last iteration: softmax over slots, before
            epsilon and before the division over positions, detached.

        Raises:
            InputError: if shapes or types are others, or ``num_iterations`` is below 1.
        """
        self._check_shapes(features.shape, slots.shape)
        self._check_types(features, slots)
        count = self.num_iterations if num_iterations is None else num_iterations
        if count < 1:
            raise InputError(f"num_iterations is {count}; Slot Attention needs at least 1")
        # A view: copying it into that order costs more than both products of an iteration gain.
        inputs = self.norm_features(features).transpose(1, 2)
        if self.differentiation == "unrolled":
            for _ in range(count - 1):
                slots, _ = self.iterate(inputs, slots)
        else:
            slots = self._without_gradient(inputs, slots, count - 1)
        slots, attention = self.iterate(inputs, slots, last=True)
        return slots, attention.detach()

    def iterate(
        self,
        inputs: Float[Tensor, "batch feature_dim positions"],
        slots: Float[Tensor, "batch slots dim"],
        *,
        last: bool = False,
    ) -> tuple[Float[Tensor, "batch slots dim"], Float[Tensor, "batch slots positions"]]:
        """One iteration (lines 6 to 11 of Algorithm 1) on normalised, transposed features."""
        query = self.to_query(self.norm_slots(slots)) * self.slot_dim**-0.5
        logits = torch.bmm(query @ self.to_key.weight, inputs)
        # In single precision at least. Divided before the product, not after it: the sum over
        # thousands of positions leaves the range of half precision.
        attention = logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(dim=1)
        weights = attention + self.epsilon
        weights = weights / weights.sum(dim=-1, keepdim=True)
        mean = torch.bmm(weights.to(inputs.dtype), inputs.transpose(1, 2))
        with_mlp = self.final_mlp or not last
        return self._update(self.to_value(mean), slots, with_mlp=with_mlp), attention

    def _check_shapes(self, features: torch.Size, slots: torch.Size) -> None:
        feature_dim = self.to_key.in_features
        if len(features) != 3 or features[-1] != feature_dim:
            raise InputError(
                f"the features have the shape {list(features)}, expected [batch positions "
                f"{feature_dim}]; a map [batch {feature_dim} height width] becomes that by "
                "map.flatten(2).transpose(1, 2)"
            )
        if len(slots) != 3 or slots[-1] != self.slot_dim or slots[0] != features[0]:
            raise InputError(
                f"the slots have the shape {list(slots)}, expected [{features[0]} slots "
                f"{self.slot_dim}]"
            )

    def _check_types(self, features: Tensor, slots: Tensor) -> None:
        dtype = self.to_key.weight.dtype
        for name, values in (("features", features), ("slots", slots)):
            if not fits(values, dtype):
                raise InputError(f"the {name} are {values.dtype}, expected {dtype} as the weights")

    def _start_as_kmeans(self) -> None:
        if self.to_key.in_features != self.slot_dim or self.gru is not None:
            raise InputError(
                f"kmeans_start needs feature_dim {self.to_key.in_features} equal to slot_dim "
                f"{self.slot_dim} and gru=False"
            )
        for projection in (self.to_query, self.to_key, self.to_value):
            nn.init.eye_(projection.weight)
        if self.mlp is not None:
            last = self.mlp[-1]
            assert isinstance(last, nn.Linear)
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def _update(
        self,
        updates: Float[Tensor, "batch slots dim"],
        slots: Float[Tensor, "batch slots dim"],
        *,
        with_mlp: bool,
    ) -> Float[Tensor, "batch slots dim"]:
        if self.gru is not None:
            flat = self.gru(updates.flatten(0, 1), slots.flatten(0, 1).to(updates.dtype))
            updates = flat.view_as(updates)
        return updates + self.mlp(updates) if self.mlp is not None and with_mlp else updates

    def _without_gradient(self, inputs: Tensor, slots: Tensor, count: int) -> Tensor:
        """``count`` iterations that no gradient passes, or passes straight through.

        Autocast keeps the low-precision copies of the weights that it makes. Up to torch 2.9
        at least, copies made without a graph are then reused by the last iteration and cut its
        gradients. So these iterations run with that cache off.
        """
        device = inputs.device.type
        cast = torch.is_autocast_enabled(device)
        with (
            torch.no_grad(),
            torch.autocast(device, cache_enabled=False) if cast else nullcontext(),
        ):
            refined = slots
            for _ in range(count):
                refined, _ = self.iterate(inputs, refined)
        if self.differentiation == "straight_through":
            return refined + (slots - slots.detach())
        return refined.detach()


def _residual_mlp(slot_dim: int, hidden_dim: int) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(slot_dim),
        nn.Linear(slot_dim, hidden_dim),
        nn.ReLU(),
        nn.Linear(hidden_dim, slot_dim),
    )
