"""The outcome of a comparison: a verdict, and the findings behind it."""

from __future__ import annotations

from collections.abc import Sequence
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

    def __post_init__(self) -> None:
        """A difference that no site or parameter is named for helps nobody: there is none."""
        assert all(f.site for f in self.findings if f.stage != "execution"), self.findings

    @property
    def ok(self) -> bool:
        """Whether the verdict is "same"."""
        return self.verdict == "same"


def compared_draws(first: Record, second: Record) -> list[str]:
    """The draws that both records hold: all of them, or those until a program stopped."""
    draws = first.settings.draws
    return [d for d in draws if all((d, "float64") in r.runs for r in (first, second))]


def verdict_of(findings: Sequence[Finding]) -> str:
    """The verdict that findings, in the order to look at them, amount to: one of `VERDICTS`.

    Where a difference was found before a program stopped, the programs differ.
    """
    if not findings or findings[0].level == "note":
        return "same"
    if findings[0].level == "undecided":
        return "undecided"
    return "could not run" if findings[0].stage == "execution" else "differs"
