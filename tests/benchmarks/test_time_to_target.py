"""Time to target: searches, restarts and their price, verdicts, one place to set out from."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_benchmarks import BACKENDS, SIZE, tiny_training

from twinplate.programs.config import TrainingConfig
from twinplate.training.plan import chunks, cosine

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import time_to_target
from problem import make_problem


class Travellers:
    """Attempts that reach what `arrivals` says after so many chunks; None diverges at once."""

    def __init__(self, *arrivals):
        self.arrivals = iter(arrivals)

    def __call__(self, seed):
        needed, left = next(self.arrivals), [0]

        def advance(chunk):
            left[0] += 1
            return np.full(len(chunk), np.nan if needed is None else 70.0)

        def params():
            return {"missed": 0.04 if left[0] >= needed else 1.0}

        return time_to_target.Attempt(advance, params), (_Steps(10) for _ in range(5))


class _Steps(list):
    """A chunk of steps, of which only the number counts."""

    def __init__(self, steps):
        super().__init__(range(steps))
        self.rates = self


@pytest.mark.parametrize(
    ("arrivals", "arrived", "runs", "steps"),
    [((3,), True, 1, 30), ((None, 6, 2), True, 3, 10 + 50 + 20), ((None, 9), False, 2, 60)],
)
def test_restarts_are_counted(arrivals, arrived, runs, steps):
    found = time_to_target.campaign(
        Travellers(*arrivals), lambda p: p["missed"], -70.0, range(len(arrivals)), usual=0.0
    )
    assert (found.arrived, found.runs, found.steps) == (arrived, runs, steps)
    assert found.seconds > 0


@pytest.mark.parametrize("loss", [np.nan, 70.0 - 1.1])
def test_a_run_that_diverges_is_stopped(loss):
    attempt = time_to_target.Attempt(lambda chunk: np.full(10, loss), lambda: {})
    arrived, seconds, _ = time_to_target.travel(attempt, iter([_Steps(10)] * 3), None, -70.0)
    assert not arrived and len(seconds) == 1


@pytest.mark.parametrize("missed", [-1.1, np.nan])
def test_a_guide_better_than_exact_is_stopped(missed):
    attempt = time_to_target.Attempt(lambda chunk: np.full(10, 70.0), lambda: {})
    plan = iter([_Steps(10)] * 3)
    arrived, seconds, _ = time_to_target.travel(attempt, plan, lambda params: missed, -70.0)
    assert not arrived and len(seconds) == 1


def test_searches_that_gave_up_are_part_of_the_price():
    gave_up = time_to_target.Campaign(False, 3.0, 4, 400)
    arrived = time_to_target.Campaign(True, 1.0, 2, 200)
    found = time_to_target.summary([gave_up, arrived, arrived])
    assert (found["arrived"], found["repeats"]) == (2, 3)
    assert (found["seconds"], found["runs"], found["steps"]) == (2.5, 4.0, 400.0)
    none = time_to_target.summary([gave_up, gave_up])
    assert (none["arrived"], none["seconds"], none["runs"]) == (0, 6.0, 8.0)


def test_the_best_rates_are_compared():
    rows = [
        {"backend": "pyro", "side": side, "rate": rate, "arrived": arrived, "seconds": seconds}
        | {"compiling": 0.5, "whole": 4.0 * seconds if side == "stock" else seconds}
        | {"searches": [[seconds, 1]] * 5}
        for side, rate, arrived, seconds in [
            ("ours", 1e-3, 5, 2.5),
            ("ours", 1e-2, 5, 2.0),
            ("stock", 1e-3, 0, 0.1),
            ("stock", 1e-2, 5, 5.0),
        ]
    ]
    expected = (
        "2.5 times faster (2.5 to 2.5); target ≥ 2.5, met "
        "(2.2 times with compiling, 10.0 in whole runs)"
    )
    assert expected in time_to_target.verdict(rows, "pyro")
    rows[3]["seconds"] = 3.0
    assert "1.5 times faster" in time_to_target.verdict(rows, "pyro")
    assert "target ≥ 2.5, NOT met" in time_to_target.verdict(rows, "pyro")
    assert time_to_target.verdict(rows[:3], "pyro").endswith(
        "0.10 s or more spent; undecided, more --restarts are needed"
    )
    rows[2]["seconds"] = 5.0
    assert time_to_target.verdict(rows[:3], "pyro").endswith("5.00 s or more spent; met")
    assert "target missed" in time_to_target.verdict(rows[2:], "pyro")


def test_a_first_chunk_counts_no_more_than_a_usual_one():
    """What it takes beyond that is compiling, which is told apart."""
    found = time_to_target.campaign(
        Travellers(1), lambda p: p["missed"], -70.0, range(1), usual=1e-9
    )
    assert found.seconds == 1e-9


def test_what_was_spent_before_the_first_run_counts():
    found = time_to_target.campaign(
        Travellers(None, 1), lambda p: p["missed"], -70.0, range(2), usual=1e-9, spent=5.0
    )
    assert found.seconds == pytest.approx(5.0, abs=1e-8)


def test_the_interval_is_of_searches_drawn_anew():
    """Two that took 4 and 8 s, beside two of 2 s: any mean from 4 to 8; one that gave up has a price too."""
    ours = {"searches": [[2.0, 1], [2.0, 1]]}
    assert time_to_target.interval({"searches": [[4.0, 1], [8.0, 1]]}, ours) == (2.0, 4.0)
    low, high = time_to_target.interval({"searches": [[4.0, 1], [8.0, 0]]}, ours)
    assert (low, high) == (2.0, 8.0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_stock_schedule_is_the_shipped_one(backend):
    training = TrainingConfig(10, 8, learning_rate=0.25)
    rates = [float(time_to_target.schedule(backend, training)(step)) for step in range(10)]
    np.testing.assert_allclose(rates, cosine(0.25, np.arange(10), 10), rtol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_both_sides_set_out_from_one_place(backend):
    """Before a step, the parameters of ours and of the stock recipe are those of the seed."""
    problem = make_problem(SIZE)
    program = problem.program()
    attempts = [
        time_to_target.begin(side, backend, problem, program, tiny_training(seed=3))
        for side in ("ours", "stock")
    ]
    for attempt in attempts:
        (chunk,) = chunks(program.config, tiny_training(seed=3), 32, matched=True)
        attempt.losses = attempt.advance(chunk.head(1))
    np.testing.assert_allclose(attempts[0].losses, attempts[1].losses, rtol=1e-5)
    first = [attempt.params() for attempt in attempts]
    assert first[0].keys() == first[1].keys()
    for name, values in first[0].items():
        np.testing.assert_allclose(values, first[1][name], rtol=0, atol=2e-3, err_msg=name)


def test_the_time_is_measured_and_written(tmp_path, capsys):
    path = tmp_path / "time.json"
    few = ["--items=300", "--steps=4", "--restarts=2", "--repeats=1", "--rates=1e-3"]
    time_to_target.main([*few, "--backends=numpyro", f"--json={path}"])
    rows = json.loads(path.read_text())["rows"]
    assert [row["side"] for row in rows] == ["started", "ours", "stock"]
    assert [(row["arrived"], row["runs"], row["steps"]) for row in rows] == [
        (1, 1, 4),  # from the posterior
        (0, 2, 8),
        (0, 2, 8),
    ]
    assert all(row["whole"] > 0 for row in rows)
    assert "ours never arrived; target missed" in capsys.readouterr().out


def test_what_a_run_has_reached_is_looked_at_every_so_many_steps(monkeypatch):
    class ReachedError(Exception):
        """The plan of a run, as a search would make it."""

    def measure(key, problem, options, evidence):
        training = TrainingConfig(options.steps, problem.size.batch_size)
        plan = chunks(problem.program().config, training, len(problem.x), matched=False)
        raise ReachedError([len(chunk.rates) for chunk in plan])

    monkeypatch.setattr(time_to_target, "measure", measure)
    with pytest.raises(ReachedError) as found:
        time_to_target.main(["--items=300", "--steps=120", "--backends=numpyro"])
    assert found.value.args[0] == [50, 50, 20]
