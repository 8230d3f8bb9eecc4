"""The first slots of a video of which someone points out the objects (SAVi, arXiv 2111.12594,
section 2.2).

An MLP turns what is told of an object in the first frame into its slot, so slot i follows object
i. A slot without an object starts from a learned vector of its own. There SAVi embeds an empty
box, the same for all such slots, and slots that start equal stay equal.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from slot_core.errors import InputError
from slot_core.noise import Generators
from slot_core.slot_initializers import Conditioning

ConditioningKind = Literal["boxes", "points", "masks"]
AXES = {"boxes": "4", "points": "2", "masks": "height width"}  # of one object
POOLED = 8  # side of the grid that a mask is pooled to
NUM_NUMBERS = {"boxes": 4, "points": 2, "masks": 4 + 2 + 1 + POOLED**2}  # that the MLP sees
ROUNDING = 1e-5  # by which a fraction computed in single precision may leave the frame

Description = tuple[Float[Tensor, "batch objects numbers"], Bool[Tensor, "batch objects"]]


class ConditionedSlots(nn.Module):
    """Slots that are told which objects of the first frame to follow.

    The background and objects that nobody tells share the slots without an object, so let there
    be at least one more slot than objects.

    Args:
        num_slots: how many, at least as many as objects.
        slot_dim: their width.
        on: what is told of each object.
            "boxes": [batch objects 4], top, left, bottom and right as fractions of the frame
            from 0 to 1; -1 throughout for an absent object.
            "points": [batch objects 2], y and x likewise.
            "masks": [batch objects height width], boolean or from 0 to 1, of any size, cut at
            0.5; empty for an absent object. The MLP sees a mask's box, its centre of mass, its
            share of the frame, and the mask pooled to 8x8.
        hidden_dim: width of the MLP; 256 as in SAVi.

    Raises:
        InputError: if ``on`` is another word.
    """

    def __init__(
        self,
        num_slots: int,
        slot_dim: int,
        *,
        on: ConditioningKind = "boxes",
        hidden_dim: int = 256,
    ) -> None:
        super().__init__()
        if on not in get_args(ConditioningKind):
            raise InputError(
                f"first slots cannot be conditioned on '{on}'; expected one of "
                f"{', '.join(get_args(ConditioningKind))}"
            )
        self.num_slots = num_slots
        self.on: ConditioningKind = on
        self.nothing = nn.Parameter(torch.randn(num_slots, slot_dim))
        self.embedding = nn.Sequential(
            nn.Linear(NUM_NUMBERS[on], hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, slot_dim)
        )

    def forward(
        self,
        features: Float[Tensor, "batch positions feature_dim"],
        generator: Generators | None = None,
        conditioning: Conditioning | None = None,
        feature_size: tuple[int, int] | None = None,
    ) -> Float[Tensor, "batch slots dim"]:
        """A slot for each object in the order told, then those without; nothing is drawn.

        Raises:
            InputError: if nothing is told, or of more objects than slots, or something that
                cannot be: a box or point outside the frame, a box upside down.
        """
        conditioning = checked(conditioning, self.on, features.shape[0], self.num_slots)
        describe = {"boxes": describe_boxes, "points": describe_points, "masks": describe_masks}
        numbers, present = describe[self.on](conditioning)
        missing = self.num_slots - conditioning.shape[1]
        embedded = F.pad(self.embedding(numbers.to(self.nothing.dtype)), (0, 0, 0, missing))
        present = F.pad(present, (0, missing))[:, :, None]
        return torch.where(present, embedded, self.nothing.to(embedded.dtype))


def checked(
    told: Conditioning | None, on: ConditioningKind, batch: int, num_slots: int
) -> Conditioning:
    """What is told of the objects, once it is clear that it can be.

    Raises:
        InputError: if nothing is told, it has another shape or kind of numbers than ``on`` has, or
            it is of more objects than slots or another number of videos.
    """
    if told is None:
        raise InputError(f"the first slots are conditioned on {on}, but none were given")
    if not isinstance(told, Tensor):
        raise InputError(
            f"the {on} are of the type {type(told).__name__}, expected a tensor [batch objects "
            f"{AXES[on]}]"
        )
    axes = AXES[on].split()
    sizes = zip(told.shape[2:], axes, strict=False)
    fits = all(not axis.isdigit() or size == int(axis) for size, axis in sizes)
    if told.ndim != 2 + len(axes) or not fits or 0 in told.shape[2:]:
        raise InputError(
            f"the {on} have the shape {list(told.shape)}, expected [batch objects {AXES[on]}]"
        )
    if not told.is_floating_point() and not (on == "masks" and told.dtype == torch.bool):
        raise InputError(f"the {on} are {told.dtype}, expected fractions from 0 to 1")
    if told.shape[0] != batch:
        raise InputError(f"{on} of {told.shape[0]} videos were given for {batch}")
    if told.shape[1] > num_slots:
        raise InputError(
            f"{told.shape[1]} {on} were given for {num_slots} slots, expected at most one for "
            f"each slot"
        )
    return told


def describe_boxes(boxes: Float[Tensor, "batch objects 4"]) -> Description:
    """The boxes as they are, and which of them are there.

    Raises:
        InputError: if one lies outside the frame or upside down.
    """
    described = describe_points(boxes)
    top, left, bottom, right = boxes.unbind(-1)
    _refuse((top > bottom) | (left > right), boxes, "top <= bottom and left <= right")
    return described


def describe_points(points: Float[Tensor, "batch objects coordinates"]) -> Description:
    """The points (or corners of boxes) as they are, and which of them are there.

    Raises:
        InputError: if one lies outside the frame.
    """
    present = ~(points == -1).all(dim=-1)
    inside = ((points >= -ROUNDING) & (points <= 1 + ROUNDING)).all(dim=-1)  # NaN is not
    expected = "fractions of the frame from 0 to 1, or -1 throughout where there is no object"
    _refuse(present & ~inside, points, expected)
    return points, present


def describe_masks(masks: Shaped[Tensor, "batch objects height width"]) -> Description:
    """Each mask in numbers (box, centre, share, pooled), and which of them have any pixel.

    Raises:
        InputError: if a soft mask leaves [0, 1].
    """
    if _is_looked_at(masks) and not ((masks >= 0) & (masks <= 1)).all():
        raise InputError("the masks hold values outside 0 to 1")
    pixels = masks > 0.5
    share = pixels.float().mean(dim=(-2, -1))
    top, bottom, y = _extent(pixels, dim=-1)
    left, right, x = _extent(pixels, dim=-2)
    pooled = F.adaptive_avg_pool2d(pixels.float(), POOLED).flatten(2)
    numbers = torch.stack([top, left, bottom, right, y, x, share], dim=-1)
    return torch.cat([numbers, pooled], dim=-1), share > 0


def _extent(
    pixels: Bool[Tensor, "batch objects height width"], dim: int
) -> tuple[
    Float[Tensor, "batch objects"], Float[Tensor, "batch objects"], Float[Tensor, "batch objects"]
]:
    """Begin, end and centre of mass, as fractions, on the axis that is left without ``dim``."""
    counts = pixels.float().sum(dim)
    length = counts.shape[-1]
    taken = (counts > 0).float()  # argmax gives the first of equals
    begin = taken.argmax(dim=-1) / length
    end = 1 - taken.flip(-1).argmax(dim=-1) / length
    middles = (torch.arange(length, device=pixels.device) + 0.5) / length
    centre = (counts * middles).sum(dim=-1) / counts.sum(dim=-1).clamp(min=1)
    return begin, end, centre


def _is_looked_at(told: Tensor) -> bool:
    """Not in a training step on a GPU, which would wait for all that is still computed there."""
    return told.device.type == "cpu" or not torch.is_grad_enabled()


def _refuse(
    wrong: Bool[Tensor, "batch objects"],
    rows: Float[Tensor, "batch objects coordinates"],
    expected: str,
) -> None:
    if _is_looked_at(rows) and wrong.any():
        sample, index = wrong.nonzero()[0].tolist()
        kind = "box" if rows.shape[-1] == 4 else "point"
        values = ", ".join(f"{value:g}" for value in rows[sample, index].tolist())
        raise InputError(f"{kind} {index} of sample {sample} is ({values}), expected {expected}")
