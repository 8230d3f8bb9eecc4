"""How often objects of the embedded videos hide completely, and come back.

    uv run python tools/bench/occlusion.py
    uv run python tools/bench/occlusion.py --set speed=2 --set min_objects=5 --set max_objects=7 \
        --split test

Prints, for clips of 12, 14, 16 and 24 frames, the share of clips with a full
occlusion (an object of the first frame has no visible pixel in a later one) and the share with a
re-appearance (it is seen again after that). Options are those of `slot-data info shapes`.
"""

from typing import Annotated

import torch
import typer

from slot_data import Shapes
from slot_data.options import check_options, parse_option
from slot_data.sample import Sample

LENGTHS = (12, 14, 16, 24)


def main(
    options: Annotated[
        list[str] | None, typer.Option("--set", help="an option of shapes, as key=value")
    ] = None,
    split: Annotated[str, typer.Option()] = "train",
    clips: Annotated[int, typer.Option(help="how many clips of each length")] = 500,
) -> None:
    given = dict(parse_option("shapes", Shapes, text) for text in options or [])
    check_options("shapes", Shapes, given)
    print(f"{'frames':>6}{'full occlusion':>17}{'re-appearance':>17}   of {clips} clips")
    for length in LENGTHS:
        dataset = Shapes(split, **{**given, "num_frames": length})
        found = torch.tensor([events(dataset[index]) for index in range(clips)])
        hidden, back = found.float().mean(0).tolist()
        print(f"{length:6}{hidden:17.1%}{back:17.1%}")


def events(sample: Sample) -> tuple[bool, bool]:
    """(is an object of the first frame hidden in a later one, is such an object seen again)."""
    labels = sample.get("labels")
    assert labels is not None, "shapes always has labels"
    objects = labels[0].unique()
    seen = torch.stack([(labels == label).flatten(1).any(1) for label in objects[objects > 0]])
    hidden_before = (~seen).cummax(1).values
    return bool(hidden_before.any()), bool((hidden_before & seen).any())


if __name__ == "__main__":
    typer.run(main)
