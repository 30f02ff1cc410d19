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
_kept_text = 0  # the same for what they were compiled from


def pytest_collection_finish(session: pytest.Session) -> None:
    """The collector need not look at modules and tests again and again, which stay to the end anyway."""
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


@pytest.fixture(autouse=True)
def compiled_within_bounds() -> Iterator[None]:
    """What JAX keeps is let go of when it is too much, not after each file, since files share programs.

    First the text of compiled programs, which nobody reads again: a megabyte for each, however short it
    is, where the program itself takes a seventh of that. All tests have thousands of them.
    """
    global _kept, _kept_text
    yield
    if "jax" not in sys.modules or resident() < _kept_text + ROOM:
        return
    forget_text()
    if resident() > max(LIMIT, _kept + ROOM):
        sys.modules["jax"].clear_caches()
        _give_back()
        _kept = resident()
    _kept_text = resident()


def forget_text() -> None:
    """JAX offers no way to it but with all that is compiled."""
    with suppress(ImportError, AttributeError):
        from jax._src import pjit
        from jax._src.interpreters import pxla

        pjit._pjit_lower.cache_clear()
        pxla._cached_lowering_to_hlo.cache_clear()
    _give_back()


def _give_back() -> None:
    """To the system what is free: glibc keeps what is freed in small pieces."""
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def resident() -> int:
    """Bytes that this process has resident now; 0 where Linux does not say it."""
    with suppress(OSError):
        return PAGE * int(Path("/proc/self/statm").read_text().split()[1])
    return 0
