"""How often an object changes the segment that follows it: identity switches.

In each frame where a true object (label > 0) is seen, it is assigned to the predicted segment
that covers most of its pixels. As in CLEAR MOT (Bernardin and Stiefelhagen, 2008, section 2.1.2),
a switch is an assignment to another segment than the last one, however long ago that was: an
object that comes back from behind another one to a new segment has switched.

Where several segments cover equally much of an object, each of them may be the one; of all such
choices those count that give the fewest switches. So the count depends neither on the names nor
on the order of segments. It is found frame by frame: keep the segments that could have followed
the object since the last switch, and count a switch when none of them can any more.

Departures from CLEAR MOT, which follows boxes: every seen object is assigned, with no threshold
to overlap, and several may be assigned to one segment. A prediction of a single segment therefore
never switches; read the number beside FG-ARI.
"""

import torch
from jaxtyping import Bool, Float64, Integer
from torch import Tensor

from slot_eval.functional.contingency import ClipContingency, clip_contingency


def identity_switches(
    predicted: Integer[Tensor, "batch time height width"],
    true: Integer[Tensor, "batch time height width"],
) -> Float64[Tensor, " batch"]:
    """Number of identity switches in each clip, over all its objects; 0 is perfect.

    0 as well for a clip without objects. Raises EvalError on labels that differ in shape, are
    negative or not integers.
    """
    return identity_switches_of(clip_contingency(predicted, true))


def identity_switch_rate(
    predicted: Integer[Tensor, "batch time height width"],
    true: Integer[Tensor, "batch time height width"],
) -> Float64[Tensor, " batch"]:
    """Identity switches per chance to switch: 0 to 1, lower is better.

    An object that is seen in n frames has n - 1 chances, so that neither long clips nor many
    objects make the number larger. NaN for a clip where no object is seen twice.
    """
    return identity_switch_rate_of(clip_contingency(predicted, true))


def identity_switches_of(tables: ClipContingency) -> Float64[Tensor, " batch"]:
    """``identity_switches`` from the tables of a clip's frames."""
    switches = torch.zeros(tables.true_ids.shape, dtype=torch.float64)
    covering = covering_most(tables)
    held = covering.new_ones(tables.whole.counts.shape)  # what may have followed so far: anything
    for now in covering.unbind(1):
        seen, still = now.any(2), held & now
        lost = seen & ~still.any(2)
        switches += lost
        held = torch.where(seen[:, :, None], torch.where(lost[:, :, None], now, still), held)
    return switches.sum(1)


def identity_switch_rate_of(tables: ClipContingency) -> Float64[Tensor, " batch"]:
    """``identity_switch_rate`` from the tables of a clip's frames."""
    frames_seen = covering_most(tables).any(3).sum(1)
    chances = (frames_seen - 1).clamp(min=0).sum(1)
    return identity_switches_of(tables) / chances  # 0 / 0 is NaN, and there are no other divisions


def covering_most(tables: ClipContingency) -> Bool[Tensor, "batch time true predicted"]:
    """The segments that cover most of each object in each frame; none where it is not seen."""
    counts = tables.counts * (tables.true_ids > 0)[:, None, :, None]
    return (counts == counts.amax(3, keepdim=True)) & (counts > 0)
