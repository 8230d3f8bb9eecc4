"""One thread for each process of the tests: they are small, and processes share the cores."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # which OpenMP reads when torch is loaded
