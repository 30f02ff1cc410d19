"""The automatic guide in the frameworks' ways to train: losses, particles, compiled steps, other encoders."""

from __future__ import annotations

import numpy as np
import pytest
from guide_runs import ask, first_params, loss, loss_of, train

N, D, K = 12, 3, 2
rng = np.random.default_rng(0)
Y = rng.poisson(2.0, (N, D)).astype(float)


def _counts(twin):
    """Counts with a contrast and components for each item, and a spread of all."""
    f, d = twin.framework, twin.dist
    loadings = twin.array(rng.normal(size=(D, K)) * 0.3)
    exp = twin.torch.exp if twin.name == "pyro" else twin.jax.numpy.exp

    def model(y, batch_size=None):
        spread = f.sample("spread", d.LogNormal(twin.array(0.0), 0.3))
        with f.plate("mini_batch", len(y), batch_size, dim=-1):
            y = f.subsample(y, event_dim=1)
            contrast = f.sample("contrast", d.Gamma(twin.array(5.0), 5.0))
            with f.plate("components", K, dim=-2):
                a = f.sample("a", d.Normal(twin.array(0.0), 1.0))
            first = twin.impl.items_first(a)
            rate = contrast[..., None] * exp(spread[..., None] * (first @ loadings.mT))
            f.sample("y", d.Poisson(rate).to_event(1), obs=y)

    return model


def _guide(twin, model, **given):
    given = {"encoder": lambda y: y / 4.0, **given}
    return twin.impl.AutoAmortizedNormal(model, "mini_batch", **given)


SLOW = [pytest.param(kind, marks=pytest.mark.slow) for kind in ("full", "blocks", "diagonal")]


@pytest.mark.parametrize("covariance", ["low_rank", *SLOW])
def test_it_trains_with_every_covariance(twin, covariance):
    model = _counts(twin)
    losses, params = train(
        twin, model, _guide(twin, model, covariance=covariance), 20, twin.array(Y), batch_size=5
    )
    assert np.isfinite(losses).all()
    sizes = {"full": 9, "blocks": 9, "low_rank": 12, "diagonal": 6}
    assert params["auto_head_bias"].shape == (sizes[covariance],)


@pytest.mark.parametrize("vectorize", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_particles_are_independent_draws(twin, vectorize):
    """The mean over many particles is that over many seeds."""
    model = _counts(twin)
    guide = _guide(twin, model)
    params = first_params(twin, guide, twin.array(Y))
    if twin.name == "pyro":
        many = {"num_particles": 200, "vectorize_particles": vectorize, "max_plate_nesting": 2}
    else:
        many = {"num_particles": 200, "vectorize_particles": vectorize}
    elbo = twin.framework.infer.Trace_ELBO(**many)
    found = loss(twin, model, guide, params, twin.array(Y), elbo=elbo)
    of_one = loss_of(twin, model, guide, twin.array(Y))
    single = [of_one(params, seed) for seed in range(1, 11)]
    error = np.std(single) * np.sqrt(1 / 200 + 1 / 10)
    assert abs(found - np.mean(single)) < 5 * error


def test_it_is_another_loss_than_the_stock_frameworks_only_by_its_draw(twin):
    """TraceMeanField_ELBO, sticking the landing and Renyi with one particle agree with Trace_ELBO."""
    model = _counts(twin)
    guide = _guide(twin, model, global_guide=twin.framework.infer.autoguide.AutoDelta)
    params = first_params(twin, guide, twin.array(Y))
    plain = loss(twin, model, guide, params, twin.array(Y))
    renyi = twin.framework.infer.RenyiELBO(alpha=0.5, num_particles=1)
    if twin.name == "pyro":
        renyi = twin.framework.infer.RenyiELBO(alpha=0.5, num_particles=2)
        many = [
            loss(twin, model, guide, params, twin.array(Y), elbo=renyi, seed=s) for s in range(30)
        ]
        mean = np.mean([loss(twin, model, guide, params, twin.array(Y), seed=s) for s in range(30)])
        assert np.mean(many) < mean + 1  # a bound that is no looser
    sticking = twin.impl.StickingTheLandingELBO()
    assert np.isfinite(loss(twin, model, guide, params, twin.array(Y), elbo=sticking))
    field = loss(twin, model, guide, params, twin.array(Y), elbo="TraceMeanField_ELBO")
    np.testing.assert_allclose(field, plain, rtol=1e-9)


def test_medians_and_quantiles_of_constrained_sites(twin):
    """Those of a log normal are the exponentials of its normal's."""
    model = _counts(twin)
    guide = _guide(twin, model)
    params = first_params(twin, guide, twin.array(Y))
    params["auto_head_bias"] = np.array([0.1, -0.2, 0.5, *[0.0] * 3, *[0.0] * 3])
    median = ask(twin, guide, "median", params, twin.array(Y))
    np.testing.assert_allclose(twin.numpy(median["contrast"]), np.exp(0.5) * np.ones(N))
    np.testing.assert_allclose(twin.numpy(median["a"]), np.array([[0.1], [-0.2]]) * np.ones(N))
    assert {*median} == {"spread", "contrast", "a"}
    set_of = {"pyro": ([0.1, 0.5], twin.array(Y)), "numpyro": ([0.1, 0.5], twin.array(Y))}
    quantiles = ask(twin, guide, "quantiles", params, *set_of[twin.name])
    below = np.exp(0.5 + np.log(2.0) * -1.2815515655446004)
    np.testing.assert_allclose(twin.numpy(quantiles["contrast"])[0], below, rtol=1e-6)
    np.testing.assert_allclose(twin.numpy(quantiles["a"])[1, 0], 0.1, atol=1e-12)


def test_draws_of_the_posterior_have_its_moments(twin):
    model = _counts(twin)
    guide = _guide(twin, model)
    params = first_params(twin, guide, twin.array(Y))
    params["auto_head_bias"] = np.array([0.1, -0.2, 0.5, *[0.0] * 3, 1.0, 0.0, 0.0])
    key = () if twin.name == "pyro" else (twin.jax.random.key(0),)
    from guide_runs import native, set_params

    set_params(twin, params)
    given = key if twin.name == "pyro" else (*key, native(twin, params))
    draws = guide.sample_posterior(*given, twin.array(Y), sample_shape=(400, 2))
    a = twin.numpy(draws["a"])
    assert a.shape == (400, 2, K, N)
    assert twin.numpy(draws["contrast"]).shape == (400, 2, N)
    assert twin.numpy(draws["spread"]).shape[:2] == (400, 2)
    pooled = a.transpose(2, 0, 1, 3).reshape(K, -1)
    s = np.log(2.0)
    expected = np.array([[s * s, s], [s, 1 + s * s]])
    np.testing.assert_allclose(np.cov(pooled), expected, atol=0.1)
