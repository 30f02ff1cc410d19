"""A fit that learns begins at the answer, as far as there is one, and does not leave it."""

from dataclasses import replace

import numpy as np
import pytest
from fit_cases import config
from twins import TWINS, both_twins

from twinplate.programs.config import ProgramConfig
from twinplate.programs.linear_gaussian import LinearGaussian
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


@pytest.mark.parametrize("components", [2, D + 2])
def test_with_given_loadings_the_guide_begins_at_their_posterior(twin, components):
    program, x = given_program(components, 0.5)
    params = initial_params(program, 0)
    params["encoder.out.weight"] *= 0  # the perceptron's own little
    assert 0 <= missed(twin, x, program, params) + 1e-9 < 2e-9


def test_noise_close_to_nothing_makes_no_singular_start(twin):
    """The posterior's precision is singular in double precision; its covariance is not."""
    program, x = given_program(2, 1e-9)
    guide = twin.impl.posterior(x, program, initial_params(program, 0))
    left = np.linalg.pinv(program.start.loadings / program.start.noise_scale[:, None])
    wanted = (x - program.start.intercept) / program.start.noise_scale @ left.T  # least squares
    np.testing.assert_allclose(guide.loc, wanted, rtol=1e-6, atol=1e-6)


def given_program(components, noise):
    rng, x = np.random.default_rng(0), draw()
    given = LinearGaussian(
        x.std(0)[:, None] * rng.normal(size=(D, components)),
        x.mean(0),
        noise * x.std(0),
        rng.normal(size=components),
        rng.uniform(0.5, 2.0, components),
    )
    return make_program(x, ProgramConfig(D, components, hidden_width=8), given), x


def test_given_loadings_are_trained_from_their_posterior_and_stay_there(twin):
    """Heavy tails: items by which a guide that starts at the prior ends nats behind."""
    rng = np.random.default_rng(1)
    x = rng.standard_t(1.2, (150, K)) @ rng.normal(size=(K, D)) + rng.standard_t(1.2, (150, D))
    given = LinearGaussian(rng.normal(size=(D, K)), noise_scale=0.3)
    program = make_program(x, ProgramConfig(D, K, hidden_width=8), given)
    with twin.using("float32"):
        done = twin.impl.fit(x, program, config(steps=200, batch_size=50, precision="float32"))
    assert missed(twin, x, program, done.params) < 0.1


def test_where_entries_are_missing_the_experts_begin_at_the_posterior(twin):
    x = draw(missing=0.3)
    program = program_of(x, encoder="experts")
    assert missed(twin, x, program, initial_params(program, 0)) < 0.01


@both_twins("missing", [0.0, 0.2], quick=[0.2])
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
