"""What XLA makes of the loop of a run: less of a short one, whose numbers are the same to rounding."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from numpyro_impl import fit, quick_compilation
from numpyro_impl.training.compiling import compile_options
from twinplate.programs.config import TrainingConfig
from twinplate.training.preparation import prepare
from twinplate.training.state import TrainingState

CPU = SimpleNamespace(platform="cpu")
TRAINING = TrainingConfig(steps=8, batch_size=5, device="cpu")


@pytest.fixture
def run(problem):
    x, program, params = problem(num_items=9)
    return prepare(x, program, TRAINING, state=TrainingState.start(params))


def test_a_run_is_short_by_its_parameters_items_and_steps(run, monkeypatch):
    numbers = sum(values.size for values in run.state.params.values())
    monkeypatch.setattr(quick_compilation, "STEP", 100)
    monkeypatch.setattr(quick_compilation, "SHORT", 8 * (100 + 5 * 5 * numbers) + 1)
    assert compile_options(run, 1, CPU) is quick_compilation.QUICK
    assert compile_options(run, 2, CPU) is None
    for more in ({"steps": 9}, {"batch_size": 6}, {"particles": 2}):
        longer = replace(run, training=replace(TRAINING, **more))
        assert compile_options(longer, 1, CPU) is None
    assert compile_options(run, 1, SimpleNamespace(platform="gpu")) is None


def test_the_steps_that_are_done_count(run, monkeypatch):
    """So a run that goes on has the machine code of one that was never interrupted."""
    monkeypatch.setattr(quick_compilation, "SHORT", 0)
    later = replace(run, state=replace(run.state, step=7))
    assert compile_options(later, 1, CPU) is None


def test_a_short_run_has_the_numbers_of_a_long_one_to_rounding(problem, monkeypatch):
    x, program, _ = problem(num_items=9)
    found = []
    for short in (0, np.inf):
        monkeypatch.setattr(quick_compilation, "SHORT", short)
        found.append(fit(x, program, replace(TRAINING, precision="float64")))
    np.testing.assert_allclose(found[0].losses, found[1].losses, rtol=1e-12)
    for name, values in found[0].params.items():
        np.testing.assert_allclose(values, found[1].params[name], rtol=1e-9, atol=1e-12)
