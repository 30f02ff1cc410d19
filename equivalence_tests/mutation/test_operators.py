"""Every mechanical mistake is seen, but for those listed as no mistake at all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from equivalence_tests.mutation.mutants import at_one_worker
from equivalence_tests.mutation.mutations import mutations
from equivalence_tests.mutation.survivors import SURVIVORS
from equivalence_tests.pairs import all_pairs

EVERY = {str(mutation): mutation for pair in all_pairs() for mutation in mutations(pair)}
SAMPLED_PAIRS = all_pairs()[1::4]  # records of the right programs are made once for each
SAMPLED = 14  # mutations of those, spread evenly
GROUPS = sorted({(m.pair, m.function) for m in EVERY.values()})


def _check(chosen: list[str]) -> None:
    """That exactly those survive that are listed."""
    survived = [name for name in chosen if not EVERY[name].is_seen()]
    listed = [name for name in chosen if name in SURVIVORS]
    assert sorted(survived) == sorted(listed)


def _sampled() -> Iterator[Any]:
    seen = [n for n, m in EVERY.items() if m.pair in SAMPLED_PAIRS and n not in SURVIVORS]
    for place in range(SAMPLED):
        name = seen[(2 * place + 1) * len(seen) // (2 * SAMPLED)]
        yield pytest.param(name, marks=at_one_worker(EVERY[name].pair), id=str(place))


@pytest.mark.parametrize("name", list(_sampled()))
def test_sampled_mutation_is_seen(name: str) -> None:
    _check([name])


@pytest.mark.slow
@pytest.mark.parametrize(("pair", "function"), GROUPS)
def test_every_mutation_is_seen(pair: str, function: str) -> None:
    _check([name for name, m in EVERY.items() if (m.pair, m.function) == (pair, function)])


def test_survivors_are_mutations() -> None:
    assert set(SURVIVORS) <= set(EVERY), sorted(set(SURVIVORS) - set(EVERY))
    assert all(SURVIVORS.values())


def test_there_are_enough_mutations() -> None:
    assert len(EVERY) >= 1300
    assert len({m.pair for m in EVERY.values()}) >= 29
    assert len({m.operator for m in EVERY.values()}) == 18
