"""How many processes of this machine can compute at once."""

import os


def usable_cores() -> int:
    """Cores that this process may use; all of them where the system, as macOS, knows no share."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
