"""Scoring and drawing models that are given slots: predictions frame by frame, and answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from slot_core import sample_generators
from slot_decoders.models import RelationReadoutModel, SlotDynamicsModel
from slot_eval import Results
from slot_eval.predicted_videos import at_size, score_prediction
from slot_eval.protocols import ANSWERS, PREDICTION
from support.pictures import pixels, sheet
from support.slot_inputs import precision

MOST_FRAMES = 12  # of a strip
MILLISECONDS = 200  # that a frame of an animation is shown


def results_of_slots(model: Any) -> Results[Any]:
    """Where the scores of such a model go."""
    return Results(ANSWERS if isinstance(model, RelationReadoutModel) else PREDICTION)


def update_of_slots(
    results: Results[Any], model: Any, batch: Mapping[str, Any], device: torch.device
) -> None:
    """Score a collated batch."""
    if isinstance(model, RelationReadoutModel):
        logits = model.answer(batch["slots"].to(device, precision(model))).float().cpu()
        results.update(batch["id"], logits[:, None], batch["outcome"][:, None])
        return
    past, future = divided(model, batch["slots"])
    # The frames of a clip are already as far apart as those the model was trained on.
    predicted = model.rollout(past.to(device, precision(model)), future.shape[1], stride=1)
    true = true_frames(batch, future.shape[1])
    own = noise_of(batch["id"], device)
    score_prediction(results, model, batch["id"], predicted, true, generator=own)


def noise_of(ids: Iterable[str], device: torch.device) -> list[torch.Generator]:
    """What a decoder of predicted slots draws from: of a sample the same, whenever it is asked."""
    return sample_generators(0, 0, ids, device)


def true_frames(batch: Mapping[str, Any], count: int) -> dict[str, Tensor]:
    """What the last ``count`` frames of a collated batch hold."""
    return {key: batch[key][:, -count:] for key in ("slots", "video", "labels") if key in batch}


def divided(model: SlotDynamicsModel, slots: Tensor) -> tuple[Tensor, Tensor]:
    """The burn-in and the frames after it."""
    burn_in = model.config.dynamics.burn_in
    return slots[:, :burn_in], slots[:, burn_in:]


def drawn_prediction(
    model: SlotDynamicsModel, batch: Mapping[str, Any], path: Path, device: torch.device
) -> None:
    """Draw truth and prediction of the clips of a batch, if it has pixels."""
    if model.decoder is None or "video" not in batch:
        return
    past, future = divided(model, batch["slots"])
    seen = past.to(device, precision(model))
    predicted = model.rollout(seen, future.shape[1], stride=1)
    painted = model.decode(predicted, noise_of(batch["id"], device))[0].float().cpu()
    true = at_size(batch["video"][:, -future.shape[1] :], painted)
    strip({"truth": true, "prediction": painted}).save(path)


def strip(rows: Mapping[str, Float[Tensor, "batch time 3 height width"]]) -> Image.Image:
    """Videos by name under one another, clip by clip; time runs from left to right."""
    seen = {name: pixels(videos) for name, videos in rows.items()}
    clips, count = next(iter(seen.values())).shape[:2]
    shown = sorted({round(n * (count - 1) / (MOST_FRAMES - 1)) for n in range(MOST_FRAMES)})
    columns: dict[str, list[np.ndarray]] = {"": []}
    for clip in range(clips):
        for name, videos in seen.items():
            columns[""].append(caption(name, videos.shape[2]))
            for time in shown:
                columns.setdefault(f"+{time + 1}", []).append(videos[clip, time])
    return sheet(columns)


def animation(rows: Mapping[str, Float[Tensor, "batch time 3 height width"]], path: Path) -> None:
    """The same videos as one animated GIF: names from top to bottom, clips side by side."""
    seen = {name: pixels(videos) for name, videos in rows.items()}
    images = []
    for time in range(next(iter(seen.values())).shape[1]):
        columns: dict[str, list[np.ndarray]] = {f"+{time + 1}": []}
        for name, videos in seen.items():
            columns[f"+{time + 1}"].append(caption(name, videos.shape[2]))
            for clip in range(len(videos)):
                columns.setdefault(" " * (clip + 1), []).append(videos[clip, time])
        images.append(sheet(columns))
    images[0].save(path, save_all=True, append_images=images[1:], duration=MILLISECONDS, loop=0)


def caption(name: str, height: int) -> np.ndarray:
    """A name as a tile."""
    font = ImageFont.load_default(size=14)
    paper = Image.new("RGB", (90, max(height, 16)), "white")
    ImageDraw.Draw(paper).text((0, paper.height / 2), name, fill="black", font=font, anchor="lm")
    return np.asarray(paper)
