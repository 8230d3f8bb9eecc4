"""Make pictures and videos from slots: again, or new scenes from the slots of several.

    python apps/generate.py CHECKPOINT PICTURES --out DIR                      reconstruct
    python apps/generate.py CHECKPOINT PICTURES --out DIR --how shift          mix the pictures
    python apps/generate.py CHECKPOINT PICTURES --out DIR --how concepts       mix what looks alike

PICTURES are files, folders of pictures, videos, or with --frames folders of the frames of one. With
``shift`` scene b takes its slot i from picture b + i, as in SlotDiffusion's code. With ``concepts``
all slots are clustered (k-means) and each new scene takes one slot of each cluster, as in its paper
and in SLATE's. DIR gets ``overview.png``, in ``generated`` each picture as PNG and each video as a
folder of its frames, and of the concepts ``concepts.png``, examples of each.
"""

from __future__ import annotations

import support.starting  # noqa: F401  (before the seconds that torch takes to import)

# isort: split

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
import typer

from slot_core import InputError
from slot_data.file_lists import files_below
from slot_data.image_files import PICTURE_SUFFIXES
from slot_eval.commands.common import ModelOptions, parse_model_options
from support.command_line import run
from support.devices import usable_device
from support.findings import check_free
from support.pictures import fitted, moments, pixels, sheet, spotlight
from support.scenes import Painter, Scene, find_places, look, open_model, write_scene
from support.slot_sets import compose, find_concepts, shifted

How = Literal["reconstruct", "shift", "concepts"]
NUM_SCENES = 16  # that concepts make
NUM_EXAMPLES = 4  # of a concept
NUM_SHOWN = 32  # rows of an overview


def main(
    checkpoint: Annotated[str, typer.Argument(help="folder of a model or a run, or a Hub id")],
    places: Annotated[list[Path], typer.Argument(metavar="PICTURES...", help="files or folders")],
    out: Annotated[Path, typer.Option(help="folder to write to; new or empty")],
    how: Annotated[How, typer.Option(help="what the scenes are made of")] = "reconstruct",
    frames: Annotated[
        bool, typer.Option("--frames", help="each folder holds the frames of one video")
    ] = False,
    concepts: Annotated[
        int | None, typer.Option(min=1, help="with --how concepts; as many as slots if not")
    ] = None,
    count: Annotated[
        int | None, typer.Option(min=1, help=f"scenes, with --how concepts; {NUM_SCENES} if not")
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="dpm_solver, ddim, ddpm, or a class in diffusers")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="of the scheduler")] = None,
    seed: Annotated[int, typer.Option(min=0, help="of all that is random")] = 0,
    batch_size: Annotated[int, typer.Option(min=1, help="frames at once")] = 16,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, ...; a GPU if there is one when left out")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="branch, tag or commit on the Hub")] = None,
    model_option: ModelOptions = None,
) -> None:
    """Paint pictures and videos again, or new ones from their slots."""
    check_free(out)
    for name, told in (("--concepts", concepts), ("--count", count)):
        if told is not None and how != "concepts":
            raise InputError(f"{name} is of --how concepts")
    found = find_places(places if frames else unfolded(places))
    model = open_model(
        checkpoint, revision, usable_device(device), parse_model_options(model_option)
    )
    scenes = look(model, found, batch_size, seed)
    painter = Painter(model, scheduler, steps, seed, batch_size)
    if how == "concepts":
        num_concepts = concepts or model.num_slots
        columns = from_concepts(painter, scenes, num_concepts, count or NUM_SCENES, out)
    else:
        columns = from_scenes(painter, scenes, how, out)
    sheet({heading: column[:NUM_SHOWN] for heading, column in columns.items()}).save(
        out / "overview.png"
    )
    made = len(list((out / "generated").iterdir()))
    typer.echo(f"{made} in {out / 'generated'}; see {out / 'overview.png'}")


def unfolded(places: list[Path]) -> list[Path]:
    """Files as they are, and the pictures in folders."""
    found: list[Path] = []
    for place in places:
        inside = files_below(place, PICTURE_SUFFIXES) if place.is_dir() else [place]
        if not inside:
            raise InputError(f"{place}: holds no pictures")
        found += inside
    return found


def from_scenes(
    painter: Painter, scenes: list[Scene], how: How, out: Path
) -> dict[str, list[np.ndarray]]:
    """Each scene again, or with slots of those after it."""
    lengths = {len(scene.frames) for scene in scenes}
    if len(lengths) > 1 and how == "shift":
        raise InputError("--how shift mixes videos with equal numbers of frames; these differ")
    slots = [scene.slots for scene in scenes]
    if how == "shift":
        slots = list(shifted(torch.stack(slots)))
    columns: dict[str, list[np.ndarray]] = {"picture": [], how: []}
    for scene, members in zip(scenes, slots, strict=True):
        painted = pixels(painter.paint(members[None]))[0]
        write_scene(out / "generated", scene.name, painted)
        for time in moments(len(scene.frames)):  # reduced at once: videos would fill the memory
            columns["picture"].append(np.array(fitted(scene.frames[time])))
            columns[how].append(np.array(fitted(painted[time])))
    return columns


def from_concepts(
    painter: Painter, scenes: list[Scene], num_concepts: int, count: int, out: Path
) -> dict[str, list[np.ndarray]]:
    """New pictures of one slot of each concept; a video gives the slots of its first frame."""
    slots = torch.cat([scene.slots[0] for scene in scenes])
    concepts = find_concepts(slots, num_concepts, painter.seed)
    made = compose(slots, concepts, count, painter.seed)
    painted = pixels(painter.paint(made))
    for number, frames in enumerate(painted):
        write_scene(out / "generated", f"scene_{number:06d}.png", frames)
    sheet(examples(scenes, concepts)).save(out / "concepts.png")
    rows = range(0, len(painted), 4)
    return {
        f"composed {column + 1}": [painted[min(row + column, len(painted) - 1), 0] for row in rows]
        for column in range(min(4, len(painted)))
    }


def examples(scenes: list[Scene], concepts: np.ndarray) -> dict[str, list[np.ndarray]]:
    """A column of slots, as the pictures show them, for each concept."""
    num_slots = scenes[0].slots.shape[1]
    columns: dict[str, list[np.ndarray]] = {}
    for concept in np.unique(concepts):
        members = np.resize(np.flatnonzero(concepts == concept), NUM_EXAMPLES)
        columns[f"concept {concept}"] = [
            spotlight(
                scenes[member // num_slots].frames[0],
                (scenes[member // num_slots].labels[0] == member % num_slots).astype(np.float32),
            )
            for member in members
        ]
    return columns


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    run(main)
