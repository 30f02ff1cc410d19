"""A run is prepared once: what is checked, where it starts and how it is cut into chunks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fit_cases import N, config

from twinplate.errors import InputError
from twinplate.programs.parameters import initial_params
from twinplate.training import preparation
from twinplate.training.plan import chunk_length, chunks
from twinplate.training.preparation import plan_many, prepare, prepare_many
from twinplate.training.restarts import restart_configs
from twinplate.training.state import TrainingState

TRAINING = config(steps=11)
# 5 items of 4 features a step, and for matched noise 3 components more: 4 steps, or 2, are the most.
BYTES = 8 * 5 * 4 * 4


@pytest.fixture
def mapped(tmp_path):
    def mapped(x):
        np.save(tmp_path / "x.npy", x)
        return np.load(tmp_path / "x.npy", mmap_mode="r")

    return mapped


def same(one, other):
    """Whether two chunks are the same instructions."""
    return (
        one.first == other.first
        and np.array_equal(one.indices, other.indices)
        and np.array_equal(one.rates, other.rates)
        and one.noise.keys() == other.noise.keys()
        and all(np.array_equal(one.noise[name], other.noise[name]) for name in one.noise)
    )


def test_a_run_starts_from_the_parameters_of_its_seed(problem):
    x, program, _ = problem(N)
    run = prepare(x, program, replace(TRAINING, seed=3))
    assert run.complete and not run.streamed and run.state.step == 0
    for name, values in initial_params(program, 3).items():
        np.testing.assert_array_equal(run.state.params[name], values)
        assert not run.state.mean[name].any() and not run.state.variance[name].any()


@pytest.mark.parametrize("matched", [False, True])
@pytest.mark.parametrize("first", [0, 5])
def test_the_plan_goes_from_the_state_to_the_last_step(problem, monkeypatch, matched, first):
    monkeypatch.setattr("twinplate.training.plan.CHUNK_BYTES", BYTES)
    x, program, params = problem(N)
    state = replace(TrainingState.start(params), step=first)
    run = prepare(x, program, TRAINING, state=state, matched=matched)
    expected = list(chunks(program.config, TRAINING, N, matched, first))
    found = list(run.plan())
    assert len(found) == len(expected) and all(map(same, found, expected))
    assert found[0].first == first and sum(len(chunk.rates) for chunk in found) == 11 - first
    # a chunk ends at a multiple of the length, wherever the first one begins
    assert run.length == (2 if matched else 4) >= max(len(chunk.rates) for chunk in found)


def test_a_map_is_read_in_the_plan_and_its_missing_entries_are_seen(problem, mapped):
    x, program, _ = problem(N)
    x[7, 1] = np.nan
    run = prepare(mapped(x), program, TRAINING)
    assert run.streamed and not run.complete
    for chunk in run.plan():
        np.testing.assert_array_equal(chunk.x, x[chunk.indices.reshape(-1)])
    assert all(chunk.x is None for chunk in run.chunks())
    with pytest.raises(InputError, match="brings no mini-batches"):
        run.check(next(run.chunks()))


def test_what_cannot_be_used_is_refused(problem):
    x, program, _ = problem(N)
    for arguments, message in (
        ({"a": np.ones((3, N))}, "expected objective 'pairs'"),
        ({"state": TrainingState.start({"other": np.ones(1)})}, "the params of the state given"),
    ):
        with pytest.raises(InputError, match=message):
            prepare(x, program, TRAINING, **arguments)
    done = replace(TrainingState.start(initial_params(program, 0)), step=TRAINING.steps)
    with pytest.raises(
        InputError, match=f"of step {TRAINING.steps} and steps is {TRAINING.steps}; "
    ):
        prepare(x, program, TRAINING, state=done).plan()
    with pytest.raises(InputError, match="expected objective 'pairs'"):
        prepare_many(x, program, (TRAINING,), a=np.ones((3, N)))


@pytest.mark.parametrize("matched", [False, True])
@pytest.mark.parametrize("streamed", [False, True])
def test_runs_side_by_side_are_those_one_by_one(problem, mapped, monkeypatch, matched, streamed):
    """But for the length of chunks that bring numbers along, for which all share the room."""
    monkeypatch.setattr("twinplate.training.plan.CHUNK_BYTES", 2 * BYTES)
    x, program, _ = problem(N)
    x = mapped(x) if streamed else x
    trainings = restart_configs(TRAINING, (0, 7), None)
    runs = prepare_many(x, program, trainings, matched=matched)
    held = 2 if matched or streamed else 1
    length = chunk_length(program.config, TRAINING, matched, held)
    assert [run.length for run in runs] == [length, length]
    for run, training in zip(runs, trainings, strict=True):
        alone = prepare(x, program, training, matched=matched)
        assert run.training == training and run.complete
        for name, values in alone.state.params.items():
            np.testing.assert_array_equal(run.state.params[name], values)
    rows = list(plan_many(runs))
    assert [row[0].first for row in rows] == list(range(0, 11, length))
    for row in rows:
        for chunk, run in zip(row, runs, strict=True):
            assert same(chunk, next(c for c in run.chunks() if c.first == chunk.first))
            assert (chunk.x is not None) == streamed


@pytest.mark.parametrize("twin", ["numpyro"], indirect=True)
def test_data_of_many_fits_are_looked_at_once(twin, problem, monkeypatch):
    x, program, _ = problem(N)
    check, passes = preparation.check_data, []
    monkeypatch.setattr(
        preparation, "check_data", lambda *given: (passes.append(1), check(*given))[1]
    )
    twin.impl.fit_many(x, program, config(), seeds=(0, 1, 2))
    assert len(passes) == 1
