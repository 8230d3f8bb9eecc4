"""Find the objects in your own pictures and videos with a trained model.

    python apps/predict.py CHECKPOINT PICTURES_OR_VIDEO --out DIR

CHECKPOINT is a model's folder, a training run's folder, or a repository on the Hub. What to look
at is a picture, a video file, or a folder of either, searched in all its subfolders. With --frames
the pictures of each folder are the frames of one video. What is written to DIR, and where, is said
in ``support/findings.py``; what --boxes, --points and --masks hold, in ``support/hints.py``.
"""

from __future__ import annotations

import support.starting  # noqa: F401  (before the seconds that torch takes to import)

# isort: split

import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from slot_core import InputError
from slot_core.protocols import MaskSource
from slot_data import collate
from slot_decoders.models import Chunk, SlotAutoencoder, load_model
from slot_eval.commands.common import ModelOptions, parse_model_options
from support.command_line import run
from support.devices import usable_device
from support.findings import Findings, check_free
from support.futures import Foresight, Future, check_future, open_foresight
from support.hints import Hint, check_hint, read_hint
from support.pictures import MAX_SLOTS, Picture, moments, pixels
from support.places import batches, find
from support.videos import MAX_BATCH_PIXELS, Video, chunks, open_video

NUM_SHOWN = 8  # pictures in the overview, or frames of videos
FRAME_RATE = 12.0  # of folders of frames, as of the MOVi videos
SEED = 0  # of random first slots: the same command gives the same files


def main(
    checkpoint: Annotated[str, typer.Argument(help="folder of a model or a run, or a Hub id")],
    place: Annotated[
        Path, typer.Argument(metavar="PICTURES_OR_VIDEO", help="a file, or a folder of them")
    ],
    out: Annotated[Path, typer.Option(help="folder to write to; new or empty")],
    frames: Annotated[
        bool, typer.Option("--frames", help="the pictures of each folder are one video's frames")
    ] = False,
    fps: Annotated[
        float | None, typer.Option(min=0.01, max=1000, help=f"with --frames; {FRAME_RATE:g} if not")
    ] = None,
    boxes: Annotated[
        Path | None,
        typer.Option(
            help="JSON, in pixels: top, left, bottom, right of each object in the first frame"
        ),
    ] = None,
    points: Annotated[Path | None, typer.Option(help="JSON: y and x of each, in pixels")] = None,
    masks: Annotated[Path | None, typer.Option(help="PNG of their numbers")] = None,
    future: Annotated[
        int | None, typer.Option(min=1, help="of videos: also draw so many frames to come")
    ] = None,
    dynamics: Annotated[
        str | None, typer.Option(help="with --future: folder, run or Hub id of a SlotFormer")
    ] = None,
    observed: Annotated[
        int | None, typer.Option(min=1, help="with --future: frames seen before; all if not")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, ...; a GPU if there is one when left out")
    ] = None,
    batch_size: Annotated[
        int, typer.Option(min=1, help="pictures of one size, or frames, at once")
    ] = 16,
    source: Annotated[
        MaskSource | None, typer.Option(help="whose masks; the model's default when left out")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="branch, tag or commit on the Hub")] = None,
    model_option: ModelOptions = None,
) -> None:
    """Find the objects in pictures and videos: labels, overlays and slots."""
    check_free(out)
    paths, videos = find(place, frames=frames)
    if fps is not None and not frames:
        raise InputError("--fps is of folders of frames; give it with --frames")
    check_future(future, dynamics, observed, of_videos=bool(videos))
    if out.resolve().is_relative_to(place.resolve()):
        raise InputError(f"{out}: lies in {place}, where its files would be taken for pictures")
    hint = read_hint(boxes, points, masks)
    model = load_model(
        checkpoint,
        revision=revision,
        device=usable_device(device),
        changes=parse_model_options(model_option),
    )
    if not isinstance(model, SlotAutoencoder):
        raise InputError(f"{checkpoint}: holds a {type(model).__name__}, which finds no objects")
    if model.num_slots > MAX_SLOTS:
        raise InputError(
            f"{checkpoint}: has {model.num_slots} slots; a label PNG tells {MAX_SLOTS} apart"
        )
    check_hint(hint, model, checkpoint, len(paths) + len(videos))
    foresight = None
    if future is not None and dynamics is not None:
        foresight = open_foresight(dynamics, checkpoint, model, revision, future, observed)
    task = Task(model, Findings(out), batch_size, source, hint, foresight)
    if videos:
        num_frames = predict_videos(
            task, videos, Fraction(fps or FRAME_RATE).limit_denominator(1001)
        )
        report_videos(out, len(videos), num_frames, model, foreseen=foresight is not None)
    else:
        predict_pictures(task, paths)
        report_pictures(out, len(paths), model)


@dataclass(frozen=True)
class Task:
    """What is the same for all pictures and videos of one call."""

    model: SlotAutoencoder
    findings: Findings
    batch_size: int
    source: MaskSource | None
    hint: Hint | None
    foresight: Foresight | None = None

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    def stream(
        self,
        videos: Iterable[Float[Tensor, "batch _ 3 height width"]],
        first: Picture,
        *,
        reconstruct: bool = False,
    ) -> Iterator[Chunk]:
        """What the model finds in chunks of one video that begins with the frame ``first``."""
        return self.model.stream(
            (video.to(self.device) for video in videos),
            self.hint.of(*first.shape[:2]).to(self.device) if self.hint else None,
            source=self.source,
            reconstruct=reconstruct and self.model.paints,
            generator=torch.Generator().manual_seed(SEED),
        )


