"""A pytest plugin: the fixture `verify`, and the report of what it found where a test fails.

    def test_port(verify):
        assert verify(CASE).ok

Installed with twinplate; it imports no framework, and the rest of twinplate only when it is used.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator
from typing import Any

import pytest

REPORTS = pytest.StashKey[list[Any]]()


@pytest.fixture
def verify(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """`twinplate.verify`: it returns the report, which is printed with the test if that fails."""
    from twinplate.verification.case import verify as run

    reports = request.node.stash.setdefault(REPORTS, [])

    @functools.wraps(run)
    def verify(*programs: Any, **arguments: Any) -> Any:
        report = run(*programs, **arguments)
        reports.append(report)
        return report

    return verify


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """Add the reports of a failed test as sections of its own."""
    outcome = yield
    if outcome.when == "call" and outcome.failed:
        for report in item.stash.get(REPORTS, []):
            outcome.sections.append((f"twinplate: {report.verdict}", str(report)))
    return outcome
