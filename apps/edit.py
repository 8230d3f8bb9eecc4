"""Change pictures and videos by changing their slots: remove, insert, swap and move objects.

    python apps/edit.py CHECKPOINT a.png b.png --swap a.png:2 b.png:5 --out DIR
    python apps/edit.py CHECKPOINT a.png --remove 3 --out DIR

CHECKPOINT is a model's folder, a training run's folder, or a repository on the Hub, as for
``predict.py``. A picture is a file; a video is a video file, or a folder of its frames. DIR gets
``overview.png`` (each picture, its slots by number, what the model makes of them before the edits
and after) and in ``edited`` each picture as PNG, and each video as a folder of its frames. Without
any edit the overview shows the numbers.

A picture is painted from its slots, as well as the decoder can. With ``--keep`` only the places of
removed slots are, and the rest stays the picture's own.
"""

from __future__ import annotations

import support.starting  # noqa: F401  (before the seconds that torch takes to import)

# isort: split

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from jaxtyping import Bool
from scipy.ndimage import binary_dilation
from torch import Tensor

from slot_core import InputError
from slot_data import collate
from slot_eval.commands.common import ModelOptions, parse_model_options
from support.command_line import run
from support.devices import usable_device
from support.findings import check_free
from support.pictures import colour, fitted, moments, pixels, sheet, spotlight
from support.scenes import (
    Painter,
    Scene,
    as_video,
    find_places,
    look,
    open_model,
    write_scene,
)
from support.slot_sets import SlotEdits

OUTLINE = 32  # the part of a picture's side that is painted around a removed slot


def main(
    checkpoint: Annotated[str, typer.Argument(help="folder of a model or a run, or a Hub id")],
    places: Annotated[
        list[Path], typer.Argument(metavar="PICTURE...", help="files, or folders of frames")
    ],
    out: Annotated[Path, typer.Option(help="folder to write to; new or empty")],
    remove: Annotated[
        list[str] | None, typer.Option(help="slot to take out: 3 of all, or a.png:3")
    ] = None,
    swap: Annotated[tuple[str, str] | None, typer.Option(help="two slots: a.png:2 b.png:5")] = None,
    insert: Annotated[
        tuple[str, str] | None, typer.Option(help="slot and picture: a.png:2 b.png")
    ] = None,
    move: Annotated[
        tuple[str, str] | None, typer.Option(help="slot and picture: a.png:2 b.png")
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="paint only where the removed slots were")
    ] = False,
    scheduler: Annotated[
        str | None, typer.Option(help="dpm_solver, ddim, ddpm, or a class in diffusers")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="of the scheduler")] = None,
    seed: Annotated[int, typer.Option(min=0, help="of the noise and of random first slots")] = 0,
    batch_size: Annotated[int, typer.Option(min=1, help="frames at once")] = 16,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, ...; a GPU if there is one when left out")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="branch, tag or commit on the Hub")] = None,
    model_option: ModelOptions = None,
) -> None:
    """Remove, insert, swap or move objects; without any edit, show the slots' numbers."""
    check_free(out)
    if keep and (swap or insert or move or not remove):
        raise InputError("--keep is of --remove alone: other edits may paint anywhere")
    found = find_places(places)
    model = open_model(
        checkpoint, revision, usable_device(device), parse_model_options(model_option)
    )
    edits = SlotEdits({place.name: model.num_slots for place in found})
    if swap:
        edits.swap(*swap)
    if move:
        edits.move(*move)
    if insert:
        edits.insert(*insert)
    for slot in remove or ():
        edits.remove(slot)

    scenes = look(model, found, batch_size, seed)
    slots = {scene.name: scene.slots for scene in scenes}
    painter = Painter(model, scheduler, steps, seed, batch_size)
    removed = [name for text in remove or () for name in edits.find(text)]
    columns: dict[str, list[np.ndarray]] = {}
    written: list[Path] = []
    for scene in scenes:
        before = pixels(painter.paint(scene.slots[None]))[0]
        edited = edits.slots_of(scene.name, slots)
        gone = [name.number for name in removed if name.scene == scene.name]
        after = pixels(painter.paint(edited[None], kept_of(scene, gone) if keep else None))[0]
        written.append(write_scene(out / "edited", scene.name, after))
        for time in moments(len(scene.frames)):
            row = overview_row(scene, time, before[time], after[time])
            for heading, tile in row.items():
                columns.setdefault(heading, []).append(tile)
    sheet(columns).save(out / "overview.png")
    height, width = after.shape[1:3]
    where = f"edited/{written[0].name}" if len(written) == 1 else "edited"
    typer.echo(
        f"{len(scenes)} edited; in {out}:\n"
        f"  {where}, {width}x{height} pixels, which is what the model paints\n"
        "  overview.png, before and after, and each slot with its number"
    )


def kept_of(scene: Scene, gone: list[int]) -> tuple[Tensor, Tensor]:
    """A scene's frames, and which of their pixels stay when those slots are gone."""
    video = collate([{"video": as_video(scene.frames), "id": ""}])["video"]
    return video, places_kept(np.isin(scene.labels, gone))[None]


def places_kept(gone: Bool[np.ndarray, "time height width"]) -> Bool[Tensor, "time height width"]:
    """All pixels but those that are gone and those near them.

    Attention is coarser than pixels: an outline would stay.
    """
    height, width = gone.shape[1:]
    reach = np.ones((1, 2 * (height // OUTLINE) + 1, 2 * (width // OUTLINE) + 1), bool)
    return ~torch.from_numpy(np.asarray(binary_dilation(gone, reach)))


def overview_row(
    scene: Scene, time: int, before: np.ndarray, after: np.ndarray
) -> dict[str, np.ndarray]:
    """One row of the overview, by heading, reduced at once: large photos would fill the memory."""
    picture, labels = scene.frames[time], scene.labels[time]
    row = {
        "picture": np.array(fitted(picture)),
        "slots": np.array(fitted(colour(labels + 1))),
        "reconstruction": np.array(fitted(before)),
        "edited": np.array(fitted(after)),
    }
    for number in range(scene.slots.shape[1]):
        alone = spotlight(picture, (labels == number).astype(np.float32))
        row[f"slot {number}"] = np.array(fitted(alone))
    return row


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    run(main)
