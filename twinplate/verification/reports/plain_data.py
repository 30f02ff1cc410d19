"""A report as plain data, for other programs to read."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from twinplate.verification.comparison.outcome import Outcome
from twinplate.verification.reports.rows import headline, rows


def as_json(outcome: Outcome) -> dict[str, Any]:
    """Verdict, headline, findings, settings, versions and the table's rows, ready for `json.dump`."""
    return {
        "verdict": outcome.verdict,
        "headline": headline(outcome),
        "findings": [asdict(finding) for finding in outcome.findings],
        "rows": [asdict(row) for row in rows(outcome)],
        "settings": asdict(outcome.first.settings),
        "first": _program(outcome, "first"),
        "second": _program(outcome, "second"),
    }


def _program(outcome: Outcome, which: str) -> dict[str, Any]:
    record = getattr(outcome, which)
    versions = {name: str(version) for name, version in record.versions.items()}
    return {"framework": record.framework, "versions": versions, "names": record.names}
