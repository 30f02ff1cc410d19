"""The memory of this machine, and what the process has had of it."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

# Where Linux says how much memory a container may take, in control groups of version 2 and of version 1
GROUPS = "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"
STATUS = "/proc/self/status"


def host_memory() -> int:
    """Bytes of memory of this machine, or of the container that the process may not leave."""
    sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for group in GROUPS:
        with suppress(OSError, ValueError):  # no such file, or "max"
            sizes.append(int(Path(group).read_text()))
    return min(sizes)


def peak_memory() -> int:
    """Bytes that this process has had resident at most.

    Read from /proc where there is one. Linux's `getrusage` is wrong for a child process: it starts at the
    size of the process that started the child.
    """
    with suppress(OSError, StopIteration):
        lines = Path(STATUS).read_text().splitlines()
        return 1024 * int(next(line.split()[1] for line in lines if line.startswith("VmHWM:")))
    import resource  # Windows has no such module

    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
