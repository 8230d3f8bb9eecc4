"""First slots taken from the first frame's features, as the seeds of a clustering.

Slot Attention is a soft k-means, and like k-means it stays where its seeds let it: two seeds in one
object split it, none in an object merges it with another. So the seeds are features far from one
another: the one nearest to the mean, then again and again the one farthest from those taken
(Gonzalez 1985). Clustering the features for the first slots is due to Gao et al. 2023
(arXiv 2308.11369), who run it to convergence; here the iterations do that.

Where somebody points out objects (SAVi, arXiv 2111.12594, section 2.2), each has its seed in the
middle of its box, in its mask or at its point, and only the others are spread. SAVi embeds the
numbers of a box by an MLP, which has to learn what a place looks like; here the features say so.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from slot_core.conditioned_slots import (
    AXES,
    ConditioningKind,
    checked,
    describe_boxes,
    describe_masks,
    describe_points,
)
from slot_core.errors import InputError
from slot_core.noise import Generators
from slot_core.slot_initializers import Conditioning, refuse_conditioning

MIDDLE = 0.5  # of a box's height and width; its corners are seldom the object's


class ClusteredSlots(nn.Module):
    """Seeds spread over the features of the first frame, as in clustering.

    Made for SlotAttention(kmeans_start=True), whose slots live in the space of the features. There
    are no parameters.

    Args:
        num_slots: how many; it can change after training.
        on: "boxes", "points" or "masks" of objects, told as to ``ConditionedSlots``, whose seeds
            come first, in the order told; None where nothing is told.

    Raises:
        InputError: if ``on`` is another word.
    """

    def __init__(self, num_slots: int, *, on: ConditioningKind | None = None) -> None:
        super().__init__()
        if on is not None and on not in AXES:
            raise InputError(
                f"first slots cannot be told of '{on}'; expected one of {', '.join(AXES)}"
            )
        self.num_slots = num_slots
        self.on: ConditioningKind | None = on

    def forward(
        self,
        features: Float[Tensor, "batch positions dim"],
        generator: Generators | None = None,
        conditioning: Conditioning | None = None,
        feature_size: tuple[int, int] | None = None,
    ) -> Float[Tensor, "batch slots dim"]:
        """Normalised features at told and at well-spread positions; nothing is drawn.

        Args:
            features: of the first frame.
            generator: unused.
            conditioning: of the objects, where the module is told of any.
            feature_size: height and width of the grid of positions, needed with ``conditioning``.

        Raises:
            InputError: if there are fewer positions than slots, or conditioning is given, lacks or
                cannot be.
        """
        if features.shape[1] < self.num_slots:
            raise InputError(
                f"{self.num_slots} slots need as many positions, the frame has {features.shape[1]}"
            )
        normalised = F.layer_norm(features, features.shape[-1:])
        if self.on is None:
            refuse_conditioning(conditioning)
            return _gather(normalised, farthest_points(normalised.detach(), self.num_slots))
        told = checked(conditioning, self.on, len(features), self.num_slots)
        assert feature_size is not None  # the encoder says it
        shares, present = positions_of(told, self.on, feature_size)
        seeds = shares.to(normalised.dtype) @ normalised
        missing = self.num_slots - seeds.shape[1]
        seeds, present = F.pad(seeds, (0, 0, 0, missing)), F.pad(present, (0, missing))
        spread = farthest_points(normalised.detach(), self.num_slots, seeds.detach(), present)
        # The first free slot takes the first of the spread seeds, and so on.
        turn = ((~present).cumsum(1) - 1).clamp(min=0)
        return torch.where(present[:, :, None], seeds, _gather(normalised, spread.gather(1, turn)))


def farthest_points(
    points: Float[Tensor, "batch positions dim"],
    count: int,
    taken: Float[Tensor, "batch others dim"] | None = None,
    present: Bool[Tensor, "batch others"] | None = None,
) -> Int[Tensor, "batch count"]:
    """Indices of ``count`` points: nearest to the mean, then each farthest from all before.

    Points ``taken`` before count like those chosen, where ``present``. In single precision, also
    under autocast: the distances are small differences of large products, and features of one frame
    are often much alike.
    """
    with torch.autocast(points.device.type, enabled=False):
        return _farthest_points(
            points.float(), count, None if taken is None else taken.float(), present
        )


def _farthest_points(
    points: Float[Tensor, "batch positions dim"],
    count: int,
    taken: Float[Tensor, "batch others dim"] | None,
    present: Bool[Tensor, "batch others"] | None,
) -> Int[Tensor, "batch count"]:
    lengths = points.square().sum(dim=-1)
    rows = torch.arange(len(points), device=points.device)

    def squared_distances(point: Tensor) -> Tensor:
        # By the product, not the difference: a quarter of the time, and only the order counts.
        products = torch.bmm(points, point[:, :, None]).squeeze(-1)
        return lengths - 2 * products + point.square().sum(dim=-1, keepdim=True)

    nearest = torch.full_like(lengths, torch.inf)
    if taken is not None and present is not None:
        for other, there in zip(taken.unbind(1), present.unbind(1), strict=True):
            distances = squared_distances(other).masked_fill(~there[:, None], torch.inf)
            nearest = torch.minimum(nearest, distances)
    chosen = squared_distances(points.mean(dim=1)).argmin(dim=1)
    indices = [chosen]
    for _ in range(count - 1):
        nearest = torch.minimum(nearest, squared_distances(points[rows, chosen]))
        chosen = nearest.argmax(dim=1)
        indices.append(chosen)
    return torch.stack(indices, dim=1)


def positions_of(
    told: Conditioning, on: ConditioningKind, feature_size: tuple[int, int]
) -> tuple[Float[Tensor, "batch objects positions"], Bool[Tensor, "batch objects"]]:
    """How much of each object's seed each position of the grid gives, and which objects are there.

    All positions whose middle lies in the mask, or in the middle of the box, give alike; where
    there is none, and for a point, the position that holds the object's centre gives all.

    Raises:
        InputError: as ``describe_boxes``, ``describe_points`` and ``describe_masks`` do.
    """
    height, width = feature_size
    y = (torch.arange(height, device=told.device) + 0.5) / height
    x = (torch.arange(width, device=told.device) + 0.5) / width
    if on == "points":
        points, present = describe_points(told)
        inside = torch.zeros(*present.shape, height, width, device=told.device)
    elif on == "boxes":
        boxes, present = describe_boxes(told)
        points = (boxes[..., :2] + boxes[..., 2:]) / 2
        reach = (boxes[..., 2:] - boxes[..., :2]).abs() * MIDDLE / 2
        rows = (y - points[..., 0, None]).abs() <= reach[..., 0, None]
        columns = (x - points[..., 1, None]).abs() <= reach[..., 1, None]
        inside = (rows[..., :, None] & columns[..., None, :]).float()
    else:
        numbers, present = describe_masks(told)
        points = numbers[..., 4:6]
        # That of the pixel in which a position's middle lies; also of no object at all.
        rows, columns = ((at * n).long() for at, n in zip((y, x), told.shape[2:], strict=True))
        inside = (told > 0.5)[:, :, rows[:, None], columns].float()
    size = points.new_tensor(feature_size)
    row, column = (points.clamp(0, 1) * size).floor().minimum(size - 1).long().unbind(-1)
    centre = F.one_hot(row * width + column, height * width).to(inside.dtype)
    inside = inside.flatten(2)
    counts = inside.sum(dim=-1, keepdim=True)
    return torch.where(counts > 0, inside / counts.clamp(min=1), centre), present


def _gather(
    points: Float[Tensor, "batch positions dim"], indices: Int[Tensor, "batch count"]
) -> Float[Tensor, "batch count dim"]:
    return points.gather(1, indices[:, :, None].expand(-1, -1, points.shape[-1]))
