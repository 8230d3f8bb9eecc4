"""One HTML file that shows a result: its table, how each metric is spread over samples, and the
best and worst samples as pictures. Everything is inside the file; pictures need Pillow.
"""

import base64
import html
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from slot_eval.errors import EvalError
from slot_eval.jobs import OpenJob
from slot_eval.model_jobs import PredictJob, ReconstructJob, SegmentJob
from slot_eval.palette import coloured
from slot_eval.report import decimal

EXHIBITS = 4  # best and as many worst
FRAMES = 4  # of a clip
BINS = 20
STYLE = """
body { font: 15px/1.5 sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em }
table { border-collapse: collapse } td, th { padding: .2em .8em; text-align: right }
td:first-child, th:first-child { text-align: left } tr:nth-child(even) { background: #f3f3f3 }
figure { display: inline-block; margin: .5em 1em .5em 0; vertical-align: top }
figcaption { font-size: 13px; max-width: 22em; overflow-wrap: anywhere }
.pictures img { image-rendering: pixelated; height: 128px; display: block; margin-bottom: 2px }
.spread { display: inline-block; margin: 0 1.5em 1em 0 } svg rect { fill: #4477aa }
"""


@dataclass(frozen=True)
class Exhibit:
    """One sample to show: what it is, and rows of pictures, uint8 [H W 3], by name."""

    title: str
    caption: str
    pictures: Mapping[str, np.ndarray]


def html_report(
    result: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], exhibits: Sequence[Exhibit]
) -> str:
    """The whole file."""
    head = html.escape(f"{result['model']} on {result['data']}")
    parts = [
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{head}</title>",
        f"<style>{STYLE}</style><h1>{head}</h1>",
        facts(result),
        metrics_table(result),
        "<h2>Spread over samples</h2>",
        *(histogram(name, rows) for name in result["metrics"]),
    ]
    for title in dict.fromkeys(exhibit.title for exhibit in exhibits):
        parts.append(f"<h2>{html.escape(title)}</h2><div class='pictures'>")
        parts += [figure(exhibit) for exhibit in exhibits if exhibit.title == title]
        parts.append("</div>")
    return "\n".join([*parts, "</html>", ""])


def facts(result: Mapping[str, Any]) -> str:
    """Under which protocol, of how many samples, with what departures."""
    card = result.get("data_card") or {}
    lines = {
        "protocol": f"{result['protocol']}: {result['protocol_settings'].get('description', '')}",
        "samples": result["num_samples"],
        "model hash": result.get("model_hash") or "none",
        "data card": card.get("hash", "none"),
        "data preset": card.get("preset") or "none",
        "departures": "; ".join(result.get("departures", ())) or "none",
    }
    entries = (f"<b>{name}</b>: {html.escape(str(value))}" for name, value in lines.items())
    return f"<p>{'<br>'.join(entries)}</p>"


def metrics_table(result: Mapping[str, Any]) -> str:
    """Mean, defined and undefined samples of each metric."""
    lines = [
        f"<tr><td>{name}<td>{decimal(entry['mean'])}<td>{entry['n']}<td>{entry['undefined']}"
        for name, entry in result["metrics"].items()
    ]
    return "<table><tr><th>metric<th>mean<th>defined<th>undefined" + "".join(lines) + "</table>"


