"""What an app does first, before the seconds in which PyTorch is imported.

Threads that wait for one another sleep, and leave the core to whoever can use it. By default
OpenMP's threads spin for a while. Where another process has taken one of the cores, each layer of a
network then waits until that one is interrupted, and a training stands nearly still; asleep it gets
its share, and on an idle machine it is as fast. OpenMP reads this when PyTorch is loaded. Whoever
has set OMP_WAIT_POLICY is heeded.

What Apple's GPUs cannot compute is left to the CPU, with a warning of PyTorch's, instead of being
an error: Accelerate trains on such a GPU where there is one.

Ctrl-C ends it with one word while it is being imported, as it does later: there is nothing yet to
be put away, and a traceback would be of somebody else's import. Whoever imports an app, such as a
test, keeps what Ctrl-C is for them.
"""

import os
import signal
import sys
from pathlib import Path
from types import FrameType

INTERRUPTED = 130  # what a shell reports for a process ended by Ctrl-C
APPS = Path(__file__).resolve().parents[1]


def is_main() -> bool:
    """Whether an app is what this process runs."""
    file = getattr(sys.modules["__main__"], "__file__", None)
    return file is not None and Path(file).resolve().parent == APPS


def stop(number: int, frame: FrameType | None) -> None:
    """Leave at once, with one word from the first of several processes."""
    if os.environ.get("RANK", "0") == "0":
        os.write(2, b"interrupted\n")
    os._exit(INTERRUPTED)


def over() -> None:
    """Give Ctrl-C back to Python, once everything is imported."""
    if signal.getsignal(signal.SIGINT) is stop:
        signal.signal(signal.SIGINT, signal.default_int_handler)


os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")
# One that is deaf to Ctrl-C, as what a shell has put into the background, stays so.
if is_main() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, stop)
