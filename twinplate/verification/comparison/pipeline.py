"""Compare two records: every finding in order, and one verdict."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from twinplate.errors import InputError
from twinplate.records.record import Failure, Given, Record
from twinplate.verification.comparison.allowances import Excuses
from twinplate.verification.comparison.explanations import explained
from twinplate.verification.comparison.findings import Finding, ordered
from twinplate.verification.comparison.numbers import (
    Pair,
    compare_densities,
    compare_losses,
    compare_values,
)
from twinplate.verification.comparison.structure import (
    compare_parameters,
    compare_site,
    compare_sites,
)

VERDICTS = ("same", "differs", "undecided", "could not run")


@dataclass(frozen=True, repr=False)
class Report:
    """The outcome of a comparison. `verdict` is one of `VERDICTS`; findings come differences first.

    Promised is what was tested: the recorded parameters, inputs and draws.
    """

    verdict: str
    findings: tuple[Finding, ...]
    first: Record
    second: Record

    @property
    def ok(self) -> bool:
        """Whether the verdict is "same"."""
        return self.verdict == "same"

    def __str__(self) -> str:
        from twinplate.verification.reports.terminal import as_text

        return as_text(self)

    def __repr__(self) -> str:
        return f"<Report: {self.verdict}, {len(self.findings)} findings>"

    def to_html(self) -> str:
        """One self-contained HTML page, for a browser."""
        from twinplate.verification.reports.html_page import page

        return page({"": self})

    def to_json(self) -> dict[str, Any]:
        """Verdict, findings, versions and the table's rows as plain data."""
        from twinplate.verification.reports.plain_data import as_json

        return as_json(self)


def compare(first: Record, second: Record) -> Report:
    """Compare the record of a program with one made `like` it.

    Raises InputError for records that do not belong together: other inputs, draws or settings.
    """
    check_comparable(first, second)
    findings: list[Finding] = []
    for draw in compared(first, second):
        findings += _compare_draw(Pair(first, second, draw))
    sites: dict[tuple[str, str], int] = {}
    for record in (first, second):
        for run in record.runs.values():
            for program in ("model", "guide"):
                for name in getattr(run, program):
                    sites.setdefault((program, name), len(sites))
            for name in run.parameters:
                sites.setdefault(("loss", name), len(sites))
    kept = ordered(findings, sites)
    return Report(_verdict(kept), tuple(kept), first, second)


def compared(first: Record, second: Record) -> list[str]:
    """The draws of both records: all of them, or those until a program stopped."""
    draws = first.settings.draws
    return [d for d in draws if all((d, "float64") in r.runs for r in (first, second))]


def _verdict(findings: list[Finding]) -> str:
    if any(f.stage == "execution" and f.level == "difference" for f in findings):
        return "could not run"
    levels = {f.level for f in findings}
    if "difference" in levels:
        return "differs"
    return "undecided" if "undecided" in levels else "same"


def _compare_draw(pair: Pair) -> Iterator[Finding]:
    runs = pair.run("first"), pair.run("second")
    if pair.draw == "stress" and runs[0].failure is not None:
        text = "the stress draw stops the first program, so it was not compared"
        yield Finding("note", "execution", "model", "", text, runs[0].failure.error, draw="stress")
        return
    for which, run in zip(("first", "second"), runs, strict=True):
        if run.failure is not None:
            yield _stopped(pair, which, run.failure)
    complete, excuses = all(run.failure is None for run in runs), Excuses(pair)
    for program in ("model", "guide"):
        a, b = getattr(runs[0], program), getattr(runs[1], program)
        if complete or (a and b):
            # A program that stopped has not shown its later sites.
            shown = [n for n in {**a, **b} if complete or (n in a and n in b)]
            a, b = ({n: s for n, s in sites.items() if n in shown} for sites in (a, b))
            for found in _compare_program(pair, program, a, b, numbers=complete):
                yield replace(excuses.density(found), draw=found.draw or pair.draw)
    if complete:
        across = pair.first.framework != pair.second.framework
        for found in compare_parameters(runs[0].parameters, runs[1].parameters, across):
            yield explained(replace(found, draw=pair.draw), pair)
        for found in compare_losses(pair):
            yield excuses.total(explained(found, pair))


def _compare_program(  # type: ignore[no-untyped-def]
    pair: Pair, program: str, a, b, numbers: bool
) -> Iterator[Finding]:
    """Sites of both programs; `numbers` too, unless one stopped: it may not know its parameters."""
    replayed = pair.run("first").guide if program == "model" else {}
    found = list(compare_sites(program, a, b))
    for name in a:
        if name not in b:
            continue
        found += compare_site(program, name, a[name], b[name])
        if not numbers:
            continue
        if name not in replayed:
            value = compare_values(pair, program, name)
            found += [value] if value else []
        found += compare_densities(pair, program, name)
    for finding in found:
        yield explained(finding, pair)


def _stopped(pair: Pair, which: str, failure: Failure) -> Finding:
    where = f" after site {failure.site!r}" if failure.site else ""
    message = f"the {which} program stops in its {failure.stage}{where}: {failure.error}"
    shown = {"first": "", "second": "", which: failure.traceback}
    program = failure.stage if failure.stage in ("model", "guide", "loss") else "model"
    finding = Finding(
        "difference", "execution", program, failure.site or "", message, **shown, draw=pair.draw
    )
    return explained(finding, pair)


def check_comparable(first: Record, second: Record) -> None:
    """Raise InputError unless `second` was recorded like `first`, on the same inputs."""
    if first.settings != second.settings:
        raise InputError(
            f"the records were made with other settings ({first.settings}; {second.settings}); "
            "record the second program like the first: twinplate record FILE.py:PROGRAM --like FIRST"
        )
    if not _same_arrays(first.inputs, second.inputs):
        both = (first.inputs, second.inputs)
        names = sorted(
            name
            for name in {**first.inputs, **second.inputs}
            if not _same_arrays(*({n: i[n] for n in i if n == name} for i in both))
        )
        raise InputError(
            f"the records were made with other inputs ({', '.join(names)}); a record is compared with "
            "one of the same arguments"
        )
    for draw in first.given.keys() & second.given.keys():
        if not _same_given(first.given[draw], second.given[draw]):
            raise InputError(
                "the records hold other draws, so their numbers cannot be compared; record the second "
                "program like the first: twinplate record FILE.py:PROGRAM --like FIRST"
            )


def _same_given(a: Given, b: Given) -> bool:
    return all(
        _same_arrays(getattr(a, name), getattr(b, name))
        for name in ("draws", "indices", "parameters")
    )


def _same_arrays(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(
        a[name].shape == b[name].shape and bool(np.all((a[name] == b[name]) | (a[name] != a[name])))
        for name in a
    )
