"""Cases by name, each with the judgement that its own test demands: a mistake's, or a correct pair's.

A name is that of a mistake, "pair-mistake", or of a correct pair's case, "pair:CASE".
"""

from __future__ import annotations

from equivalence_tests.mutation.mutants import (
    cases,
    first_record,
    original,
    recorded_afresh,
    second_record,
)
from equivalence_tests.mutation.mutations import UNDECIDED
from equivalence_tests.mutation.port_mistakes import MISTAKES
from twinplate.records.record import Record
from twinplate.verification.report import compare

_correct: dict[str, tuple[Record, Record]] = {}


def pair_of(name: str) -> str:
    """The pair that a case is of."""
    return MISTAKES[name].pair if name in MISTAKES else name.partition(":")[0]


def records(name: str) -> tuple[Record, Record]:
    """The records of both programs, made once."""
    if name in MISTAKES:
        return MISTAKES[name].records()
    if name not in _correct:
        _correct[name] = _of_a_correct_pair(name)
    return _correct[name]


def records_afresh(name: str) -> tuple[Record, Record]:
    """The same made again, by the recorder as it is now."""
    if name not in MISTAKES:
        return _of_a_correct_pair(name)
    mistake = MISTAKES[name]
    return recorded_afresh(mistake.pair, mistake.case, mistake.where, mistake.text())


def _of_a_correct_pair(name: str) -> tuple[Record, Record]:
    case_name = name.partition(":")[2]
    case = cases(original(pair_of(name)))[case_name]
    first = first_record(case)
    return first, second_record(case, first)


def is_green(name: str, both: tuple[Record, Record]) -> bool:
    """Whether these records are judged as the case demands."""
    report = compare(*both)
    if name in MISTAKES:
        return MISTAKES[name].is_caught(report) and MISTAKES[name].is_located(report)
    return report.verdict == ("undecided" if name == UNDECIDED else "same")
