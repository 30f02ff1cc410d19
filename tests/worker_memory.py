"""Memory of the processes that run the tests: compiled programs are let go of in time, peaks are told."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from twinplate.training.memory import peak_memory

STATM = Path("/proc/self/statm")
KEPT_BYTES = 700 * 2**20  # of compiled programs, roughly, until they are let go of
PEAKS = pytest.StashKey[dict[str, int]]()


def resident() -> int:
    """Bytes in memory now; where the system does not tell, the most there have been."""
    if STATM.exists():
        return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return peak_memory()


class CompiledPrograms:
    """What JAX has compiled is used again from test to test, until memory has grown too much."""

    def __init__(self) -> None:
        self.resident_after_clearing = resident()

    def clear_if_large(self) -> None:
        """Those of all tests together would be gigabytes."""
        if "jax" in sys.modules and resident() - self.resident_after_clearing > KEPT_BYTES:
            sys.modules["jax"].clear_caches()
            self.resident_after_clearing = resident()


@pytest.fixture(scope="session")
def programs_of_the_session() -> CompiledPrograms:
    return CompiledPrograms()


@pytest.fixture(autouse=True)
def compiled_programs(programs_of_the_session: CompiledPrograms) -> Iterator[None]:
    yield
    programs_of_the_session.clear_if_large()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker says what it needed."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None and sys.platform != "win32":
        output["peak"] = peak_memory()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Each worker's peak, heard by the process that started it."""
    peaks = node.config.stash.setdefault(PEAKS, {})
    peaks[node.gateway.id] = getattr(node, "workeroutput", {}).get("peak", 0)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The peaks of all workers."""
    peaks = terminalreporter.config.stash.get(PEAKS, {})
    if peaks:
        told = ", ".join(f"{name} {peak / 1e9:.1f} GB" for name, peak in sorted(peaks.items()))
        terminalreporter.write_line(f"peak memory: {told}")
