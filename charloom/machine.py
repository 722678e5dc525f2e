"""What this machine lends to a process, as training and serving both ask it.

It measures nothing and decides nothing: how many threads to run is theirs to say.
"""

import os


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
