"""What all tests, and the processes that they start, have in common on any machine.

One thread for each: models this small gain nothing from more, and lose much where another process
wants the cores. No GPU, also where there is one: resumed runs are compared bit by bit, which its
kernels do not promise, and what is expected of processes without one would not come.

Garbage is looked for after a hundred thousand new objects, not after seven hundred: most of what
imports and tests make stays, and looking through it took a tenth of all the time.
"""

import gc
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # which OpenMP reads when torch is loaded
os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["ACCELERATE_USE_CPU"] = "true"  # which knows of other kinds of GPU, too
gc.set_threshold(100_000)
