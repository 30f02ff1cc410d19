"""Training on pairs of latents and data: simulated by the model, or given."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import scipy.stats
from fit_cases import ALL, PROGRAMS, N, config, linear_gaussian
from twins import both_twins

from twinplate import initial_params
from twinplate.programs.parameters import generative_of, prior_noise_shapes
from twinplate.seeds import base_noise, batch_indices


@both_twins(
    "guide, missing",
    product(["event", "auxiliary"], [0.0, 0.3]),
    quick=[("event", 0.3), ("auxiliary", 0.0)],
)
def test_simulated_pairs_bring_the_guide_to_the_posterior(twin, guide, missing):
    x, program = linear_gaussian(guide=guide, encoder="experts" if missing else "mlp")
    x[np.random.default_rng(2).random(x.shape) < missing] = np.nan
    training = config(
        steps=500, batch_size=128, learning_rate=0.03, objective="simulated", precision="float32"
    )
    kl = lambda params: program.start.kl_to_posterior(x, twin.impl.posterior(x, program, params))
    before = kl(initial_params(program, 0)).mean()
    after = kl(twin.impl.fit(x, program, training).params).mean()
    assert before > 1.0 and after < 0.02 * before


def test_given_pairs_teach_what_they_hold(twin):
    """Pairs of which `a` is not a draw of the model but a constant: the guide learns that constant."""
    x, program = linear_gaussian()
    a = np.array([[2.0], [-1.0]]) + 0.3 * np.random.default_rng(0).standard_normal((2, len(x)))
    training = config(steps=500, batch_size=128, learning_rate=0.03, objective="pairs")
    done = twin.impl.fit(x, program, training, a=a)
    found = twin.impl.posterior(x, program, done.params)
    np.testing.assert_allclose(found.loc.mean(0), [2.0, -1.0], atol=0.05)
    np.testing.assert_allclose(found.covariance.mean(0), 0.09 * np.eye(2), atol=0.03)


def scores(posterior, a):
    """log q(a | x) of every item by SciPy; `a` (K, N)."""
    rows = zip(a.T, posterior.loc, posterior.covariance, strict=True)
    return np.array([scipy.stats.multivariate_normal.logpdf(*row) for row in rows])


@both_twins(
    "program_name",
    ["diagonal", "event full", "auxiliary low-rank", "experts", "learned, amplitude"],
    quick=["auxiliary low-rank", "learned, amplitude"],
)
def test_the_loss_on_given_pairs_is_minus_log_q_times_n_over_b(twin, problem, program_name):
    """With an amplitude too: it is a latent that is not given, so it is not scored."""
    x, program, params = problem(5, missing=0.2, **PROGRAMS[program_name])
    a = np.random.default_rng(0).normal(size=(3, 5))
    loss = twin.loss(program, params, config(objective="pairs"), 40, x, a)
    expected = -40 / 5 * scores(twin.impl.posterior(x, program, params), a).sum()
    assert loss == pytest.approx(expected, rel=1e-11)


def test_every_item_keeps_its_own_pair(twin, problem):
    """The first loss of `fit` on the mini-batch that `batch_indices` names."""
    x, program, _ = problem(N)
    a = np.random.default_rng(0).normal(size=(3, N))
    done = twin.impl.fit(x, program, config(steps=1, objective="pairs"), a=a)
    items = batch_indices(0, 0, 1, N, 5)[0]
    posterior = twin.impl.posterior(x[items], program, initial_params(program, 0))
    assert done.losses[0] == pytest.approx(-scores(posterior, a[:, items]).mean(), rel=1e-11)


@both_twins(
    "guide, amplitude_scale",
    product(["diagonal", "event", "auxiliary"], [None, 0.4]),
    quick=[("diagonal", None), ("event", None), ("auxiliary", 0.4)],
)
def test_the_loss_on_simulated_pairs_is_minus_log_q_of_all_that_was_drawn(
    twin, problem, guide, amplitude_scale
):
    """Amplitude included. Simulation in NumPy from the same base noise; hidden where x is hidden."""
    x, program, params = problem(
        5, missing=0.3, guide=guide, amplitude_scale=amplitude_scale, learned=ALL
    )
    noise = base_noise(0, 0, prior_noise_shapes(program.config, 5))
    loss = twin.loss(program, params, config(objective="simulated"), 40, x, noise=noise)

    model = generative_of(program, params)
    a = noise["a"][0] if guide == "event" else noise["a"][0].T  # (B, K)
    a = model.loc + model.scale * a
    amplitude = np.exp(amplitude_scale * noise["amplitude"][0]) if amplitude_scale else np.ones(5)
    drawn = amplitude[:, None] * (a @ model.loadings.T) + model.intercept
    drawn = np.where(np.isnan(x), np.nan, drawn + model.noise_scale * noise["x"][0])
    expected = scores(twin.impl.posterior(drawn, program, params), a.T).sum()
    if amplitude_scale:
        q = twin.encode(program, params, drawn)
        lognormal = scipy.stats.lognorm(q["amplitude_scale"], scale=np.exp(q["amplitude_loc"]))
        expected += lognormal.logpdf(amplitude).sum()
    assert loss == pytest.approx(-40 / 5 * expected, rel=1e-10)


def test_simulated_pairs_teach_the_guide_and_not_the_model(twin, problem):
    """-Σ log q says nothing about the model's own parameters: they stay where they were."""
    x, program, _ = problem(N, learned=ALL)
    done = twin.impl.fit(x, program, config(steps=20, objective="simulated"))
    for name, values in initial_params(program, 0).items():
        assert np.array_equal(values, done.params[name]) == name.startswith("raw_"), name


def test_where_the_loss_says_nothing_the_moments_fade(twin, problem):
    """No gradient is a gradient of zero: the model's own parameters move on by what is left in Adam."""
    x, program, _ = problem(N, learned=ALL)
    before = twin.impl.fit(x, program, config(steps=3)).state
    after = twin.impl.fit(x, program, config(steps=4, objective="simulated"), state=before).state
    for name in [name for name in before.params if name.startswith("raw_")]:
        for part, rate in (("mean", 0.9), ("variance", 0.999)):
            old, new = getattr(before, part)[name], getattr(after, part)[name]
            assert (old != 0).any()
            np.testing.assert_allclose(new, rate * old, rtol=1e-12, err_msg=f"{part} {name}")
        assert not np.array_equal(before.params[name], after.params[name])
