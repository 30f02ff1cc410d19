"""A way to train that fails is told and left out; the table has the others."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from tiny_workload import TINY

from twinplate.bench import turns
from twinplate.bench.backend import Route, Started
from twinplate.bench.checks import take_checked
from twinplate.bench.workload import make_workload
from twinplate.errors import InputError
from twinplate.training.errors import OutOfMemoryError
from twinplate.training.state import Fit, TrainingState

ONE = np.ones(1)


def raising(error):
    def run(chunk):
        raise error

    return run


def begun(run):
    return Started(run, ONE, 0.0, 0.0)


@pytest.fixture(scope="module")
def work():
    return make_workload(TINY)


NO_MEMORY = OutOfMemoryError("no more\nof it", Fit(TrainingState.start({}), np.zeros(0)))
ERRORS = [
    (RuntimeError(""), "RuntimeError"),
    (MemoryError("no more\nof it"), "MemoryError: no more"),
    (NO_MEMORY, "OutOfMemoryError: no more"),
]


@pytest.mark.parametrize(("error", "told"), ERRORS)
def test_what_fails_as_it_starts_is_told(work, error, told):
    backend = SimpleNamespace(begin=lambda route, chunk, device: begun(route.start()))
    routes = {
        "failing": (backend, Route(lambda: raising(error)(None))),
        "sound": (backend, Route(list)),
    }
    started, failed = turns.begin_all(routes, work.chunk(1), "cpu", print)
    assert list(started) == ["sound"] and failed == {"failing": told}


@pytest.mark.parametrize(("error", "told"), ERRORS)
def test_what_fails_as_it_is_checked_is_told(work, error, told):
    routes = {"failing": Route(lambda: raising(error)), "sound": Route(lambda: lambda _: ONE)}
    assert take_checked(work, routes, print) == ({"sound": ONE}, {"failing": told})


@pytest.mark.parametrize(("error", "told"), ERRORS)
def test_what_fails_in_a_later_round_is_told(work, monkeypatch, error, told):
    monkeypatch.setattr(turns, "ROUNDS", 4)
    rounds = iter(range(3))

    def third(chunk):
        if next(rounds) == 2:
            raise error

    taken = []
    started = {"failing": begun(third), "sound": begun(taken.append)}
    seconds, failed = turns.take_turns(started, work.chunk(1), lambda text: None)
    assert list(started) == list(seconds) == ["sound"]
    assert len(taken) == 5 and len(seconds["sound"]) == 4  # and a first one
    assert failed == {"failing": told}


def test_bad_input_is_nobodys_failure(work):
    routes = {"way": Route(lambda: raising(InputError("bad")))}
    with pytest.raises(InputError, match="bad"):
        take_checked(work, routes, print)
