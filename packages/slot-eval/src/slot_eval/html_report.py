"""One HTML file that shows a result: its table, how each metric is spread over samples, and the
best and worst samples as pictures. Everything is inside the file; pictures need Pillow.
"""

import base64
import html
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from slot_eval.errors import EvalError
from slot_eval.report import decimal

BINS = 20
STYLE = """
body { font: 15px/1.5 sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em }
table { border-collapse: collapse } td, th { padding: .2em .8em; text-align: right }
td:first-child, th:first-child { text-align: left } tr:nth-child(even) { background: #f3f3f3 }
figure { display: inline-block; width: min-content; min-width: 9em; margin: .5em 1.5em 1em 0 }
figure { vertical-align: top; font-size: 13px; overflow-wrap: anywhere }
.pictures img { image-rendering: pixelated; height: 128px; display: block; margin-bottom: 4px }
.pictures small { color: #666 }
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
    low, high = min(values), max(values)
    if low >= 0 and 0.1 < high <= 1:  # a score; errors are often far below 1
        low, high = 0.0, 1.0
    counts, _ = np.histogram(values, BINS, (low, high))
    bars = "".join(
        f"<rect x='{10 * i}' y='{80 - 80 * count / counts.max():.1f}' width='9' "
        f"height='{80 * count / counts.max():.1f}'><title>{count}</title></rect>"
        for i, count in enumerate(counts)
    )
    labels = (
        f"<line x1='0' x2='{10 * BINS}' y1='80.5' y2='80.5' stroke='#999'/>"
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
        f"<small>{html.escape(name)}</small><img alt='{html.escape(name)}' "
        f"src='{data_url(picture)}'>"
        for name, picture in exhibit.pictures.items()
    )
    return f"<figure>{images}<figcaption>{html.escape(exhibit.caption)}</figcaption></figure>"


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


def as_bytes(video: Tensor) -> np.ndarray:
    """Frames in [0, 1] as uint8 [T H W 3]."""
    pixels = (video.detach().cpu().float().clamp(0, 1) * 255).round().to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).numpy()


def save_pictures(path: Path, pictures: Tensor) -> None:
    """A row of pictures in [0, 1], [N 3 H W], as one file."""
    image = pillow().fromarray(np.concatenate(list(as_bytes(pictures)), axis=1))
    try:
        image.save(path)
    except OSError as error:
        raise EvalError(f"{path}: cannot be written: {error.strerror or error}") from error
