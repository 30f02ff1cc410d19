"""What `benchmarks/posteriors.py` says of a guide beside draws of the truth."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

COVARIANCE = np.array([[4.0, 1.2], [1.2, 1.0]])  # correlation 0.6


@pytest.fixture
def posteriors(monkeypatch, own_world):
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parents[2] / "benchmarks"), *sys.path])
    return importlib.import_module("posteriors")


def test_a_guide_is_compared_with_draws_in_units_of_their_spread(posteriors):
    rng = np.random.default_rng(0)
    draws = rng.multivariate_normal([1.0, 2.0], COVARIANCE, (40_000, 1))
    right = posteriors.compared(draws, np.array([[1.0, 2.0]]), COVARIANCE[None])
    assert right["mean_error"] < 0.02 and right["correlation_error"] < 0.02
    assert abs(right["sd_low"] - 1) < 0.02 and abs(right["sd_high"] - 1) < 0.02
    assert abs(right["strongest_correlation"] - 0.6) < 0.02
    wrong = posteriors.compared(draws, np.array([[2.0, 2.0]]), np.diag([1.0, 4.0])[None])
    assert abs(wrong["mean_error"] - 0.5) < 0.02  # one, and the standard deviation is two
    assert abs(wrong["sd_low"] - 0.5) < 0.02 and abs(wrong["sd_high"] - 2) < 0.04
    assert abs(wrong["correlation_error"] - 0.6) < 0.02


def test_ranks_tell_a_spread_that_is_too_small(posteriors):
    rng = np.random.default_rng(0)
    values, draws = rng.normal(size=(200, 2)), rng.normal(size=(99, 200, 2))
    draws[..., 1] *= 0.6
    right, wrong = posteriors.calibration(values, draws)
    assert right > 0.01 > 1e-3 > wrong


@pytest.mark.slow
def test_the_models_simulate_what_they_are(posteriors):
    """The data of a draw of the model's own latents have the moments that the simulation has."""
    import jax
    import numpyro
    from posteriors_models import MODELS

    for name, model in MODELS.items():
        n = 4000
        x, _ = model.simulate(np.random.default_rng(0), n)
        program = model.make(
            numpyro, numpyro.distributions, jax.numpy, jax.numpy.asarray, _items_first()
        )
        free = numpyro.handlers.uncondition(program)
        seeded = numpyro.handlers.seed(free, 0)
        nodes = numpyro.handlers.trace(seeded).get_trace(jax.numpy.asarray(x))
        data = [v["value"] for k, v in nodes.items() if k == "x" or k.startswith("x_")]
        drawn = np.stack([np.asarray(d).reshape(n, -1) for d in data], -1).reshape(n, -1)
        x, drawn = np.arcsinh(x), np.arcsinh(drawn)  # counts have long tails
        error = x.std(0) * np.sqrt(2 / n)
        assert (np.abs(drawn.mean(0) - x.mean(0)) < 5 * error).all(), name
        np.testing.assert_allclose(drawn.std(0), x.std(0), rtol=0.08, err_msg=name)


def _items_first():
    import numpyro_impl

    return numpyro_impl.items_first
