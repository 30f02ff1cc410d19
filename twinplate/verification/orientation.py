"""Is a square matrix used the wrong way round in one of several places, or are several of them?

`square_matrices` finds what one transpose mends. Where a matrix is used twice, once the wrong way round, no
transpose does; but where it is symmetric, the two programs are the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from twinplate.records.record import Array, Record
from twinplate.verification.comparison.findings import Finding
from twinplate.verification.report import Report
from twinplate.verification.square_matrices import may_turn, transposed
from twinplate.verification.trees import Tree, leaves, map_leaves

# "differs (5 of 5 numbers at [3]). Its loc differs"
UNEXPLAINED = re.compile(r"differs \([^()]*\)(\. Its [\w ]+ differs?)?")


@dataclass(frozen=True)
class Symmetric:
    """What to run both programs on: `args` and `kwargs` of a case, and more `params` and `draws`.

    names: of the matrices that were not symmetric before.
    """

    args: Tree
    kwargs: Tree
    params: Mapping[str, Array]
    draws: Mapping[str, Array]
    names: tuple[str, ...]


def made_symmetric(first: Record, args: Tree, kwargs: Tree) -> Symmetric:
    """Every square matrix that a program gets, replaced by the mean of itself and its transpose."""
    given, run = next(iter(first.given.values())), next(iter(first.runs.values()))
    draws = {n: x[0] for n, x in given.draws.items() if may_turn(run, n, ("real",))}
    learned = [n for n, p in run.parameters.items() if p.constraint == "real"]
    params = {n: x for n, x in given.parameters.items() if n in learned}
    params, draws = ({n: _mean(x) for n, x in v.items() if _turns(x)} for v in (params, draws))
    inputs = leaves({"args": args, "kwargs": kwargs})
    names = (*(n for n, x in inputs.items() if _turns(x)), *params, *draws)
    return Symmetric(map_leaves(_mean, args), map_leaves(_mean, kwargs), params, draws, names)


def is_unexplained(finding: Finding) -> bool:
    """Whether numbers of a site differ, and nothing is said of the cause."""
    numeric = finding.level == "difference" and finding.stage in ("value", "density")
    return numeric and UNEXPLAINED.fullmatch(finding.message) is not None


def told(report: Report, symmetric: Report, names: tuple[str, ...]) -> Report:
    """The report, with the cause said of the places that agree where the matrices are symmetric."""
    apart = {f.place for f in symmetric.findings if f.level == "difference"}
    if symmetric.verdict not in ("same", "differs"):
        return report
    of_one = (
        f"{names[0]}, a square matrix, is" if len(names) == 1 else f"One of {', '.join(names)} is"
    )
    text = (
        f"{of_one} used untransposed, perhaps in one of several places: with square matrices made symmetric "
        "the programs agree here"
    )
    findings = (
        replace(f, message=f"{f.message}. {text}")
        if is_unexplained(f) and f.place not in apart
        else f
        for f in report.findings
    )
    return replace(report, findings=tuple(findings))


def _turns(values: Any) -> bool:
    return isinstance(values, np.ndarray) and transposed(values, values.ndim) is not None


def _mean(values: Any) -> Any:
    return (values + np.swapaxes(values, -1, -2)) / 2 if _turns(values) else values
