"""Boxes, points and masks of the objects, from labels: what a conditional video model is told
about the first frame (Kipf et al. 2022, SAVi, section 2.2).

Row n - 1 is the object with label n, in every frame. Coordinates are fractions of the frame, so
they hold at any size: 0 is the outer edge of the first row or column of pixels, 1 that of the last.
"""

import torch
from torch import Tensor

from slot_data.sample import DataError

ABSENT = -1.0


def masks_from_labels(labels: Tensor, max_objects: int) -> Tensor:
    """bool [.. N H W]: where each of the objects 1 to N = max_objects is; the background is none.

    labels: integers [.. H W], 0 for the background.

    Raises DataError if there are more objects than max_objects, or labels below 0.
    """
    _check(labels, max_objects)
    numbers = torch.arange(1, max_objects + 1, device=labels.device)
    return labels.unsqueeze(-3) == numbers[:, None, None]


def boxes_from_labels(labels: Tensor, max_objects: int) -> Tensor:
    """float32 [.. N 4]: top, left, bottom and right of what is visible of each object; -1
    throughout where nothing is.

    labels: integers [.. H W], 0 for the background.

    Raises DataError as `masks_from_labels` does.
    """
    masks = masks_from_labels(labels, max_objects)
    top, bottom = _extent(masks.any(-1))
    left, right = _extent(masks.any(-2))
    boxes = torch.stack([top, left, bottom, right], dim=-1)
    return boxes.masked_fill(~masks.any(-1).any(-1, keepdim=True), ABSENT)


def points_from_labels(labels: Tensor, max_objects: int) -> Tensor:
    """float32 [.. N 2]: y and x of the middle of one pixel of each object, the one nearest to the
    centre of what is visible of it; -1 throughout where nothing is. Unlike the centre, the point
    lies on the object even where that is a ring. Of equally near pixels it is the first, row by
    row.

    labels: integers [.. H W], 0 for the background.

    Raises DataError as `masks_from_labels` does.
    """
    masks = masks_from_labels(labels, max_objects)
    height, width = masks.shape[-2:]
    y = torch.arange(height, dtype=torch.float64, device=labels.device)
    x = torch.arange(width, dtype=torch.float64, device=labels.device)
    areas = masks.sum((-2, -1)).clamp(min=1)
    centre_y = (masks.sum(-1) * y).sum(-1) / areas
    centre_x = (masks.sum(-2) * x).sum(-1) / areas
    away_y = (y - centre_y[..., None]).square()
    away_x = (x - centre_x[..., None]).square()
    away = (away_y[..., :, None] + away_x[..., None, :]).masked_fill(~masks, torch.inf)
    nearest = away.flatten(-2).argmin(-1)
    points = torch.stack(
        [(nearest // width + 0.5) / height, (nearest % width + 0.5) / width], dim=-1
    )
    return points.masked_fill(~masks.flatten(-2).any(-1, keepdim=True), ABSENT)


READERS = {
    "boxes": boxes_from_labels,
    "points": points_from_labels,
    "masks": masks_from_labels,
}


def conditioning_from_labels(kind: str, labels: Tensor, max_objects: int) -> Tensor:
    """What a model conditioned on "boxes", "points" or "masks" is told of frames with these labels.

    labels: integers [.. H W], 0 for the background.

    Raises DataError for another kind, and as `masks_from_labels` does.
    """
    if kind not in READERS:
        raise DataError(f"there is no conditioning on {kind!r}; there is {', '.join(READERS)}")
    return READERS[kind](labels, max_objects)


def _check(labels: Tensor, max_objects: int) -> None:
    if max_objects < 1:
        raise DataError(f"max_objects is {max_objects}, not at least 1")
    if labels.ndim < 2 or labels.is_floating_point() or labels.is_complex():
        raise DataError(
            f"labels are {labels.dtype} of shape {list(labels.shape)}; expected integers "
            "[.. height width]"
        )
    least, most = (int(end) for end in labels.aminmax()) if labels.numel() else (0, 0)
    if least < 0 or most > max_objects:
        raise DataError(
            f"labels go from {least} to {most}; with max_objects {max_objects} they may go from 0 "
            f"to {max_objects}"
        )


def _extent(taken: Tensor) -> tuple[Tensor, Tensor]:
    """Where the first True of the last axis begins and the last one ends, as fractions of it."""
    length = taken.shape[-1]
    counts = taken.to(torch.uint8)  # argmax gives the first of equals
    begin = counts.argmax(-1) / length
    return begin, (length - counts.flip(-1).argmax(-1)) / length
