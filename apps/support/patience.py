"""Threads that wait for one another sleep, and leave the core to whoever can use it.

By default OpenMP's threads spin for a while. Where another process has taken one of the cores, each
layer of a network then waits until that one is interrupted, and a training stands nearly still;
asleep it gets its share, and on an idle machine it is as fast. OpenMP reads this when PyTorch is
loaded, so it is the first thing that an app imports. Whoever has set OMP_WAIT_POLICY is heeded.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
