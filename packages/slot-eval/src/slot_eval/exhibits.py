"""Which samples a report shows, the best and the worst, and what of them: the sample, the truth,
and what was predicted.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from slot_eval.html_report import Exhibit, as_bytes
from slot_eval.jobs import OpenJob
from slot_eval.model_jobs import PredictJob, ReconstructJob, SegmentJob
from slot_eval.palette import coloured
from slot_eval.picture_files import Pictures
from slot_eval.predictions import Labels
from slot_eval.report import decimal
from slot_eval.truth import TrueLabels, TruePictures, Truth

EXHIBITS = 4  # best and as many worst
FRAMES = 4  # of a clip
LINE = 1  # pixels between frames

Rows = Sequence[Mapping[str, Any]]


def extremes(rows: Rows, metric: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The worst and the best rows, each with the title of its group; no row twice."""
    defined = [row for row in rows if not math.isnan(row.get(metric, math.nan))]
    ranked = sorted(defined, key=lambda row: (row[metric], row["id"]))
    worst = ranked[:EXHIBITS]
    best = [row for row in ranked[::-1][:EXHIBITS] if row not in worst]
    for row in best:
        yield f"Best by {metric}", row
    for row in worst:
        yield f"Worst by {metric}", row


def segmentation_exhibits(opened: OpenJob, rows: Rows, ids: Sequence[str]) -> list[Exhibit]:
    """Picture, truth and found segments of the best and worst samples by FG-ARI."""
    if not isinstance(opened.job, SegmentJob):
        raise TypeError("only a SegmentJob has segments to show")
    keeping = replace(opened, job=replace(opened.job, keep=True))
    found = []
    for title, row in extremes(rows, "fg_ari"):
        name, frame = placed(row["id"], ids)
        sample, predicted = opened.sample(ids.index(name)), kept(keeping, ids.index(name))
        found.append(segments(title, row, frame, predicted, sample["labels"], sample["video"]))
    return found


def label_exhibits(rows: Rows, predictions: Labels, truth: Truth[TrueLabels]) -> list[Exhibit]:
    """The same of files, without the pictures where the truth has none."""
    found = []
    for title, row in extremes(rows, "fg_ari"):
        name, frame = placed(row["id"], predictions.ids)
        true = truth.sample(name)
        predicted = predictions.load(name)
        found.append(segments(title, row, frame, predicted, true.labels, true.video))
    return found


def segments(
    title: str,
    row: Mapping[str, Any],
    frame: int | None,
    predicted: Tensor,
    true: Tensor,
    video: Tensor | None,
) -> Exhibit:
    """One sample: a segment has the colour of the object that it is matched with."""
    chosen = [frame] if frame is not None else frames_of(len(predicted))
    pictures = {} if video is None else {"sample": strip(as_bytes(video[chosen] / 255))}
    pictures["truth"] = strip(coloured(true[chosen]))
    pictures["found"] = strip(coloured(renumbered(predicted, true)[chosen]))
    scores = ", ".join(f"{name} {decimal(row[name])}" for name in ("fg_ari", "ari", "mbo"))
    return Exhibit(title, f"{row['id']}: {scores}", pictures)


def renumbered(predicted: Tensor, true: Tensor) -> Tensor:
    """Predicted labels under the numbers of the true ones they are matched with, one to one, and
    further numbers for the others."""
    names, found = predicted.unique(return_inverse=True)
    real, objects = true.unique(return_inverse=True)
    overlap = torch.zeros(len(names), len(real))
    ones = torch.ones(found.numel())
    overlap.index_put_((found.flatten(), objects.flatten()), ones, accumulate=True)
    numbers = int(true.max()) + 1 + torch.arange(len(names))
    matched, partners = linear_sum_assignment(overlap.numpy(), maximize=True)
    for segment, partner in zip(matched, partners, strict=True):
        if overlap[segment, partner]:
            numbers[segment] = real[partner].long()
    return numbers[found]


def video_exhibits(opened: OpenJob, rows: Rows, ids: Sequence[str]) -> list[Exhibit]:
    """Sample and reconstruction (or prediction) of the best and worst samples by PSNR."""
    if not isinstance(opened.job, ReconstructJob | PredictJob):
        raise TypeError("only a job that paints has videos to show")
    first = opened.burn_in if isinstance(opened.job, PredictJob) else 0
    keeping = replace(opened, job=replace(opened.job, keep=True))
    found = []
    for title, row in extremes(rows, "psnr"):
        name, _ = placed(row["id"], ids)  # of a predicted frame, its whole clip is shown
        true = opened.sample(ids.index(name))["video"][first:]
        found.append(painted(title, row, kept(keeping, ids.index(name)), true))
    return found


def painted_exhibits(
    rows: Rows, predictions: Pictures, truth: Truth[TruePictures]
) -> list[Exhibit]:
    """The same of files."""
    return [
        painted(title, row, predictions.load(row["id"]) / 255, truth.sample(row["id"]).content)
        for title, row in extremes(rows, "psnr")
    ]


def painted(title: str, row: Mapping[str, Any], predicted: Tensor, true: Tensor) -> Exhibit:
    """One sample: what is there, in bytes, and what was painted, in [0, 1]."""
    chosen = frames_of(len(predicted))
    pictures = {
        "sample": strip(as_bytes(true[chosen] / 255)),
        "painted": strip(as_bytes(predicted[chosen])),
    }
    return Exhibit(title, f"{row['id']}: psnr {decimal(row['psnr'])}", pictures)


def placed(row_id: str, ids: Sequence[str]) -> tuple[str, int | None]:
    """A row's sample, and its frame where frames or chunks have rows of their own."""
    if row_id in ids:
        return row_id, None
    name, _, frame = row_id.rpartition("+" if row_id.rpartition("+")[0] in ids else "/")
    return name, int(frame)


def kept(keeping: OpenJob, index: int) -> Tensor:
    """What the model made of one sample, seen in the same block as when it was scored."""
    start = index - index % keeping.job.batch_size
    return keeping.block(start).kept[index - start]


def frames_of(num_frames: int) -> list[int]:
    """Some frames of a clip, the first and the last among them."""
    count = min(FRAMES, num_frames)
    return sorted({round(place) for place in np.linspace(0, num_frames - 1, count).tolist()})


def strip(frames: np.ndarray) -> np.ndarray:
    """Frames side by side, a white line between them."""
    line = np.full((frames.shape[1], LINE, 3), 255, np.uint8)
    parts = [part for frame in frames for part in (frame, line)]
    return np.concatenate(parts[:-1], axis=1)
