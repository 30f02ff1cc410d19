"""Memory of the processes that run the tests: compiled programs are let go of in time, peaks are told."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from equivalence_tests.worker_memory import compiled_within_bounds, pytest_collection_finish
from twinplate.host import peak_memory

__all__ = [
    "compiled_within_bounds",
    "pytest_collection_finish",
    "pytest_sessionfinish",
    "pytest_terminal_summary",
    "pytest_testnodedown",
]

PEAKS = pytest.StashKey[dict[str, int]]()


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
