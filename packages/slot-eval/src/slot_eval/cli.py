"""The command line: ``slot-eval run | score | reconstruct | compose | predict-video | ...``.

Wrong input ends with one sentence on stderr and exit code 2; any other exception is a bug and
shows its traceback.
"""

import sys
from collections.abc import Sequence
from typing import cast

import torch
import typer

from slot_eval.commands.compose import compose
from slot_eval.commands.results import compare, explain, seeds
from slot_eval.commands.run import run
from slot_eval.commands.score import score
from slot_eval.commands.videos import predict_video, reconstruct
from slot_eval.errors import EvalError, first_line
from slot_eval.physion_vqa import physion_vqa
from slot_eval.starting import INTERRUPTED, over

# typer carries a click of its own since 0.2x, and used the installed one before
CLICK_ERROR = cast(type[Exception], typer.BadParameter.__mro__[2])

app = typer.Typer(
    help="Score segmentations of unsupervised object-centric learning.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
COMMANDS = (
    *(run, score, reconstruct, compose, predict_video, physion_vqa),
    *(compare, explain, seeds),
)
for command in COMMANDS:
    app.command()(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line on ``sys.argv`` or these; the exit code is 0, 2 on wrong input, or 130
    on Ctrl-C."""
    over()
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = app(args=words or ["--help"], standalone_mode=False)
    except EvalError as error:
        fail(str(error))
    except CLICK_ERROR as error:
        fail(usage(error.format_message()))  # pyright: ignore[reportAttributeAccessIssue]: click's
    except PermissionError as error:
        place = error.filename or "a file"
        fail(f"{place}: {error.strerror or error}; this user may not read or write it")
    except torch.OutOfMemoryError as error:
        told = first_line(error).partition(". ")[0]
        fail(f"not enough memory ({told}); a smaller --batch-size needs less")
    except typer.Abort:  # by which an older typer tells of it
        leave(INTERRUPTED)
    else:
        leave(code or 0)


def leave(code: int) -> None:
    """End with this exit code, and a word where it was Ctrl-C."""
    if code == INTERRUPTED:
        print("interrupted", file=sys.stderr)
    sys.exit(code)


def usage(told: str) -> str:
    """Click's words for wrong usage as one sentence."""
    sentence = told.replace("Value error, ", "").rstrip(".?")
    return f"{sentence}; --help shows what is expected"


def fail(sentence: str) -> None:
    """Say it on stderr and end with exit code 2."""
    print(f"error: {sentence}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
