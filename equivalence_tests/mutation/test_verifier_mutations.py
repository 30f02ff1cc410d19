"""The verifier is proved by cases that can fail: each mistake in it turns the case named beside it red."""

from __future__ import annotations

import pytest

from equivalence_tests.mutation.judged_cases import is_green, records, records_afresh
from equivalence_tests.mutation.recorder_mutations import RECORDER_MUTATIONS
from equivalence_tests.mutation.verifier_mutations import VERIFIER_MUTATIONS

pytestmark = pytest.mark.xdist_group("mistakes")  # one worker: records are made once

# The others have their case recorded again, too, which takes the time.
REPRESENTATIVES = (
    "masks_of_handlers_ignored",
    "factors_dropped",
    "gradients_zero",
    "own_noise",
    "draws_detached",
    "not_stressed",
)


@pytest.mark.parametrize("name", VERIFIER_MUTATIONS)
def test_a_mistake_in_the_verifier_turns_a_case_red(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutation, case = VERIFIER_MUTATIONS[name]
    assert is_green(case, records(case))
    mutation(monkeypatch)
    assert not is_green(case, records(case))


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in REPRESENTATIVES else pytest.mark.slow)
        for name in RECORDER_MUTATIONS
    ],
)
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
