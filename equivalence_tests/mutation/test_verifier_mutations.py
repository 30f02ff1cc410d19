"""The verifier is proved by cases that can fail: each mistake in it turns the case named beside it red."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

import pytest

from equivalence_tests.mutation.judged_cases import is_green, pair_of, records, records_afresh
from equivalence_tests.mutation.mutants import parameters
from equivalence_tests.mutation.recorder_mutations import RECORDER_MUTATIONS
from equivalence_tests.mutation.verifier_mutations import VERIFIER_MUTATIONS

# The others have their case recorded again, too, which takes the time.
REPRESENTATIVES = (
    "masks_of_handlers_ignored",
    "factors_dropped",
    "gradients_zero",
    "own_noise",
    "draws_detached",
    "not_stressed",
)


def _parameters(mutations: Mapping[str, tuple[Any, str]], quick: Container[str]) -> list[Any]:
    return parameters({name: pair_of(case) for name, (_, case) in mutations.items()}, quick)


@pytest.mark.parametrize("name", _parameters(VERIFIER_MUTATIONS, VERIFIER_MUTATIONS))
def test_a_mistake_in_the_verifier_turns_a_case_red(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutation, case = VERIFIER_MUTATIONS[name]
    assert is_green(case, records(case))
    mutation(monkeypatch)
    assert not is_green(case, records(case))


@pytest.mark.parametrize("name", _parameters(RECORDER_MUTATIONS, REPRESENTATIVES))
def test_a_mistake_in_the_recorder_turns_a_case_red(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutation, case = RECORDER_MUTATIONS[name]
    assert is_green(case, records(case))
    mutation(monkeypatch)
    assert not is_green(case, records_afresh(case))


def test_the_recorder_has_enough_mistakes() -> None:
    assert len(RECORDER_MUTATIONS) >= 25
    assert set(REPRESENTATIVES) <= set(RECORDER_MUTATIONS)
