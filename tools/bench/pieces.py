"""What writes a folder piece by piece and goes on where it was: ``slot-data prepare`` and
``apps/extract_slots.py``, on a few drawn samples; for faults.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import datasets  # noqa: F401  (so that those who are forked have it)
import numpy as np
from forked_runs import run
from PIL import Image
from predicting import tiny_video_model

import extract_slots
from slot_data import Shapes, cli_prepare
from slot_data.prepare import Plan
from slot_data.sample import pixel_maps

PICTURES, SHARD_BYTES = 48, 4_000  # make a dozen pieces
VIDEOS, VIDEOS_IN_PART = 48, 4


@dataclass(frozen=True)
class Writer:
    """A program that writes pieces.

    write: all that is missing below a folder. finished: name and time of each piece that is done.
    """

    name: str
    write: Callable[[Path], None]
    finished: Callable[[Path], dict[str, int]]


def preparation(folder: Path) -> Writer:
    """``slot-data prepare`` of pictures that are drawn to ``folder``, with its cache."""
    draw_pictures(folder / "raw" / "train", "train", PICTURES, size=64)

    def write(out: Path) -> None:
        plan = Plan(
            "folder", folder / "raw", out, ("train",), options={"image_size": 64}, cache=True,
            shard_bytes=SHARD_BYTES,
        )  # fmt: skip
        cli_prepare.prepare(plan, False)

    def finished(out: Path) -> dict[str, int]:
        state = out / ".prepare"
        notes = {note.stem for note in state.glob("train-*.json")}
        files = {path.stem: path.stat().st_mtime_ns for path in out.glob("data/*.parquet")}
        return {name: files[name] for name in files if name in notes or not state.exists()}

    return Writer("slot-data prepare", write, finished)


def extraction(folder: Path) -> Writer:
    """``apps/extract_slots.py`` with a tiny model that is saved to ``folder``."""
    tiny_video_model().save_pretrained(folder / "model")

    def write(out: Path) -> None:
        words = [str(folder / "model"), "shapes", "--out", str(out)]
        words += ["--videos-per-part", str(VIDEOS_IN_PART)]
        for option in (f"num_samples={VIDEOS}", "num_frames=6", "image_size=32"):
            words += ["--option", option]
        run(extract_slots.main, words)

    def finished(out: Path) -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in out.glob("train/slots-*")}

    return Writer("extract_slots.py", write, finished)


def draw_pictures(folder: Path, split: str, count: int, size: int) -> None:
    """Textured shapes and their masks as the dataset ``folder`` expects them."""
    shapes = Shapes(split, level="textured", num_samples=count, image_size=size)
    for number in range(count):
        sample = shapes[number]
        frame = sample["video"][0].numpy().transpose(1, 2, 0)
        labels = pixel_maps(sample)["labels"][0].numpy().astype(np.uint8)
        for kind, pixels in (("images", frame), ("masks", labels)):
            path = folder / kind / f"{number:04d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of every file below a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