def histogram(name: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """How a metric is spread, as bars; nothing where it has one value or none."""
    values = [row[name] for row in rows if name in row and not math.isnan(row[name])]
    if len(set(values)) < 2:
        return ""
    low, high = (0.0, 1.0) if min(values) >= 0 and max(values) <= 1 else (min(values), max(values))
    counts, _ = np.histogram(values, BINS, (low, high))
    bars = "".join(
        f"<rect x='{10 * i}' y='{80 - 80 * count / counts.max():.1f}' width='9' "
        f"height='{80 * count / counts.max():.1f}'><title>{count}</title></rect>"
        for i, count in enumerate(counts)
    )
    labels = (
        f"<text x='0' y='95' font-size='11'>{low:.3g}</text>"
        f"<text x='{10 * BINS}' y='95' font-size='11' text-anchor='end'>{high:.3g}</text>"
    )
    return (
        f"<div class='spread'><b>{name}</b><br>"
        f"<svg width='{10 * BINS}' height='100'>{bars}{labels}</svg></div>"
    )


def figure(exhibit: Exhibit) -> str:
    """The pictures of a sample under one another."""
    images = "".join(
        f"<img alt='{html.escape(name)}' title='{html.escape(name)}' src='{data_url(picture)}'>"
        for name, picture in exhibit.pictures.items()
    )
    names = ", ".join(exhibit.pictures)
    return (
        f"<figure>{images}<figcaption>{html.escape(exhibit.caption)}<br>"
        f"<small>{html.escape(names)}</small></figcaption></figure>"
    )


def data_url(picture: np.ndarray) -> str:
    """A picture as the source of an image element."""
    file = io.BytesIO()
    pillow().fromarray(picture).save(file, format="PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def pillow() -> Any:
    """Pillow's ``Image``; raises EvalError that names the extra where it is missing."""
    try:
        from PIL import Image
    except ImportError as error:
        raise EvalError("pictures need Pillow: pip install 'slot-eval[png]'") from error
    return Image


def save_pictures(path: Path, pictures: Tensor) -> None:
    """A row of pictures in [0, 1], [N 3 H W], as one file."""
    image = pillow().fromarray(np.concatenate(list(as_bytes(pictures)), axis=1))
    try:
        image.save(path)
    except OSError as error:
        raise EvalError(f"{path}: cannot be written: {error.strerror or error}") from error


# ------------------------------------------------------------------ which samples are shown


def extremes(
    rows: Sequence[Mapping[str, Any]], metric: str
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The worst and the best rows, each with the title of its group; no row twice."""
    defined = [row for row in rows if not math.isnan(row.get(metric, math.nan))]
    ranked = sorted(defined, key=lambda row: (row[metric], row["id"]))
    worst = ranked[:EXHIBITS]
    best = [row for row in ranked[::-1][:EXHIBITS] if row not in worst]
    for row in best:
        yield f"Best by {metric}", row
    for row in worst:
        yield f"Worst by {metric}", row


def segmentation_exhibits(
    opened: OpenJob, rows: Sequence[Mapping[str, Any]], ids: Sequence[str]
) -> list[Exhibit]:
    """Picture, truth and found segments of the best and worst samples by FG-ARI."""
    if not isinstance(opened.job, SegmentJob):
        raise TypeError("only a SegmentJob has segments to show")
    keeping = replace(opened, job=replace(opened.job, keep=True))
    found = []
    for title, row in extremes(rows, "fg_ari"):
        index, frame = placed(row["id"], ids)
        sample = opened.sample(index)
        predicted = kept(keeping, index)
        chosen = [frame] if frame is not None else frames_of(len(predicted))
        pictures = {
            "sample": strip(as_bytes(sample["video"][chosen] / 255)),
            "truth": strip(coloured(sample["labels"][chosen])),
            "found": strip(coloured(predicted[chosen] + 1)),
        }
        scores = ", ".join(f"{name} {decimal(row[name])}" for name in ("fg_ari", "ari", "mbo"))
        found.append(Exhibit(title, f"{row['id']}: {scores}", pictures))
    return found


def video_exhibits(
    opened: OpenJob, rows: Sequence[Mapping[str, Any]], ids: Sequence[str]
) -> list[Exhibit]:
    """Sample and reconstruction (or prediction) of the best and worst samples by PSNR."""
    if not isinstance(opened.job, ReconstructJob | PredictJob):
        raise TypeError("only a job that paints has videos to show")
    first = opened.job.burn_in if isinstance(opened.job, PredictJob) else 0
    keeping = replace(opened, job=replace(opened.job, keep=True))
    found = []
    for title, row in extremes(rows, "psnr"):
        index, _ = placed(row["id"], ids)  # of a predicted frame, its whole clip is shown
        true = opened.sample(index)["video"][first:] / 255
        predicted = kept(keeping, index)
        chosen = frames_of(len(predicted))
        pictures = {
            "sample": strip(as_bytes(true[chosen])),
            "model": strip(as_bytes(predicted[chosen])),
        }
        found.append(Exhibit(title, f"{row['id']}: psnr {decimal(row['psnr'])}", pictures))
    return found


def placed(row_id: str, ids: Sequence[str]) -> tuple[int, int | None]:
    """The index of a row's sample, and its frame where frames or chunks have rows of their own."""
    if row_id in ids:
        return ids.index(row_id), None
    name, _, frame = row_id.rpartition("+" if row_id.rpartition("+")[0] in ids else "/")
    return ids.index(name), int(frame)


def kept(keeping: OpenJob, index: int) -> Tensor:
    """What the model made of one sample, seen in the same block as when it was scored."""
    start = index - index % keeping.job.batch_size
    return keeping.block(start).kept[index - start]


def frames_of(num_frames: int) -> list[int]:
    """Some frames of a clip, the first and the last among them."""
    count = min(FRAMES, num_frames)
    return sorted({round(place) for place in np.linspace(0, num_frames - 1, count).tolist()})


def as_bytes(video: Tensor) -> np.ndarray:
    """Frames in [0, 1] as uint8 [T H W 3]."""
    pixels = (video.detach().cpu().float().clamp(0, 1) * 255).round().to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).numpy()


def strip(frames: np.ndarray) -> np.ndarray:
    """Frames side by side."""
    return np.concatenate(list(frames), axis=1)
