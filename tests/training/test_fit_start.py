"""A fit that learns begins at the answer, as far as there is one, and does not leave it."""

from dataclasses import replace

import numpy as np
import pytest
from fit_cases import config
from twins import TWINS

from twinplate.programs.config import ProgramConfig
from twinplate.programs.parameters import generative_of, initial_params
from twinplate.programs.program import make_program

D, K = 6, 2
FULL = [("auxiliary", "full"), ("event", "full"), ("diagonal", "diagonal"), ("event", "low-rank")]


def draw(num_items=120, noise=0.02, missing=0.0):
    rng = np.random.default_rng(3)
    x = rng.normal(size=(num_items, K)) @ rng.normal(size=(K, D))
    x = (x + noise * rng.normal(size=x.shape)) * 10.0 ** rng.uniform(-4, 4, D) + 5.0
    x[rng.random(x.shape) < missing] = np.nan
    return x


def program_of(x, **changes):
    return make_program(x, ProgramConfig(D, K, hidden_width=8, **changes))


def missed(twin, x, program, params):
    """KL(guide ‖ exact posterior), mean over items."""
    guide = twin.impl.posterior(x, program, params)
    return generative_of(program, params).kl_to_posterior(x, guide).mean()


@pytest.mark.parametrize(("guide", "covariance"), FULL)
def test_of_complete_data_the_guide_begins_at_the_posterior(twin, guide, covariance):
    """Whatever its family: the start has a diagonal posterior. The perceptron and a factor add a little."""
    x = draw()
    program = program_of(x, guide=guide, covariance=covariance)
    assert missed(twin, x, program, initial_params(program, 0)) < 0.05


def test_where_entries_are_missing_the_experts_begin_at_the_posterior(twin):
    x = draw(missing=0.3)
    program = program_of(x, encoder="experts")
    assert missed(twin, x, program, initial_params(program, 0)) < 0.01


@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_training_stays_at_maximum_likelihood(twin, missing):
    """At a noise of 2 % of the signal, where steps of the size of the spread would leave it by nats."""
    x = draw(missing=missing)
    program = program_of(x, encoder="experts" if missing else "mlp")
    with twin.using("float32"):
        done = twin.impl.fit(x, program, config(steps=200, batch_size=120, precision="float32"))
    before = program.start.log_evidence(x).mean()
    assert generative_of(program, done.params).log_evidence(x).mean() > before - 0.01
    assert missed(twin, x, program, done.params) < 0.1


@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_both_twins_begin_and_go_on_alike(missing):
    x = draw(40, missing=missing)
    program = program_of(x, encoder="experts" if missing else "mlp")
    one, other = (
        twin.impl.fit(x, program, config(steps=5, batch_size=20), matched=True)
        for twin in (TWINS["pyro"](), TWINS["numpyro"]())
    )
    assert np.max(np.abs(one.losses / other.losses - 1)) < 1e-12
    for name, values in one.params.items():
        scale = np.abs(other.params[name]).max() + 1e-9
        assert np.max(np.abs(values - other.params[name])) < 1e-11 * scale, name


def test_a_far_outlier_leaves_the_perceptron_where_it_is(twin):
    """Guide and posterior agree on an item a thousand spreads away, as on any other."""
    x = draw()
    program = program_of(x)
    params = initial_params(program, 0)
    far = program.center + 1000 * program.spread * np.sign(program.start.loadings[:, 0])
    usual = replace(program, width=None)
    assert missed(twin, far[None], program, params) < 1.0
    assert missed(twin, far[None], usual, initial_params(usual, 0)) > 100


def test_a_mini_batch_larger_than_the_data_is_the_data(twin):
    x = draw(30, noise=0.5)
    program = program_of(x)
    small, large = (
        twin.impl.fit(x, program, config(steps=3, batch_size=size)).losses for size in (30, 500)
    )
    np.testing.assert_array_equal(small, large)
