"""Every correct pair is found the same: no false alarm, and nothing left undecided."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest

from equivalence_tests import pairs
from equivalence_tests.pairs import all_pairs
from twinplate import Case, verify

# Name of a case -> why it cannot be decided. At most two, and written down beforehand.
UNDECIDED = {
    "gaussian_process:CASE_SINGULAR": "the covariance is singular but for its jitter: inputs changed in the "
    "thirteenth digit move the loss by more than 2⁻¹⁰ of it"
}


def _collected() -> dict[str, Case]:
    found = {}
    for pair in all_pairs():
        for name, value in vars(import_module(f"{pairs.__name__}.{pair}")).items():
            if isinstance(value, Case):
                found[f"{pair}:{name}"] = value
    return found


CASES = _collected()


def _check(name: str, case: Case) -> None:
    report = verify(case)
    expected = "undecided" if name in UNDECIDED else "same"
    assert report.verdict == expected, f"{name}\n{report}"


@pytest.mark.parametrize("name", CASES)
def test_a_correct_pair_is_the_same(name):
    _check(name, CASES[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_correct_pair_is_the_same_for_ten_seeds(name):
    _check(name, replace(CASES[name], seeds=tuple(range(10))))


def test_a_pair_whose_package_is_not_installed_is_left_out(monkeypatch):
    assert {*pairs.NEEDS} <= {path.stem for path in Path(pairs.__file__).parent.glob("*.py")}
    monkeypatch.setitem(pairs.NEEDS, "vae", "no_such_package")
    assert "vae" not in all_pairs() and "topics" in all_pairs()


def test_there_are_enough_pairs():
    files = {name.partition(":")[0] for name in CASES}
    assert len(files) >= 22 and len(CASES) >= 44
    assert set(UNDECIDED) <= set(CASES) and len(UNDECIDED) <= 2
