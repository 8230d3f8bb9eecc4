"""Whether an edit does what it says, on `shapes`, where the truth is known.

    uv run python tools/bench/edits.py runs/slot_diffusion-shapes --level plain
    uv run python tools/bench/edits.py runs/slot_diffusion-shapes --level plain --keep

From each picture one object is removed by leaving out the slot that found it, and both sets of
slots are painted from the same noise. With ``--keep`` only the place of the removed slot is
painted, as ``apps/edit.py --keep`` does, and the picture itself is what other pixels are compared
with. Printed are, over all edits,

- how often the object's pixels are then nearer to what is truly behind the object than to the
  object (mean squared difference of colours), and how often they are if the same is painted from
  all slots;
- the share of the pixels without any of the object that changed by at most 5 % of the range in
  every colour, on average and in the worst tenth of the edits.

An object that no slot found (intersection over union of half or more) cannot be removed; it is
counted. Everything is measured at the size that the model paints.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor

from slot_core import InputError
from slot_data import Shapes, collate
from slot_decoders.models import SlotAutoencoder
from slot_decoders.models.preprocessing import resize

sys.path.insert(0, str(Path(__file__).parents[2] / "apps"))
from edit import places_kept
from support.command_line import run
from support.pictures import colour, pixels, sheet
from support.scenes import Painter, open_model

FOUND = 0.5  # intersection over union
NEAR = 0.05  # of the range of a colour
MANY = 32  # pictures at once
NUM_SHOWN = 6


@dataclass(frozen=True)
class Edit:
    """One removal, all [3 height width] in [0, 1] but for ``gone`` and ``labels``."""

    picture: Tensor
    background: Tensor
    before: Tensor  # what the rest is compared with
    whole: Tensor  # painted as after the edit, but from all slots
    after: Tensor
    gone: Tensor  # share of a pixel that was the object's
    labels: np.ndarray  # of the slots


def main(
    checkpoint: Annotated[str, typer.Argument(help="folder of a model or a run, or a Hub id")],
    level: Annotated[str, typer.Option(help="plain or textured")] = "plain",
    split: Annotated[str, typer.Option()] = "test",
    edits: Annotated[int, typer.Option(min=1)] = 200,
    keep: Annotated[
        bool, typer.Option("--keep", help="paint only where the removed slot was")
    ] = False,
    steps: Annotated[int | None, typer.Option(min=1, help="of the scheduler")] = None,
    seed: Annotated[int, typer.Option(help="of the noise")] = 0,
    picture: Annotated[Path | None, typer.Option(help="PNG to draw the first edits into")] = None,
) -> None:
    """Remove objects of `shapes` and compare with the truth."""
    model = open_model(checkpoint, None, torch.device("cpu"))
    painter = Painter(model, num_steps=steps, seed=seed, batch_size=MANY)
    data = Shapes(split, level=level)
    made: list[Edit] = []
    tried = 0
    for start in range(0, len(data), MANY):
        if len(made) >= edits:
            break
        indices = range(start, min(start + MANY, len(data)))
        tried += len(indices)
        made += removals(model, painter, data, indices, keep=keep)
    if not made:
        raise InputError(f"{checkpoint}: none of its slots finds an object of {level} shapes")
    if len(made) > edits:
        made = made[:edits]
    report(made, tried, keep=keep)
    if picture is not None:
        drawn(made[:NUM_SHOWN]).save(picture)


def removals(
    model: SlotAutoencoder, painter: Painter, data: Shapes, indices: range, *, keep: bool
) -> list[Edit]:
    """One edit of each picture in which the slots found an object: the one they found best."""
    batch: Any = collate([data[index] for index in indices])
    video, labels = batch["video"], batch["labels"][:, 0]
    slots = model.encode(video).slots
    masks = model.segment(video, source="encoder")[:, 0].argmax(1)
    chosen = [best_found(mask, truth) for mask, truth in zip(masks, labels, strict=True)]
    rows = [row for row, (_, _, overlap) in enumerate(chosen) if overlap >= FOUND]
    if not rows:
        return []
    numbers = [chosen[row][1] for row in rows]
    less = torch.stack(
        [
            torch.cat([slots[row, :, :number], slots[row, :, number + 1 :]], dim=1)
            for row, number in zip(rows, numbers, strict=True)
        ]
    )
    found = masks[rows].numpy()
    kept = None
    if keep:
        gone = found == np.array(numbers)[:, None, None]
        kept = video[rows], places_kept(gone)[:, None]
    whole = painter.paint(slots[rows], kept)[:, 0]
    after = painter.paint(less, kept)[:, 0]
    size = (whole.shape[-2], whole.shape[-1])
    behind: Any = collate([data.without(indices[row], chosen[row][0]) for row in rows])
    pictures, backgrounds = (resize(v, size)[:, 0] for v in (video[rows], behind["video"]))
    objects = torch.stack([labels[row] == chosen[row][0] for row in rows])
    shares = resize(objects[:, None, None].float(), size)[:, 0, 0]
    return [
        Edit(*parts)
        for parts in zip(
            pictures,
            backgrounds,
            pictures if keep else whole,
            whole,
            after,
            shares,
            found,
            strict=True,
        )
    ]


def best_found(slots: Tensor, labels: Tensor) -> tuple[int, int, float]:
    """The object that a slot covers best, that slot, and their intersection over union."""
    best = (0, 0, 0.0)
    for label in range(1, int(labels.max()) + 1):
        for number in slots[labels == label].unique().tolist():
            one, other = labels == label, slots == number
            overlap = float((one & other).sum() / (one | other).sum())
            best = max(best, (label, int(number), overlap), key=lambda entry: entry[2])
    return best


def distance(one: Tensor, other: Tensor, weights: Tensor) -> float:
    """Mean squared difference of colours where ``weights`` are."""
    return float(((one - other).square().mean(0) * weights).sum() / weights.sum())


def report(made: list[Edit], tried: int, *, keep: bool) -> None:
    """Print the shares."""
    nearer, painted, still = [], [], []
    for edit in made:
        inside, outside = (edit.gone > 0.5).float(), edit.gone == 0
        for image, gains in ((edit.whole, painted), (edit.after, nearer)):
            to_object = distance(image, edit.picture, inside)
            gains.append(distance(image, edit.background, inside) < to_object)
        changed = (edit.after - edit.before).abs().amax(0)[outside]
        still.append(float((changed <= NEAR).float().mean()))
    how = "only the place of the slot painted" if keep else "everything painted from slots"
    print(f"{len(made)} objects removed from {tried} pictures, {how}")
    print(f"  nearer to what is behind than to the object: {np.mean(nearer):.1%} of the edits")
    print(f"    painted from all slots: {np.mean(painted):.1%}")
    print(f"  other pixels that changed by at most {NEAR:.0%}: {np.mean(still):.1%}")
    print(f"    in the worst tenth of the edits: {np.quantile(still, 0.1):.1%} or less")


def drawn(made: list[Edit]) -> Any:
    """The first edits: picture, slots, painted before and after, and the truth."""
    columns: dict[str, list[np.ndarray]] = {}
    for edit in made:
        tiles = {"picture": edit.picture, "all slots": edit.whole, "one less": edit.after}
        tiles["truth"] = edit.background
        for heading, tile in tiles.items():
            columns.setdefault(heading, []).append(pixels(tile[None, None])[0, 0])
            if heading == "picture":
                columns.setdefault("slots", []).append(colour(edit.labels + 1))
    return sheet(columns)


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    run(main)
