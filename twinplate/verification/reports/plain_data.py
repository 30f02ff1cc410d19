"""A report as plain data, for other programs to read."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from twinplate.verification.comparison.pipeline import Report
from twinplate.verification.reports.terminal import headline, rows


def as_json(report: Report) -> dict[str, Any]:
    """Verdict, headline, findings, settings, versions and the table's rows, ready for `json.dump`."""
    return {
        "verdict": report.verdict,
        "headline": headline(report),
        "findings": [asdict(finding) for finding in report.findings],
        "rows": [asdict(row) for row in rows(report)],
        "settings": asdict(report.first.settings),
        "first": _program(report, "first"),
        "second": _program(report, "second"),
    }


def _program(report: Report, which: str) -> dict[str, Any]:
    record = getattr(report, which)
    versions = {name: str(version) for name, version in record.versions.items()}
    return {"framework": record.framework, "versions": versions, "names": record.names}
