"""Training run again, from another seed, or on from a state: the same to the bit where it should be."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from fit_cases import PROGRAMS, N, assert_same_fit, config
from twins import both_twins

from twinplate import InputError
from twinplate.programs.parameters import noise_shapes
from twinplate.seeds import base_noise, batch_indices
from twinplate.training import preparation
from twinplate.training.plan import chunks
from twinplate.training.state import TrainingState


@both_twins(
    "objective, matched",
    [("elbo", False), ("elbo", True), ("simulated", False)],
    quick=[("elbo", True), ("simulated", False)],
)
def test_the_same_to_the_bit_when_run_again(twin, problem, objective, matched):
    x, program, _ = problem(N, missing=0.2, **PROGRAMS["learned, amplitude"])
    training = config(steps=100, objective=objective, precision="float32", seed=4)
    fits = [twin.impl.fit(x, program, training, matched=matched) for _ in range(2)]
    assert_same_fit(*fits)
    assert np.isfinite(fits[0].losses).all() and len(np.unique(fits[0].losses)) > 90


def test_another_seed_is_another_run(twin, problem):
    x, program, _ = problem(N)
    losses = [twin.impl.fit(x, program, config(seed=seed)).losses for seed in (0, 1)]
    assert (losses[0] != losses[1]).all()


SEEDS = [(5, 2**32 + 5), (2**63, 2**63 + 2**32), (2**64 + 1, 2**96 + 1)]


@both_twins(
    "seed, other, precision",
    [(*pair, precision) for pair in SEEDS for precision in ("float32", "float64")],
    quick=[(*SEEDS[0], "float32"), (*SEEDS[1], "float64"), (*SEEDS[2], "float32")],
)
def test_a_seed_of_any_size_is_its_own(twin, problem, precision, seed, other):
    """Given the same parameters and all items: what differs is the noise alone."""
    x, program, params = problem(N)
    losses = [
        twin.impl.fit(
            x, program, config(steps=1, batch_size=N, precision=precision, seed=one),
            state=TrainingState.start(params),
        ).losses[0]
        for one in (seed, other)
    ]  # fmt: skip
    assert abs(losses[0] - losses[1]) > 1e-3


@both_twins(
    "objective, matched, precision",
    [
        ("elbo", False, "float32"),
        ("elbo", True, "float64"),
        ("simulated", False, "float32"),
        ("pairs", False, "float32"),
    ],
    quick=[("elbo", True, "float64"), ("pairs", False, "float32")],
)
def test_going_on_from_the_middle_is_the_uninterrupted_run(
    twin, problem, monkeypatch, objective, matched, precision
):
    """Stopped after the first of two chunks, gone on from the state that it left, to the bit."""
    x, program, _ = problem(N, missing=0.2, **PROGRAMS["auxiliary low-rank"])
    a = np.random.default_rng(0).normal(size=(3, N)) if objective == "pairs" else None
    training = config(steps=200, objective=objective, precision=precision)
    whole = twin.impl.fit(x, program, training, a=a, matched=matched)
    with monkeypatch.context() as patched:
        patched.setattr(preparation, "chunks", lambda *args: islice(chunks(*args), 1))
        half = twin.impl.fit(x, program, training, a=a, matched=matched)
    assert len(half.losses) == 100
    state = replace(half.state, step=100)
    rest = twin.impl.fit(x, program, training, a=a, matched=matched, state=state)
    assert len(rest.losses) == 100 and rest.state.step == 200
    joined = np.concatenate([half.losses, rest.losses])
    assert_same_fit(replace(rest, losses=joined), whole)


def test_a_finished_run_has_nothing_left_to_do(twin, problem):
    x, program, _ = problem(N)
    done = twin.impl.fit(x, program, config())
    steps = done.state.step
    with pytest.raises(
        InputError, match=f"of step {steps} and steps is {steps}; expected more steps"
    ):
        twin.impl.fit(x, program, config(), state=done.state)


def test_a_state_that_is_given_is_where_it_starts(twin, problem):
    x, program, params = problem(N)
    kept = {n: v.copy() for n, v in params.items()}
    state = TrainingState.start(params)
    given = twin.impl.fit(x, program, config(steps=1), state=state, matched=True)
    noise = base_noise(0, 0, noise_shapes(program.config, 5))
    items = batch_indices(0, 0, 1, N, 5)[0]
    found = twin.impl.evaluate(x[items], program, params, noise, config(), num_items=N)
    assert given.losses[0] == pytest.approx(found.loss / N, rel=1e-12)
    for n, v in kept.items():
        np.testing.assert_array_equal(state.params[n], v)
        assert not state.mean[n].any() and not state.variance[n].any()
