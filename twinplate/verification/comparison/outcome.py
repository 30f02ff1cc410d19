"""The outcome of a comparison: a verdict, and the findings behind it."""

from __future__ import annotations

from dataclasses import dataclass

from twinplate.records.record import Record
from twinplate.verification.comparison.findings import Finding

VERDICTS = ("same", "differs", "undecided", "could not run")


@dataclass(frozen=True)
class Outcome:
    """What a comparison of two records came to, in plain data.

    verdict: one of `VERDICTS`.
    findings: differences first, then what is undecided, then notes.
    first, second: the two records that were compared.
    """

    verdict: str
    findings: tuple[Finding, ...]
    first: Record
    second: Record

    @property
    def ok(self) -> bool:
        """Whether the verdict is "same"."""
        return self.verdict == "same"


def compared_draws(first: Record, second: Record) -> list[str]:
    """The draws that both records hold: all of them, or those until a program stopped."""
    draws = first.settings.draws
    return [d for d in draws if all((d, "float64") in r.runs for r in (first, second))]


def verdict_of(findings: list[Finding]) -> str:
    """The verdict that findings amount to: one of `VERDICTS`."""
    if any(f.stage == "execution" and f.level == "difference" for f in findings):
        return "could not run"
    levels = {f.level for f in findings}
    if "difference" in levels:
        return "differs"
    return "undecided" if "undecided" in levels else "same"