def predict_pictures(task: Task, paths: Mapping[str, Path]) -> None:
    """Predict every picture, by name."""
    shown = frozenset(sorted(paths)[:NUM_SHOWN])
    with tqdm(total=len(paths), unit="picture", disable=None) as progress:
        try:
            for batch in batches(paths, task.batch_size, MAX_BATCH_PIXELS):
                predict_batch(task, batch, shown)
                progress.update(len(batch))
        finally:  # an unreadable picture takes nothing from those before it
            task.findings.close(sorted(paths))


def predict_batch(task: Task, batch: Mapping[str, Picture], shown: Set[str]) -> None:
    """Segment pictures of one size, by name, and hand over what was found."""
    pictures = list(batch.values())
    videos = as_video(pictures).transpose(0, 1)  # of one frame each
    (found,) = task.stream([videos], pictures[0], reconstruct=not shown.isdisjoint(batch))
    masks, slots = arrays(found.masks[:, 0], found.slots[:, 0])
    again = None if found.reconstruction is None else pixels(found.reconstruction)[:, 0]
    for index, (name, picture) in enumerate(batch.items()):
        task.findings.add(name, picture, masks[index].argmax(0), slots[index])
        if name in shown:
            painted = None if again is None else again[index]
            task.findings.show(name, picture, masks[index], painted)


def predict_videos(task: Task, videos: Mapping[str, Path | Sequence[Path]], rate: Fraction) -> int:
    """Predict every video, by name; how many frames there were."""
    num_frames = num_shown = 0
    try:
        for name, place in videos.items():
            video = open_video(place, rate)
            shown = moments(len(video)) if num_shown < NUM_SHOWN else ()
            predict_video(task, name, video, frozenset(shown))
            num_frames, num_shown = num_frames + len(video), num_shown + len(shown)
    finally:  # a damaged frame takes nothing from those before it
        task.findings.close()
    return num_frames


def predict_video(task: Task, name: str, video: Video, shown: Set[int]) -> None:
    """Segment one video, some frames at a time, and hand over what was found."""
    read: deque[list[Picture]] = deque()  # what the model has seen and not yet spoken of

    def videos() -> Iterator[Tensor]:
        for pictures in chunks(video.frames(), task.batch_size, MAX_BATCH_PIXELS):
            read.append(pictures)
            yield as_video(pictures)

    numbers = itertools.count()
    seconds = video.seconds(len(video) - 1)
    future = None
    if task.foresight is not None:
        task.foresight.check(video.source, len(video))
        future = Future(task.foresight, task.model)
    with (
        task.findings.film(name, task.model.num_slots, seconds) as film,
        tqdm(total=len(video), unit="frame", desc=name, disable=None) as progress,
    ):
        for found in task.stream(videos(), next(video.frames())):
            pictures = read.popleft()
            for picture, masks, slots in zip(
                pictures, *arrays(found.masks[0], found.slots[0]), strict=True
            ):
                number = next(numbers)
                frame = video.name(number)
                film.add(frame, video.seconds(number), picture, masks.argmax(0), slots)
                if future is not None:
                    future.add(picture, slots)
                if number in shown:
                    task.findings.show(f"{name}/{frame}", picture, masks, None)
            progress.update(len(pictures))
    if future is not None:
        future.write(task.findings.folder / "future", name)


def as_video(pictures: Sequence[Picture]) -> Float[Tensor, "1 time 3 height width"]:
    """Pictures of one size as the frames of a video, in [0, 1]."""
    frames = torch.from_numpy(np.stack(pictures)).movedim(-1, 1)
    return collate([{"video": frames, "id": ""}])["video"]


def arrays(*tensors: Tensor) -> tuple[np.ndarray, ...]:
    """Tensors in single precision, for everything that is no model."""
    return tuple(tensor.float().cpu().numpy() for tensor in tensors)


def report_pictures(out: Path, count: int, model: SlotAutoencoder) -> None:
    """Tell what was written of pictures."""
    pictures = "1 picture" if count == 1 else f"{count} pictures"
    print(
        f"{pictures}, {model.num_slots} slots each; in {out}:\n"
        "  labels/       the slot of each pixel, as palette PNG\n"
        "  overlays/     the pictures under the colours of their slots\n"
        "  slots/        what each slot took, cut out\n"
        f"  slots.npz     ids [{count}] and slots [{count} {model.num_slots} "
        f"{model.config.slot_dim}]\n"
        f"  overview.png  the first {min(count, NUM_SHOWN)}, with each slot's soft mask"
    )


def report_videos(
    out: Path, count: int, num_frames: int, model: SlotAutoencoder, *, foreseen: bool
) -> None:
    """Tell what was written of videos."""
    videos = "1 video" if count == 1 else f"{count} videos"
    print(
        f"{videos}, {num_frames} frames in all, {model.num_slots} slots each; in {out}:\n"
        "  labels/       the slot of each pixel of each frame, as palette PNG\n"
        "  overlays/     the frames under the colours of their slots, as mp4 and GIF\n"
        f"  slots.npz     ids and seconds [{num_frames}], slots [{num_frames} {model.num_slots} "
        f"{model.config.slot_dim}]\n"
        "  overview.png  some frames, with each slot's soft mask"
        + ("\n  future/       the frames to come, as PNG, a strip and a GIF" if foreseen else "")
    )


if __name__ == "__main__":
    run(main)
