"""Memory and garbage of a process that runs many tests: what has been compiled is let go of in time."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

LIMIT = 2_000_000_000  # bytes resident beyond which compiled programs are let go of
ROOM = 300_000_000  # bytes of more since they were let go of the last time
PAGE = 4096

_kept = 0  # bytes resident after that


def pytest_collection_finish(session: pytest.Session) -> None:
    """The collector need not look at modules and tests again and again, which stay to the end anyway."""
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


@pytest.fixture(autouse=True)
def compiled_within_bounds() -> Iterator[None]:
    """A compiled program takes more than a megabyte, however short it is, and all tests have thousands.

    They are let go of when there are too many, not after each file, since files share many of them.
    """
    global _kept
    yield
    if "jax" in sys.modules and resident() > max(LIMIT, _kept + ROOM):
        sys.modules["jax"].clear_caches()
        with suppress(AttributeError):  # of glibc, which keeps what is freed in small pieces
            ctypes.CDLL(None).malloc_trim(0)
        _kept = resident()


def resident() -> int:
    """Bytes that this process has resident now; 0 where Linux does not say it."""
    with suppress(OSError):
        return PAGE * int(Path("/proc/self/statm").read_text().split()[1])
    return 0
