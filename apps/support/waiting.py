"""Which process all others wait for.

Processes meet in the model, where buffers are shared and gradients are averaged. What each does
before that by itself, which is to get its data and hand them to the device, should take equally
long; the one that takes longer sets everybody's pace. Slow data and a busy machine are seen so, a
slow GPU is not.
"""

from __future__ import annotations

import statistics
import time

from accelerate import Accelerator
from accelerate.utils import gather_object

SHARE = 0.25  # of all the time, from which it is worth a line


class OwnWork:
    """Seconds that this process spends by itself, since the last reading."""

    def __init__(self) -> None:
        self._since, self._begun, self._seconds = time.perf_counter(), 0.0, 0.0

    def begin(self) -> None:
        """From here on it works by itself."""
        self._begun = time.perf_counter()

    def end(self) -> None:
        """From here on it may wait for others."""
        self._seconds += time.perf_counter() - self._begun

    def read(self, accelerator: Accelerator) -> str:
        """A line that names the process the others wait for, empty if there is none; start over.

        Each process must call it equally often.
        """
        now = time.perf_counter()
        whole, own = now - self._since, self._seconds
        self._since, self._seconds = now, 0.0
        if accelerator.num_processes == 1:
            return ""
        return slowest(gather_object([own]), whole)


def slowest(seconds: list[float], whole: float) -> str:
    """The line, from the seconds of each of several processes in ``whole`` seconds."""
    most = max(seconds)
    rank = seconds.index(most)
    others = statistics.median(seconds[:rank] + seconds[rank + 1 :])
    if most - others < SHARE * whole:
        return ""
    return (
        f"warning: the others wait for process {rank}: of {whole:.1f} s it spent {most:.1f} s on "
        f"its data, they spent {others:.1f} s"
    )
