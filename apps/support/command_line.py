"""How every script here meets its user: typer reads the arguments, and what goes wrong because
of the input, of missing rights, of a full disk or of too little memory is one sentence on stderr
and exit code 2. Any other exception is a bug and keeps its traceback.
"""

from __future__ import annotations

import atexit
import errno
import os
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, NoReturn

import torch
import typer
from tqdm import tqdm

from slot_core import InputError
from slot_data import DataError
from slot_eval import EvalError
from support import starting
from support.starting import INTERRUPTED

USER_ERRORS = (InputError, DataError, EvalError)
FULL = (errno.ENOSPC, errno.EDQUOT)
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


def run(command: Callable[..., None], arguments: Sequence[str] | None = None) -> NoReturn:
    """Call ``command`` with what the command line says, and leave the process.

    Args:
        command: typed and documented for typer; its docstring is the help text.
        arguments: instead of those of the process, in tests.

    Raises:
        SystemExit: 0 when the command is done, 2 when its input is wrong, a disk or the memory
            full or a place forbidden, 130 on Ctrl-C.
    """
    starting.over()
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(_interruptible(command))
    try:
        # Not standalone: typer would print usage errors in a frame, in its own words.
        sys.exit(app(arguments, standalone_mode=False))  # None for success
    except typer.TyperException as error:
        sentence = error.format_message().replace("Value error, ", "").rstrip(".?")
        fail(f"{sentence}; --help shows what is expected")
    except USER_ERRORS as error:
        fail(str(error))
    except OSError as error:
        if error.errno in FORBIDDEN:
            place = error.filename or "a file"
            fail(f"{place}: {error.strerror}; this user may not read or write it")
        if error.errno not in FULL:
            raise
        fail(
            f"{error.filename or 'the output'}: cannot be written: {error.strerror}; what is "
            "finished stays, and with more room the same command goes on from there"
        )
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        told = " ".join(str(error).split()).partition(". ")[0].rstrip(".")
        fail(
            f"not enough memory ({told or 'of this machine'}); what is written stays; 'Out of "
            "memory' in apps/troubleshooting.md says what to change"
        )
    except InterruptError:
        if os.environ.get("RANK", "0") == "0":
            tqdm.write("interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(INTERRUPTED)


class InterruptError(Exception):
    """Ctrl-C, which typer itself would keep silent about."""


def _interruptible(command: Callable[..., None]) -> Callable[..., None]:
    @wraps(command)
    def called(*arguments: Any, **options: Any) -> None:
        try:
            command(*arguments, **options)
        except KeyboardInterrupt:
            raise InterruptError from None

    return called


def out_of_memory(error: Exception) -> bool:
    """Whether a GPU or the machine has too little, which is no fault of the code."""
    full = (MemoryError, torch.OutOfMemoryError)
    return isinstance(error, full) or "can't allocate memory" in str(error)  # so the CPU says it


def run_and_leave(command: Callable[..., None]) -> NoReturn:
    """``run``, for one of several processes: it ends at once, without Python's own clean-up.

    A thread of gloo may let go of the last tensors only then. It needs the interpreter to do so,
    finds it gone, and aborts a process whose work is done; the launcher would call that a failure.
    """
    try:
        run(command)
    except SystemExit as ended:
        code = ended.code or 0
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(int(code))


def fail(sentence: str) -> NoReturn:
    """Print the sentence and exit with 2.

    Of several processes each says its number: an unreadable image may meet only one of them.
    """
    rank = os.environ.get("RANK", "0")
    where = "" if rank == "0" else f" in process {rank}"
    tqdm.write(f"error{where}: {sentence}", file=sys.stderr)  # on its own line below any bar
    sys.exit(2)
