"""The verifier is proved by cases that can fail: each mistake in it turns the case named beside it red."""

from __future__ import annotations

import pytest

from equivalence_tests.mutants import cases, first_record, original, second_record
from equivalence_tests.mutations import UNDECIDED
from equivalence_tests.port_mistakes import MISTAKES
from equivalence_tests.verifier_mutations import MUTATIONS
from twinplate.compare import compare
from twinplate.record import Record

pytestmark = pytest.mark.xdist_group("mistakes")  # one worker: records are made once

_correct: dict[str, tuple[Record, Record]] = {}


def _records(name: str) -> tuple[Record, Record]:
    if name in MISTAKES:
        return MISTAKES[name].records()
    if name not in _correct:
        pair, _, case = name.partition(":")
        case = cases(original(pair))[case]
        first = first_record(case)
        _correct[name] = first, second_record(case, first)
    return _correct[name]


def _is_green(name: str) -> bool:
    """Whether the case is judged as its own test demands."""
    report = compare(*_records(name))
    if name in MISTAKES:
        return MISTAKES[name].is_caught(report) and MISTAKES[name].is_located(report)
    return report.verdict == ("undecided" if name == UNDECIDED else "same")


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mistake_in_the_verifier_turns_a_case_red(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutation, case = MUTATIONS[name]
    assert _is_green(case)
    mutation(monkeypatch)
    assert not _is_green(case)
