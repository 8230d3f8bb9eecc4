"""One thread for each process of the tests, and for those that they start: models this small gain
nothing from more, and lose much where another process wants the cores."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # which OpenMP reads when torch is loaded
