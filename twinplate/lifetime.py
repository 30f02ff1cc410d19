"""Processes that end with the one that started them, and that clean up when they are ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

# In the environment of a process: the number of that which has started it.
LAUNCHER = "TWINPLATE_LAUNCHER"
# seconds; a large run, or a busy disk, takes long to write, and who pressed Ctrl-C waits
LOOK_EVERY, GRACE, PATIENCE = 1.0, 30.0, 10.0


def end_with_launcher() -> None:
    """End this process, as SIGTERM does, once that which started it is gone, however that ended.

    A process whose parent ends is given another one by the system. That would go on for ever here: kill -9
    of the launcher leaves nobody to end it.
    """
    parent = int(os.environ.get(LAUNCHER, os.getppid()))

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK_EVERY)
        os.kill(os.getpid(), signal.SIGTERM)  # what was reached is saved, what is temporary removed
        time.sleep(GRACE)
        os._exit(2)

    threading.Thread(target=watch, daemon=True).start()


def exit_on_sigterm() -> None:
    """Make SIGTERM an exit of Python's, which removes what is temporary; a second one changes nothing."""

    def leave(number: int, frame: Any) -> None:
        signal.signal(number, signal.SIG_IGN)
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, leave)


@contextmanager
def ended(process: subprocess.Popen[Any]) -> Iterator[None]:
    """A context after which the process has ended: by SIGTERM, by SIGKILL where that takes too long."""
    try:
        yield
    finally:
        process.terminate()  # nothing where it has ended
        try:
            with suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE)
        finally:  # at a second Ctrl-C too
            process.kill()
            process.wait()
