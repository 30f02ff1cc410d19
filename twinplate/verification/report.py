"""Compare two records, and a report that prints itself: in the terminal, as a page, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from twinplate.records.record import Record
from twinplate.verification.comparison.outcome import Outcome
from twinplate.verification.comparison.pipeline import compare_records
from twinplate.verification.reports.html_page import page
from twinplate.verification.reports.plain_data import as_json
from twinplate.verification.reports.terminal import as_text


@dataclass(frozen=True, repr=False)
class Report(Outcome):
    """The outcome of a comparison: a verdict and its findings, differences first.

    verdict: "same", "differs", "undecided" or "could not run".
    ok: whether it is "same".  findings: each a `Finding`.
    first, second: the records that were compared.

    What a verdict promises holds for the recorded parameters, inputs and draws. `str(report)` is the
    table that `twinplate verify` prints.

    >>> import pyro, pyro.distributions as dist
    >>> from pyro_impl import Program
    >>> from twinplate import verify
    >>> def model():
    ...     pyro.sample("z", dist.Normal(0.0, 1.0))
    >>> report = verify(Program(model), Program(model), seeds=(0,))
    >>> report.ok, report.findings
    (True, ())
    >>> print(report)  # doctest: +ELLIPSIS
    SAME at the tested inputs, parameters and draws
    ...
    Tested: draws 0, stress; potential energy
    ...
    """

    def __str__(self) -> str:
        return as_text(self)

    def __repr__(self) -> str:
        return f"<Report: {self.verdict}, {len(self.findings)} findings>"

    def to_html(self) -> str:
        """One self-contained HTML page, for a browser."""
        return page({"": self})

    def to_json(self) -> dict[str, Any]:
        """Verdict, findings, versions and the table's rows as plain data."""
        return as_json(self)


def compare(first: Record, second: Record) -> Report:
    """Compare the record of a program with one made `like` it.

    Raises InputError for records that do not belong together: other inputs, draws or settings.

    >>> import pyro, pyro.distributions as dist
    >>> from pyro_impl import Program
    >>> from twinplate import compare
    >>> def model(x):
    ...     pyro.sample("z", dist.Exponential(x))
    >>> first = Program(model).record(args=(2.0,))
    >>> second = Program(model).record(args=(2.0,), like=first)
    >>> compare(first, second).verdict
    'same'
    """
    outcome = compare_records(first, second)
    return Report(outcome.verdict, outcome.findings, outcome.first, outcome.second)
