"""Scores of predicted slots, and of what they look like: the one way in which a prediction becomes
rows of the protocol ``prediction``, whoever made it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from slot_eval import protocols
from slot_eval.protocols.reconstruction import Perceptual
from slot_eval.streaming import Results


def score_prediction(
    results: Results,
    model: Any,
    ids: Sequence[str],
    predicted: Tensor,
    true: Mapping[str, Tensor],
    *,
    lpips: Perceptual | None = None,
    generator: Any = None,
) -> Tensor | None:
    """Add a batch to ``results``; the predicted frames, or None where the model paints none.

    ``model`` paints slots where it has ``decode(slots)`` -> (video in [0, 1], soft masks or None)
    and, if it names one, a ``decoder``. ``predicted`` are slots [B T K D] on the model's device.
    ``true`` is what the same frames hold: ``slots``, and if it is known ``video`` [B T 3 H W] in
    [0, 1] and ``labels`` [B T H W]. Frames are compared at the size at which they are painted, also
    by ``lpips``, a function of ``slot_eval.perceptual``, if it is given. ``generator`` is handed on
    to ``decode``, if it is given: whatever that takes to draw what is random, such as a list of one
    for each sample.
    """
    more: dict[str, Any] = {}
    painted = None
    if can_paint(model) and "video" in true:
        drawing = {} if generator is None else {"generator": generator}
        painted, masks = model.decode(predicted, **drawing)
        painted = painted.float().cpu().clamp(0, 1)
        more["videos"] = painted, at_size(true["video"].cpu(), painted)
        more["lpips"] = lpips
        if masks is not None and "labels" in true:
            labels = true["labels"].cpu()
            protocol = protocols.get("slotdiffusion")
            more["labels"] = protocol.labels(masks, *labels.shape[-2:]).cpu(), labels
    results.update(ids, predicted.float().cpu(), true["slots"].float().cpu(), **more)
    return painted


def can_paint(model: Any) -> bool:
    """Whether slots have pictures."""
    return callable(getattr(model, "decode", None)) and getattr(model, "decoder", model) is not None


def at_size(video: Tensor, like: Tensor) -> Tensor:
    """A video at the size of another one, made smaller without aliasing."""
    if video.shape[-2:] == like.shape[-2:]:
        return video
    flat = torch.nn.functional.interpolate(
        video.flatten(0, 1).float(), like.shape[-2:], mode="bilinear", antialias=True
    )
    return flat.unflatten(0, video.shape[:2]).clamp(0, 1)
