"""From two records to an outcome, in four steps for each draw.

1. Findings: wherever the programs part.
2. Allowances: what a framework's own inaccuracy explains becomes a note.
3. Attribution: a loss that differs names the site that it differs by.
4. Explanations: what looks like a known mistake says so.

All that is left is put in order, and one verdict is drawn from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from twinplate.records.record import Failure, Record
from twinplate.verification.comparison.allowances import UNJUDGED, allowed, settled
from twinplate.verification.comparison.attribution import attributed
from twinplate.verification.comparison.comparable import check_comparable
from twinplate.verification.comparison.explanations import explained
from twinplate.verification.comparison.findings import Finding, ordered
from twinplate.verification.comparison.numbers import (
    DrawPair,
    compare_densities,
    compare_losses,
    compare_values,
)
from twinplate.verification.comparison.outcome import Outcome, compared_draws, verdict_of
from twinplate.verification.comparison.precision import only_in_single
from twinplate.verification.comparison.shared_faults import wrong_in_both
from twinplate.verification.comparison.starts import compare_starts
from twinplate.verification.comparison.structure import (
    compare_parameters,
    compare_site,
    compare_sites,
)


def compare_records(first: Record, second: Record) -> Outcome:
    """Compare the record of a program with one made `like` it.

    Raises InputError for records that do not belong together: other inputs, draws or settings.
    """
    check_comparable(first, second)
    every: list[Finding] = []
    for draw in compared_draws(first, second):
        pair = DrawPair(first, second, draw)
        findings = [replace(finding, draw=draw) for finding in _find(pair)]
        findings = attributed(allowed(findings, pair), pair)
        findings += [replace(note, draw=draw) for note in wrong_in_both(pair)]
        every += [f if f.level == UNJUDGED else explained(f, pair) for f in findings]
    every = settled(every, len(compared_draws(first, second)))
    kept = ordered(every, _execution_order(first, second))
    return Outcome(verdict_of(kept), tuple(kept), first, second)


# -- findings of one draw, in the order of `STAGES` where both programs ran ----------------------------


def _find(pair: DrawPair) -> Iterator[Finding]:
    """Wherever the programs part in this draw; where one stopped, only what both had shown before."""
    runs = {which: pair.run(which) for which in ("first", "second")}
    failure = runs["first"].failure
    if pair.draw == "stress" and failure is not None:
        text = "the stress draw stops the first program, so it was not compared"
        yield Finding("note", "execution", "model", "", text, failure.error)
        return
    for which, run in runs.items():
        if run.failure is not None:
            yield _stopped(which, run.failure, only_in_single(pair, which))
    for program in ("model", "guide"):
        yield from _compare_program(pair, program)
    if pair.is_complete:
        across = pair.first.framework != pair.second.framework
        yield from compare_parameters(runs["first"].parameters, runs["second"].parameters, across)
        yield from compare_starts(pair.first, pair.second)
        yield from compare_losses(pair)


def _compare_program(pair: DrawPair, program: str) -> Iterator[Finding]:
    """Sites of both models or both guides, their structure and then their numbers."""
    first, second = (getattr(pair.run(which), program) for which in ("first", "second"))
    failures = [pair.run(which).failure for which in ("first", "second")]
    if any(f and f.stage != "loss" for f in failures):  # it has not shown its later sites
        first, second = ({n: sites[n] for n in sites if n in first and n in second}
                         for sites in (first, second))  # fmt: skip
    yield from compare_sites(program, first, second)
    replayed = pair.run("first").guide if program == "model" else {}
    for name in first:
        if name not in second:
            continue
        yield from compare_site(program, name, first[name], second[name])
        if not pair.is_complete:
            continue  # a program that stopped may not know its parameters, so its numbers say nothing
        if name not in replayed:
            yield from compare_values(pair, program, name)
        yield from compare_densities(pair, program, name)


def _stopped(which: str, failure: Failure, why: str) -> Finding:
    where = f" after site {failure.site!r}" if failure.site else ""
    message = f"the {which} program stops in its {failure.stage}{where}: {why}{failure.error}"
    shown = {"first": "", "second": "", which: failure.traceback}
    program = failure.stage if failure.stage in ("model", "guide", "loss") else "model"
    return Finding("difference", "execution", program, failure.site or "", message, **shown)


# -- the order of all findings -------------------------------------------------------------------------


def _execution_order(first: Record, second: Record) -> dict[tuple[str, str], int]:
    """Position of every (program, site), and of every ("loss", parameter), as they were first met."""
    places: dict[tuple[str, str], int] = {}
    for record in (first, second):
        for run in record.runs.values():
            for program in ("model", "guide"):
                for name in getattr(run, program):
                    places.setdefault((program, name), len(places))
            for name in run.parameters:
                places.setdefault(("loss", name), len(places))
    return places
