"""What the command `slot-eval` does first, before the seconds in which PyTorch is imported.

Ctrl-C meanwhile ends it with one word, as it does later: there is nothing yet to be put away, and a
traceback would be of somebody else's import. And threads that wait for one another sleep. By
default OpenMP's spin for a while, which for tensors as small as a table of pixel counts is most of
what they do, on all cores. OpenMP reads this when PyTorch is loaded; whoever has set
OMP_WAIT_POLICY is heeded.

Whoever imports the package from elsewhere decides on both for themselves.
"""

import os
import signal
import sys
from pathlib import Path
from types import FrameType

COMMAND = "slot-eval"
INTERRUPTED = 130  # what a shell reports, and typer makes of Ctrl-C


def is_main() -> bool:
    """Whether the command is what this process runs."""
    file = getattr(sys.modules["__main__"], "__file__", None)
    return file is not None and Path(file).stem == COMMAND


def stop(number: int, frame: FrameType | None) -> None:
    """Leave at once, with one word."""
    os.write(2, b"interrupted\n")
    os._exit(INTERRUPTED)


def over() -> None:
    """Give Ctrl-C back to Python, once everything is imported."""
    if signal.getsignal(signal.SIGINT) is stop:
        signal.signal(signal.SIGINT, signal.default_int_handler)


if is_main():
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # One that is deaf to Ctrl-C, as what a shell has put into the background, stays so.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, stop)
