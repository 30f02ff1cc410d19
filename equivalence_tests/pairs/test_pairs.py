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

# In `make test` each pair has one case, the one that compiles least, and these, which are over in a moment or
# stand for a kind of their own; `make test-all` has all.
MORE = {
    "auxiliary:CASE_VECTORISED",
    "crossed_effects:CASE_MCMC",
    "eight_schools:CASE_REPARAM",
    "equinox_networks:CASE_RANDOM",
    "factors:CASE_TRAINED",
    "gaussian_process:CASE_SINGULAR",
    "horseshoe:CASE_SWAPPED",
    "loss_faults:CASE_BATCHES",
    "missing_data:CASE_OBS_MASK",
    "missing_data:CASE_MASKED_DISTRIBUTION",
    "nested_subsampling:CASE_SWAPPED",
    "refactorings:CASE_RENAMED",
    "turned_weights:CASE_NORMAL",
}
# Of the pairs whose `CASE` compiles long, or that have none of this name.
SHORTEST = {
    "autoguides": "CASE_NORMAL_SWAPPED",
    "contributed": "CASE_FORECAST",
    "extreme_scales": "CASE_FAR",
    "item_counts": "CASE_LOW_RANK",
    "item_latents": "CASE_MISSING",
    "joint_autoguides": "CASE_MULTIVARIATE_REORDERED",
    "large_counts": "CASE_OVERDISPERSED",
    "loss_faults": "CASE_MASKED",
    "own_programs": "CASE_DIAGONAL",
    "rewritten": "CASE_PYRO",
}


def _is_short(name: str) -> bool:
    pair, _, case = name.partition(":")
    return name in MORE or case == SHORTEST.get(pair, "CASE")


EVERY = [pytest.param(n, marks=() if _is_short(n) else pytest.mark.slow) for n in CASES]


def _check(name: str, case: Case) -> None:
    report = verify(case)
    expected = "undecided" if name in UNDECIDED else "same"
    assert report.verdict == expected, f"{name}\n{report}"


@pytest.mark.parametrize("name", EVERY)
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
    assert set(CASES) >= MORE
    assert {name.partition(":")[0] for name in CASES if _is_short(name)} == files
