"""Find the objects in your own pictures with a trained model.

    python apps/predict.py CHECKPOINT PICTURES --out DIR

CHECKPOINT is a model's folder, a training run's folder, or a repository on the Hub. PICTURES is
one picture or a folder of them, searched in all its subfolders. What is written to DIR, and
where, is said in ``support/findings.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import torch
import typer
from tqdm import tqdm

from slot_core import InputError
from slot_core.protocols import MaskSource
from slot_data import collate
from slot_data.image_files import PICTURE_SUFFIXES, read_picture
from slot_decoders.models import SlotAutoencoder, load_model
from support.command_line import run
from support.findings import Findings, check_free
from support.pictures import MAX_SLOTS, Picture, pixels

NUM_SHOWN = 8  # pictures in the overview
# Masks are made at the pictures' own size: with 11 slots, 4 megapixels of them take 185 MB.
MAX_BATCH_PIXELS = 2**22
MAX_WAITING_PIXELS = 2**26  # 200 MB of pictures that wait for others of their size
SEED = 0  # of random first slots: the same command gives the same files


def main(
    checkpoint: Annotated[str, typer.Argument(help="folder of a model or a run, or a Hub id")],
    pictures: Annotated[Path, typer.Argument(help="a picture, or a folder of pictures")],
    out: Annotated[Path, typer.Option(help="folder to write to; new or empty")],
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, ...; a GPU if there is one when left out")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="pictures of one size at once")] = 16,
    source: Annotated[
        MaskSource | None, typer.Option(help="whose masks; the model's default when left out")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="branch, tag or commit on the Hub")] = None,
) -> None:
    """Find the objects in pictures: labels, overlays, cut-outs and slots."""
    check_free(out)
    paths = find_pictures(pictures)
    if out.resolve().is_relative_to(pictures.resolve()):
        raise InputError(f"{out}: lies in {pictures}, where its files would be taken for pictures")
    model = load_model(checkpoint, revision=revision, device=usable_device(device))
    if model.num_slots > MAX_SLOTS:
        raise InputError(
            f"{checkpoint}: has {model.num_slots} slots; a label PNG tells {MAX_SLOTS} apart"
        )
    shown = frozenset(sorted(paths)[:NUM_SHOWN])
    findings = Findings(out)
    with tqdm(total=len(paths), unit="picture", disable=None) as progress:
        try:
            for batch in batches(paths, batch_size):
                predict(model, batch, findings, shown=shown, source=source)
                progress.update(len(batch))
        finally:  # an unreadable picture takes nothing from those before it
            findings.close()
    report(out, len(paths), model)


def predict(
    model: SlotAutoencoder,
    batch: Mapping[str, Picture],
    findings: Findings,
    *,
    shown: frozenset[str],
    source: MaskSource | None,
) -> None:
    """Segment pictures of one size, by name, and hand over what was found."""
    videos = {name: torch.from_numpy(one).movedim(-1, 0)[None] for name, one in batch.items()}
    video = collate([{"video": video, "id": name} for name, video in videos.items()])["video"]
    video = video.to(next(model.parameters()).device)
    masks = model.segment(video, source=source, generator=generator())[:, 0].float().cpu().numpy()
    slots = model.encode(video, generator=generator()).slots[:, 0].float().cpu().numpy()
    again = None
    for index, (name, picture) in enumerate(batch.items()):
        findings.add(name, picture, masks[index].argmax(0), slots[index])
        if name in shown:
            if again is None:
                again = pixels(model.reconstruct(video, generator=generator()))[:, 0]
            findings.show(name, picture, masks[index], again[index])


def generator() -> torch.Generator:
    """The same random first slots in every call, so that masks and slots belong together."""
    return torch.Generator().manual_seed(SEED)


def find_pictures(place: Path) -> dict[str, Path]:
    """Pictures by name: the path below ``place`` without its suffix, in the order of the paths.

    Hidden files and folders are left out.

    Raises:
        InputError: if there is no such place, no picture in it, or two of one name.
    """
    suffixes = ", ".join(sorted(PICTURE_SUFFIXES))
    if not place.exists():
        raise InputError(f"{place}: there is no such picture or folder")
    if place.is_file():
        if place.suffix.lower() not in PICTURE_SUFFIXES:
            raise InputError(f"{place}: is no picture; expected a file ending in {suffixes}")
        return {place.stem: place}
    found: dict[str, Path] = {}
    for path in sorted(place.rglob("*")):
        inside = path.relative_to(place)
        hidden = any(part.startswith(".") for part in inside.parts)
        if hidden or path.suffix.lower() not in PICTURE_SUFFIXES or not path.is_file():
            continue
        name = inside.with_suffix("").as_posix()
        if name in found:
            raise InputError(
                f"{path}: would be written to the same files as {found[name].name}; rename one"
            )
        found[name] = path
    if not found:
        raise InputError(f"{place}: holds no picture; expected files ending in {suffixes}")
    return found


def batches(paths: Mapping[str, Path], batch_size: int) -> Iterator[dict[str, Picture]]:
    """Pictures of one size at a time, by name; each size waits until it fills a batch.

    Raises:
        DataError: if a picture cannot be read.
    """
    waiting: dict[tuple[int, int], dict[str, Picture]] = {}
    for name, path in paths.items():
        picture = read_picture(path)
        size = (picture.shape[0], picture.shape[1])
        waiting.setdefault(size, {})[name] = picture
        limit = min(batch_size, MAX_BATCH_PIXELS // (size[0] * size[1]))
        if len(waiting[size]) >= limit:
            yield waiting.pop(size)
        elif sum(held[0] * held[1] * len(waiting[held]) for held in waiting) > MAX_WAITING_PIXELS:
            yield waiting.pop(next(iter(waiting)))
    yield from waiting.values()


def usable_device(name: str | None) -> torch.device:
    """The device of this name; a GPU if there is one, else the CPU, for None.

    Raises:
        InputError: if torch knows or has no such device.
    """
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"--device {name}: cannot be used ({reason})") from None
    return device


def report(out: Path, count: int, model: SlotAutoencoder) -> None:
    """Tell what was written."""
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


if __name__ == "__main__":
    run(main)
