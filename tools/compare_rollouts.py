"""Does a model of dynamics beat what learns nothing, seed by seed?

    uv run python tools/compare_rollouts.py runs/tiny-pipeline/rollouts-*

Each folder is one seed's, written by ``apps/score_rollouts.py`` for the same slots. Prints errors
in slots and in pixels, averaged over videos and future frames: of the model for each seed, of the
last frame that stays and of constant velocity, which are the same for all seeds, and of the slots
that were found in the future frames themselves, decoded: the error that no prediction can avoid.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from slot_core import InputError
from slot_eval.seeds import summarise

sys.path.insert(0, str(Path(__file__).parents[1] / "apps"))
from support.command_line import run

ERRORS = {"slot_error": "slot error", "mse": "pixel MSE"}
LEARN_NOTHING = {"still": "last frame stays", "linear": "constant velocity"}
FLOOR = {"found": "slots of the frames themselves"}


def main(
    folders: Annotated[list[Path], typer.Argument(help="one for each seed")],
) -> None:
    """Print a table of errors, and on how many seeds the model is better than both."""
    told = [read(folder) for folder in folders]
    for folder, one in zip(folders, told, strict=True):
        for name in LEARN_NOTHING | FLOOR:
            if errors(one, name) != errors(told[0], name):
                raise InputError(f"{folder}: is of other slots than {folders[0]}")
    rows = {
        f"{folder.name} ({one['model']})": errors(one, "model")
        for folder, one in zip(folders, told, strict=True)
    }
    found = {key: [row[key] for row in rows.values()] for key in ERRORS}
    rows |= {words: errors(told[0], name) for name, words in (LEARN_NOTHING | FLOOR).items()}
    width = max(map(len, rows))
    print(f"{'':{width}}" + "".join(f"{words:>12}" for words in ERRORS.values()))
    for name, row in rows.items():
        print(f"{name:{width}}" + "".join(f"{row[key]:12.4f}" for key in ERRORS))
    for key, words in ERRORS.items():
        best = min(errors(told[0], name)[key] for name in LEARN_NOTHING)
        summary = summarise(found[key], best)
        # Of a single seed there is none.
        spread = f", standard error {summary['standard_error']:.4f}" if len(told) > 1 else ""
        wins = sum(value < best for value in found[key])
        print(
            f"{words}: mean {summary['mean']:.4f}{spread}; "
            f"below both of those that learn nothing on {wins} of {len(told)} seeds"
        )


def read(folder: Path) -> dict[str, Any]:
    """What ``score_rollouts.py`` wrote there."""
    path = folder / "scores.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as scores of rollouts ({error})") from None


def errors(told: dict[str, Any], predictor: str) -> dict[str, float]:
    """The two errors of one predictor, to as many digits as are worth comparing."""
    mean = told["predictors"][predictor]["mean"]
    if "mse" not in mean:
        raise InputError(f"{told['slots']}: no decoded frames were scored, --no-pixels was given")
    return {key: round(mean[key], 6) for key in ERRORS}


if __name__ == "__main__":
    run(main)
