"""Boundary F: how well the outlines of objects are drawn (Perazzi et al., CVPR 2016, section 4.1,
after Martin, Fowlkes and Malik, 2004), of segments that have to be matched first.

The boundary of a mask are its pixels that touch a pixel outside of it, at a corner too; beyond the
picture is outside. A pixel of one boundary is met if one of the other lies within
``ceil(tolerance x diagonal)`` pixels. Precision is the share of the predicted boundary that is met,
recall of the true one, F their harmonic mean. Where one mask is empty F is 0, and where both are it
is 1. The paper takes a tolerance of 0.008; VideoSAUR's code gives what 0 gives on small pictures.

Each true object gets the predicted segment of a one-to-one matching that makes the sum of F
largest, as in VideoSAUR's J&F; one without a segment counts 0. In a clip, F is averaged over all
frames of a pair before they are matched.
"""

import math

import torch
from jaxtyping import Bool, Float, Float64, Integer
from torch import Tensor
from torch.nn.functional import conv2d

from slot_eval.functional.ari import Empty, empty_value
from slot_eval.functional.contingency import check_labels
from slot_eval.functional.matching import optimal_assignment

TOLERANCE = 0.008  # of the diagonal

Masks = Bool[Tensor, "segments height width"]


def boundary_f(
    predicted: Integer[Tensor, "batch height width"],
    true: Integer[Tensor, "batch height width"],
    *,
    ignore: Bool[Tensor, "batch height width"] | None = None,
    tolerance: float = TOLERANCE,
    background: bool = False,
    empty: Empty = "nan",
) -> Float64[Tensor, " batch"]:
    """Mean boundary F of the objects of pictures: 0 to 1.

    ``background`` counts true label 0 as one more object. ``empty`` for a picture without objects;
    pixels in ``ignore`` belong to no segment. Raises EvalError on labels that differ in shape or
    are not integers.
    """
    ignore = None if ignore is None else ignore[:, None]
    return video_boundary_f(
        predicted[:, None],
        true[:, None],
        ignore=ignore,
        tolerance=tolerance,
        background=background,
        empty=empty,
    )


def video_boundary_f(
    predicted: Integer[Tensor, "batch time height width"],
    true: Integer[Tensor, "batch time height width"],
    *,
    ignore: Bool[Tensor, "batch time height width"] | None = None,
    tolerance: float = TOLERANCE,
    background: bool = False,
    empty: Empty = "nan",
) -> Float64[Tensor, " batch"]:
    """``boundary_f`` of clips: a segment is a tube through all frames."""
    check_labels(predicted, true)
    if ignore is not None:
        predicted, true = (labels.long().masked_fill(ignore, -1) for labels in (predicted, true))
    values = [
        clip_score(p.cpu().long(), t.cpu().long(), tolerance, background, empty)
        for p, t in zip(predicted, true, strict=True)
    ]
    return torch.tensor(values, dtype=torch.float64)


def clip_score(
    predicted: Integer[Tensor, "time height width"],
    true: Integer[Tensor, "time height width"],
    tolerance: float,
    background: bool,
    empty: Empty,
) -> float:
    """Boundary F of one clip."""
    true_ids, predicted_ids = torch.unique(true), torch.unique(predicted)
    true_ids = true_ids[true_ids >= (0 if background else 1)]
    predicted_ids = predicted_ids[predicted_ids >= 0]
    if not len(true_ids):
        return empty_value(empty)
    if not len(predicted_ids):
        return 0.0
    pairs = torch.zeros(len(true_ids), len(predicted_ids), dtype=torch.float64)
    for p, t in zip(predicted, true, strict=True):
        masks = p == predicted_ids[:, None, None], t == true_ids[:, None, None]
        pairs += pairwise_f(*masks, tolerance)
    return float(optimal_assignment(pairs[None] / len(true)).mean())


def pairwise_f(
    predicted: Masks, true: Bool[Tensor, "objects height width"], tolerance: float
) -> Float64[Tensor, "objects segments"]:
    """F of every true with every predicted mask of one frame."""
    radius = math.ceil(tolerance * math.hypot(*true.shape[-2:]))
    lines = [boundary(masks).float() for masks in (true, predicted)]
    near = [within(line, radius).flatten(1) for line in lines]
    lines = [line.flatten(1) for line in lines]
    lengths = [line.sum(1).double() for line in lines]
    met_predicted = (near[0] @ lines[1].T).double()  # [objects segments], of the predicted line
    met_true = (lines[0] @ near[1].T).double()
    precision = met_predicted / lengths[1].clamp(min=1)[None]
    recall = met_true / lengths[0].clamp(min=1)[:, None]
    f = 2 * precision * recall / (precision + recall).clamp(min=1e-300)
    neither = (lengths[0] == 0)[:, None] & (lengths[1] == 0)[None]
    return torch.where(neither, 1.0, f)


def boundary(masks: Masks) -> Masks:
    """The pixels of each mask with a neighbour outside of it."""
    around = conv2d(masks.float()[:, None], torch.ones(1, 1, 3, 3), padding=1)[:, 0]
    return masks & (around < 9)


def within(
    lines: Float[Tensor, "segments height width"], radius: int
) -> Float[Tensor, "segments height width"]:
    """1 where a pixel of the line lies within a disk of this radius."""
    places = torch.arange(-radius, radius + 1)
    disk = (places[:, None] ** 2 + places[None] ** 2 <= radius**2).to(lines.dtype)
    return (conv2d(lines[:, None], disk[None, None], padding=radius)[:, 0] > 0).to(lines.dtype)
