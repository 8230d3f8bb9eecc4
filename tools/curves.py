"""Draw the curves of several runs over one another.

    uv run python tools/curves.py runs/one runs/other --out curves.png

A run of apps/train.py draws its own (RUN/curves.png) at each validation.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from slot_core import InputError

sys.path.insert(0, str(Path(__file__).parents[1] / "apps"))
from support.command_line import run
from support.curves import draw_curves
from support.logs import read_events

PICTURES = (".png", ".svg", ".pdf")


def main(
    runs: Annotated[list[Path], typer.Argument(help="folders of runs")],
    out: Annotated[Path, typer.Option(help="the picture")] = Path("curves.png"),
) -> None:
    """Draw the curves of several runs over one another."""
    if out.suffix not in PICTURES:
        raise typer.BadParameter(
            f"--out is {out}, expected a name that ends with {', '.join(PICTURES)}"
        )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise InputError(f"--out {out}: {out.parent} is no folder") from None
    draw_curves({str(path): read_events(path) for path in runs}, out)
    print(out)


if __name__ == "__main__":
    run(main)
