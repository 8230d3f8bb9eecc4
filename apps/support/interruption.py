"""What the processes of a run must agree on at every step: to stop, or to pass a step over.

A cluster that takes a machine back sends a signal first, to any one process of the job. All of
them then save at the end of the step they are in and leave with the code ``REQUEUE``; started
again with --resume, the run goes on as if nothing had happened. Ctrl-C does the same, with a code
that no script takes for a wish to be started again. A loss that is not finite on one process would
poison the weights of all: all of them leave the weights of that step as they were.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from slot_core import ConfigError, InputError
from slot_eval.provenance import model_hash
from support.command_line import INTERRUPTED

REQUEUE = 75  # EX_TEMPFAIL of sysexits.h: start me again
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
ECHO = {signal.SIGTERM: 5.0, signal.SIGUSR1: 5.0, signal.SIGINT: 0.5}
"""Seconds in which a signal that comes again is a launcher's; people press Ctrl-C twice sooner."""
HEARD = b"\nstopping after this step; Ctrl-C again stops at once\n"


class Interruption:
    """Remembers that the process was asked to stop.

    The first signal of each kind is a request. The second finds the handler that was there before,
    so a process that does not get to the end of its step can be stopped all the same. Where a whole
    group is told, as by Ctrl-C or by a cluster that takes a machine back, a launcher sends what it
    hears on to its processes, which have heard it too: that is the first one still.
    """

    def __init__(self) -> None:
        self.requested = False
        self.code = REQUEUE  # to leave with
        self._since: dict[int, float] = {}  # the first of each kind
        self._before: dict[signal.Signals, Any] = {}

    def listen(self) -> None:
        """Take SIGTERM, SIGUSR1 and Ctrl-C as requests from now on; only the main thread may."""
        for number in SIGNALS:
            self._before[number] = signal.signal(number, self._request)

    def restore(self) -> None:
        """Leave signals to whoever took them before."""
        for number in list(self._before):
            self._restore(number)

    def _restore(self, number: signal.Signals) -> None:
        signal.signal(number, self._before.pop(number))

    def _request(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        kind = signal.Signals(number)
        if kind not in self._since:
            self._since[kind] = time.monotonic()
            if kind == signal.SIGINT:
                self.code = INTERRUPTED
                if os.environ.get("RANK", "0") == "0":
                    os.write(2, HEARD)  # what Python buffers may be in the middle of something
        elif time.monotonic() - self._since[kind] > ECHO[kind]:
            self._restore(kind)
            signal.raise_signal(kind)


def leave_signals_to_parent(worker: int) -> None:
    """For the processes that load data: a signal to the whole group must not end them first.

    They end with the process that started them, whose death they notice by themselves.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def end_workers() -> None:
    """Kill the processes that load data; for when this one leaves because of an error.

    Python would end them with the signal that they take no notice of, and wait for ever.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # PyTorch's would call their end an error
    for child in multiprocessing.active_children():
        child.kill()


def agree(accelerator: Accelerator, flags: Sequence[bool]) -> list[bool]:
    """Which flags are set on any process; each must call it equally often."""
    if accelerator.num_processes == 1:
        return list(flags)
    here = torch.tensor(flags, dtype=torch.float32, device=accelerator.device)
    total = cast(torch.Tensor, accelerator.reduce(here, "sum"))
    return [bool(count) for count in total.tolist()]


def check_agreement(folder: Path, start: int) -> None:
    """See that all processes go on from the same step; none goes further before all are here.

    Raises:
        ConfigError: if they do not: a node does not read what the others do.
    """
    starts = gather_object([start])
    if len(set(starts)) > 1:
        raise ConfigError(
            f"{folder}: its processes go on from the steps {', '.join(map(str, starts))}; expected "
            "one, so look which node does not see the same checkpoints there, or cannot read them"
        )


def compare_ranks(accelerator: Accelerator, model: torch.nn.Module, step: int) -> None:
    """See whether all processes hold the same weights, bit by bit.

    Raises:
        InputError: if they do not: gradients were not averaged, or a machine computes wrongly.
    """
    hashes = gather_object([model_hash(model)])
    for rank, other in enumerate(hashes):
        if other != hashes[0]:
            raise InputError(
                f"after step {step} the weights of process {rank} differ from those of process 0 "
                f"({other} and {hashes[0]}): they no longer train one model"
            )
