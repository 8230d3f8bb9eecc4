"""What whole trainings take on the device whose steps were timed.

    uv run python tools/bench/hours.py tools/bench/results/h200/gpu.json

Reads what tools/bench/gpu.py wrote. The hours are those of the timed step, as often as the recipe
trains it (``train.num_steps``): without its validations and checkpoints, and with data that
comes as fast as it is asked for.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

sys.path.insert(0, str(Path(__file__).parents[2] / "apps"))
from slot_core import InputError
from support.command_line import run
from support.options import load_options

TRAIN = "-train"  # how the names of the rows of training steps go on, before what was compiled
WIDTH = 36  # of a name
TITLES = ("batch", "steps", "ms", "hours", "peak GiB")


def main(file: Annotated[Path, typer.Argument(help="written by tools/bench/gpu.py")]) -> None:
    """Print the hours of each recipe whose training step was timed."""
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        rows = [row for row in told["rows"] if TRAIN in row["name"] and "seconds" in row]
        print(f"one {told['device']}, bf16, PyTorch {told['torch']}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file}: is not what tools/bench/gpu.py writes ({error})") from None
    print(" " * WIDTH + "".join(f"{title:>11}" for title in TITLES))
    recipes = list(dict.fromkeys(row["recipe"] for row in rows))
    for row in sorted(rows, key=lambda row: recipes.index(row["recipe"])):
        steps = load_options(row["recipe"]).train.num_steps
        size = f"{row['batch']}x{row['frames']}"
        cells = (size, f"{steps:,}", f"{1000 * row['seconds']:.1f}")
        cells += (f"{hours(row['seconds'], steps):.1f}", f"{row['peak_gib']:.1f}")
        name = row["recipe"] + row["name"].partition(TRAIN)[2]
        print(f"{name:{WIDTH}}" + "".join(f"{cell:>11}" for cell in cells))


def hours(seconds: float, num_steps: int) -> float:
    """Of ``num_steps`` steps that take so many seconds each."""
    return seconds * num_steps / 3600


if __name__ == "__main__":
    run(main)
