"""Stopped at the end of every chunk, kept on disk, gone on with: the run never stopped, to the bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fit_cases import PROGRAMS, N, assert_same_fit, config

import pyro_impl
from twinplate import Fit, TrainingInterrupted
from twinplate.training import plan
from twinplate.training.run_directory import load_run, save_run
from twinplate.training.run_format import SavedRun
from twinplate.training.state import TrainingState

ENDS = [7, 14, 20, 21, 24]  # of chunks; the estimator changes at step 20


@pytest.fixture(autouse=True)
def chunks_of_seven(monkeypatch):
    monkeypatch.setattr(plan, "CHUNK", 7)
    monkeypatch.setattr(plan, "WARM", 5)


def saved(path: Path, program, training, state: TrainingState, losses, notes) -> SavedRun:
    """The run in `path`, as another process would find it."""
    config = {"program": program.config.as_dict(), "training": training.as_dict()}
    run = SavedRun.of_state(state, config, {}, {}, program, losses, notes)
    save_run(path, run)
    return load_run(path)


def in_pieces(fit, x, program, training, folder: Path, **options) -> tuple[Fit, list[int]]:
    """A fit by as many processes as it has chunks; and where it was stopped."""
    state, losses, notes, stops = None, np.zeros(0), (), []

    def stop(done, found):
        raise KeyboardInterrupt

    while True:
        try:
            fit(x, program, training, state=state, progress=stop, **options)
        except TrainingInterrupted as interrupt:
            found = interrupt.fit
        losses, notes = np.concatenate([losses, found.losses]), (*notes, *found.notes)
        stops.append(found.state.step)
        path = folder / str(len(stops))
        run = saved(path, program, training, found.state, losses, notes)
        program, training, state, losses = run.program, run.training, run.state, run.losses
        if run.is_finished:
            return Fit(state, losses, notes=run.notes), stops


def check_pieces(fit, problem, tmp_path, precision, mapped, **options):
    """Cut gradients, average, mini-batches, noise, compiled steps and two estimators included."""
    x, program, _ = problem(N, missing=0.2, **PROGRAMS["learned, amplitude"])
    x[3] *= 30  # whose gradient is cut
    if mapped:
        np.save(tmp_path / "x.npy", x)
        x = np.load(tmp_path / "x.npy", mmap_mode="r")
    training = config(
        steps=24, precision=precision, estimator="sticking-the-landing", learning_rate=0.1
    )
    whole = fit(x, program, training, **options)
    pieces, stops = in_pieces(fit, x, program, training, tmp_path, **options)
    assert stops == ENDS
    assert_same_fit(pieces, whole)
    assert pieces.state.limits == whole.state.limits
    assert np.ptp(whole.losses) > 1


# In memory and single precision: by default in test_fit_again.py.
@pytest.mark.parametrize(
    ("precision", "mapped", "matched"),
    [
        ("float64", True, True),
        pytest.param("float32", False, False, marks=pytest.mark.slow),
        pytest.param("float32", True, False, marks=pytest.mark.slow),
    ],
)
def test_a_run_in_pieces_is_the_run_never_stopped(
    twin, problem, tmp_path, precision, mapped, matched
):
    check_pieces(twin.impl.fit, problem, tmp_path, precision, mapped, matched=matched)


def test_so_it_is_with_steps_of_pyros_own(problem, own_world, tmp_path):
    check_pieces(pyro_impl.fit, problem, tmp_path, "float64", False, compiled=False)


@pytest.mark.parametrize("first", [pytest.param(True, marks=pytest.mark.slow), 11])
def test_so_it_is_with_machine_code(problem, own_world, interpreted, tmp_path, first):
    """The steps that are recorded and compared are others in every piece, and do not show."""
    check_pieces(pyro_impl.fit, problem, tmp_path, "float64", False, machine_code=first)


@pytest.mark.slow
def test_so_it_is_with_compiled_machine_code(problem, own_world, tmp_path):
    check_pieces(pyro_impl.fit, problem, tmp_path, "float32", False, machine_code=True)


def test_more_steps_go_on_with_the_cosine_of_all_of_them(twin, problem):
    """The state of 14 of 14 steps, on to 24: the rates are those of steps 14, 15, … of 24."""
    x, program, _ = problem(N)
    done = twin.impl.fit(x, program, config(steps=14))
    on = twin.impl.fit(x, program, config(steps=24), state=done.state)
    trainer = twin.impl.Trainer(x, program, config(steps=24), state=done.state)
    rates = np.concatenate([chunk.rates for chunk in trainer.plan()])
    np.testing.assert_allclose(rates, 0.005 * (1 + np.cos(np.pi * np.arange(14, 24) / 24)))
    assert on.state.step == 24 and len(on.losses) == 10


@pytest.mark.parametrize("most", [1, 3, 7, 100])
@pytest.mark.parametrize("first", [0, 5, 20, 23])
def test_where_chunks_end_does_not_depend_on_where_the_first_begins(problem, most, first):
    training = replace(config(steps=24), estimator="sticking-the-landing")
    ends = {start + length for start, length, _ in plan._spans(training, 0, most)}
    found = list(plan._spans(training, first, most))
    assert {start + length for start, length, _ in found} == {end for end in ends if end > first}
    assert found[0][0] == first and sum(length for _, length, _ in found) == 24 - first
