"""Names in foreign checkpoints, and ours: one table, read in both directions.

A table pairs modules (or single parameters) of a model of ours with those of the foreign one;
below such a pair both sides use PyTorch's own names (``weight``, ``bias``, ``weight_ih``). It is
strict both ways: every foreign tensor is used or ignored for a stated reason, and every tensor
of ours is filled. What is ignored because it follows from the configuration is compared with it:
otherwise weights would be taken under another's configuration.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from slot_core import CheckpointError

# Foreign tensor -> its shape, or its numbers along one axis, that a configuration implies.
Implied = dict[str, tuple[int, ...] | Tensor]
# How far numbers may be from those of the configuration: a checkpoint in half precision rounds.
ROUNDING = 5e-3


@dataclass(frozen=True)
class StateDictMap:
    """How the tensors of one foreign system correspond to those of a model of ours.

    Attributes:
        names: our module or parameter -> theirs, by dotted name.
        ignored: foreign tensor -> why we need none.
        batched: our parameters that the foreign system stores with a leading axis of size 1.
        pointwise: our linear layers' weights that it stores as convolutions of one pixel.
        implied: what the configuration says of those ignored tensors that follow from it.
    """

    names: Mapping[str, str]
    ignored: Mapping[str, str] = field(default_factory=dict)
    batched: frozenset[str] = frozenset()
    pointwise: frozenset[str] = frozenset()
    implied: Implied = field(default_factory=dict)

    def to_ours(
        self, theirs: Mapping[str, Tensor], own: Mapping[str, Tensor], *, source: str
    ) -> dict[str, Tensor]:
        """Foreign weights under our names, floating ones as float32.

        Args:
            theirs: the foreign state dict.
            own: the state dict of a model of ours built from the same hyper-parameters.
            source: the file that ``theirs`` come from, for error messages.

        Raises:
            CheckpointError: naming a tensor that is missing, unknown, of another shape, or not
                what the configuration implies.
        """
        pairs = self.pairs(own, source=source)
        needed = set(pairs.values())
        _refuse(f"{source}: lacks", sorted(needed - theirs.keys()))
        _refuse(f"{source}: has the unknown", sorted(theirs.keys() - needed - self.ignored.keys()))
        for name, implied in self.implied.items():
            if name in theirs:
                _check_implied(name, theirs[name], implied, source)
        converted = {}
        for our_name, their_name in pairs.items():
            value = theirs[their_name]
            _check_shape(their_name, value, self._their_shape(our_name, own[our_name]), source)
            value = value.reshape(own[our_name].shape)
            converted[our_name] = value.float() if value.is_floating_point() else value
        return converted

    def to_theirs(self, ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Our weights under the foreign names; what we ignore of theirs is not made.

        Raises:
            CheckpointError: naming a tensor of ours that has no foreign counterpart.
        """
        pairs = self.pairs(ours, source="the model")
        return {
            their_name: ours[our_name].reshape(self._their_shape(our_name, ours[our_name]))
            for our_name, their_name in pairs.items()
        }

    def pairs(self, own: Mapping[str, Tensor], *, source: str) -> dict[str, str]:
        """Our tensor names -> the foreign ones.

        Raises:
            CheckpointError: if the foreign system has no counterpart of one of ``own``.
        """
        pairs: dict[str, str] = {}
        for name in own:
            parts = name.split(".")
            heads = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
            known = next((head for head in heads if head in self.names), None)
            if known is None:
                raise CheckpointError(
                    f"{source}: the foreign system has no counterpart of our '{name}', which "
                    f"the configuration asks for"
                )
            pairs[name] = self.names[known] + name.removeprefix(known)
        return pairs

    def _their_shape(self, our_name: str, our_value: Tensor) -> torch.Size:
        batch = [1] if our_name in self.batched else []
        pixel = [1, 1] if our_name in self.pointwise else []
        return torch.Size([*batch, *our_value.shape, *pixel])


class Tensors(dict[str, Tensor]):
    """A state dict out of which tensors are taken."""

    def __init__(self, weights: Mapping[str, Tensor], source: str) -> None:
        super().__init__(weights)
        self.source = source

    def take(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """Remove a tensor that must be there, as float32."""
        if name not in self:
            raise CheckpointError(f"{self.source}: lacks weights {name}")
        value = self.pop(name)
        _check_shape(name, value, shape, self.source)
        return value.float()


def unwrap(checkpoint: object, *, source: str) -> dict[str, Tensor]:
    """The state dict inside what a training framework saved.

    It may be bare or under ``state_dict`` or ``model``; the ``module.`` that data parallelism puts
    before every name is dropped.

    Raises:
        CheckpointError: if there is no state dict, or it holds something else than tensors.
    """
    for key in ("state_dict", "model"):
        if isinstance(checkpoint, Mapping) and key in checkpoint:
            checkpoint = checkpoint[key]
    if not isinstance(checkpoint, Mapping) or not checkpoint:
        raise CheckpointError(f"{source}: holds no state dict, expected names with their tensors")
    for name, value in checkpoint.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise CheckpointError(
                f"{source}: '{name}' holds a {type(value).__name__}, expected a tensor"
            )
    if all(name.startswith("module.") for name in checkpoint):
        return {name.removeprefix("module."): value for name, value in checkpoint.items()}
    return dict(checkpoint)


def _check_shape(name: str, value: Tensor, expected: tuple[int, ...], source: str) -> None:
    if tuple(value.shape) != tuple(expected):
        raise CheckpointError(
            f"{source}: {name} has the shape {list(value.shape)}, "
            f"the configuration asks for {list(expected)}"
        )


def _check_implied(
    name: str, value: Tensor, implied: tuple[int, ...] | Tensor, source: str
) -> None:
    if isinstance(implied, tuple):
        _check_shape(name, value, implied, source)
        return
    _check_shape(name, value, tuple(implied.shape), source)
    near = torch.isclose(value.to(implied), implied, rtol=ROUNDING, atol=0)
    if not near.all():
        place = int((~near).nonzero()[0])
        raise CheckpointError(
            f"{source}: {name} is {float(value[place]):.6g} at {place}, "
            f"the configuration asks for {float(implied[place]):.6g}"
        )


def _refuse(problem: str, names: list[str]) -> None:
    if names:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        raise CheckpointError(f"{problem} weights {', '.join(names[:3])}{more}")
