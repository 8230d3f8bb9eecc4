"""What all tests, and the processes that they start, have in common on any machine.

All of them run side by side, one for each core but no more than four, as they start processes of
their own; named files and tests run one by one unless `-n auto` is asked for, as do those that show
what they print.

One thread for each: models this small gain nothing from more, and lose much where another process
wants the cores. No GPU, also where there is one: resumed runs are compared bit by bit, which its
kernels do not promise, and what is expected of processes without one would not come.

Garbage is looked for after a hundred thousand new objects, not after seven hundred: most of what
imports and tests make stays, and looking through it took a tenth of all the time.
"""

import gc
import os

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # which OpenMP reads when torch is loaded
os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["ACCELERATE_USE_CPU"] = "true"  # which knows of other kinds of GPU, too
gc.set_threshold(100_000)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Ask pytest-xdist for workers, where it is installed and no other number was asked for."""
    option = config.option
    if not hasattr(option, "numprocesses") or hasattr(config, "workerinput"):
        return
    everything = config.args_source == pytest.Config.ArgsSource.TESTPATHS
    shown = option.capture == "no" or option.collectonly
    if option.numprocesses is None and everything and not shown:
        option.numprocesses = "auto"
    if option.numprocesses == "auto":
        option.maxprocesses, option.dist = 4, "worksteal"
