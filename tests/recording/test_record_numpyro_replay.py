"""Values that are given to a NumPyro program move with its parameters, as its own draws do."""

from __future__ import annotations

import numpy as np
import pytest
from record_numbers import numeric
from record_paths import PATHS

jax = pytest.importorskip("jax")
numpyro = pytest.importorskip("numpyro")

import jax.numpy as jnp  # noqa: E402
import numpyro.distributions as dist  # noqa: E402
from numpyro import handlers  # noqa: E402

from numpyro_impl.recording.replay import replay_draws, replayed  # noqa: E402

# the distributions of the paths; each takes the parameters of its row there
FAMILIES = {
    "Normal": dist.Normal,
    "Laplace": dist.Laplace,
    "Cauchy": dist.Cauchy,
    "Gumbel": dist.Gumbel,
    "Logistic": dist.Logistic,
    "SoftLaplace": dist.SoftLaplace,
    "StudentT": lambda m, s: dist.StudentT(1.5, m, s),
    "AsymmetricLaplace": lambda m, s: dist.AsymmetricLaplace(m, s, 2.0),
    "HalfNormal": dist.HalfNormal,
    "HalfCauchy": dist.HalfCauchy,
    "Exponential": dist.Exponential,
    "Uniform": dist.Uniform,
    "LogNormal": dist.LogNormal,
    "Pareto": dist.Pareto,
    "RelaxedBernoulli": lambda a: dist.RelaxedBernoulli(jnp.array(0.6), logits=a),
    "InverseGamma": dist.InverseGamma,
    "Gamma": dist.Gamma,
    "Beta": dist.Beta,
    "Weibull": dist.Weibull,
    "Dirichlet": dist.Dirichlet,
    "MultivariateNormal": lambda m, tril: dist.MultivariateNormal(m, scale_tril=tril),
    "MultivariateNormal, covariance": dist.MultivariateNormal,
    "LowRankMultivariateNormal": dist.LowRankMultivariateNormal,
    "affine of a normal": lambda m, s: dist.TransformedDistribution(
        dist.Normal(m, s), dist.transforms.AffineTransform(1.0, 3.0)
    ),
    "wrapped": lambda m, s: (
        dist.Normal(m, s).expand([2]).mask(jnp.array([True, False])).to_event(1)
    ),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_a_donated_value_is_exact_and_moves_with_the_parameters(name, x64):
    family, (x, params, path) = FAMILIES[name], PATHS[name]
    params = [np.asarray(p, dtype=np.float64) for p in params]

    weights = np.arange(1, np.size(x) + 1)  # the sum over a simplex is constant

    def total(leaves):
        value = replayed(family(*leaves), jnp.asarray(x))
        return (weights * value).sum(), value

    (_, value), found = jax.value_and_grad(total, has_aux=True)([jnp.asarray(p) for p in params])
    assert np.array_equal(value, x)
    moved = path(np.asarray(x), *params)
    expected = numeric(lambda *at: weights * moved(*at), *params)
    for mine, theirs in zip(found, expected, strict=True):
        mine = np.tril(mine) if name == "MultivariateNormal" and mine.ndim == 2 else mine
        np.testing.assert_allclose(mine, theirs, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("fn", "x"),
    [
        (lambda p: dist.Bernoulli(p), [1, 0]),
        (lambda p: dist.Poisson(p), [3, 0]),
        (lambda p: dist.VonMises(p, p), [0.3, 0.1]),
        (lambda p: dist.LKJCholesky(2, p[0]), [[1.0, 0.0], [0.6, 0.8]]),
        (lambda p: dist.LKJ(2, p[0]), [[1.0, 0.6], [0.6, 1.0]]),
        (lambda p: dist.Wishart(p[0] + 2, jnp.eye(2)), [[1.0, 0.1], [0.1, 1.0]]),
    ],
)
def test_discrete_and_score_function_sites_are_constants(fn, x, x64):
    p = jnp.array([0.4, 0.6])
    value, gradient = jax.value_and_grad(lambda p: 1.0 * replayed(fn(p), jnp.array(x)).sum())(p)
    assert np.isclose(value, np.sum(x), rtol=1e-15)
    assert np.array_equal(gradient, [0, 0])


def test_a_value_without_a_finite_variance_is_a_constant(x64):
    def total(loc):
        fn = dist.MultivariateStudentT(1.5, loc, jnp.eye(2))
        return replayed(fn, jnp.array([0.3, 0.1])).sum()

    assert np.array_equal(jax.grad(total)(jnp.zeros(2)), [0, 0])


def test_a_discrete_value_has_the_type_that_the_site_draws():
    with replay_draws({"k": jnp.array(1), "g": jnp.array(1)}, {}), handlers.seed(rng_seed=0):
        k = numpyro.sample("k", dist.Categorical(jnp.ones(3) / 3))
        g = numpyro.sample("g", dist.Normal(0.0, 1.0))
    assert (k.dtype, g.dtype) == (jnp.int32, jnp.float32)


def test_replayed_observed_and_unfitting_sites_are_left_alone():
    def model():
        numpyro.sample("a", dist.Normal(0.0, 1.0))
        numpyro.sample("b", dist.Normal(0.0, 1.0), obs=5.0)
        numpyro.sample("c", dist.Normal(jnp.zeros(2), 1.0).to_event(1))
        numpyro.sample("d", dist.Delta(7.0))

    guide = handlers.trace(handlers.seed(model, 1)).get_trace()
    draws = {name: jnp.ones(()) for name in "abd"} | {"c": jnp.ones(3)}
    with replay_draws(draws, {}):
        replayed = handlers.replay(handlers.seed(model, 0), {"a": guide["a"]})
        trace = handlers.trace(replayed).get_trace()
    assert trace["a"]["value"] is guide["a"]["value"]
    assert (trace["b"]["value"], trace["d"]["value"]) == (5, 7)
    assert trace["c"]["value"].shape == (2,)
    assert not np.array_equal(trace["c"]["value"], np.ones(2))


@pytest.mark.parametrize("low_rank", [False, True])
def test_a_joint_latent_moves_with_its_covariance(low_rank, x64):
    """dx = dloc + ½ dΣ Σ⁻¹ (x - loc), written with NumPy."""
    rng = np.random.default_rng(5)
    loc, x, direction = rng.normal(size=(3, 4))
    factor = (
        rng.normal(size=(4, 2)) if low_rank else np.tril(rng.normal(size=(4, 4))) + 3 * np.eye(4)
    )

    def drawn(loc, factor):
        if low_rank:
            fn = dist.LowRankMultivariateNormal(loc, factor, jnp.ones(4))
        else:
            fn = dist.MultivariateNormal(loc, scale_tril=factor)
        return replayed(fn, jnp.asarray(x), joint=True)

    covariance = factor @ factor.T + low_rank * np.eye(4)
    change = rng.normal(size=factor.shape) if low_rank else np.tril(rng.normal(size=(4, 4)))
    moved = change @ factor.T + factor @ change.T
    expected = direction + moved @ np.linalg.solve(covariance, x - loc) / 2
    found, tangent = jax.jvp(drawn, (loc, factor), (direction, change))
    np.testing.assert_array_equal(found, x)
    np.testing.assert_allclose(tangent, expected, rtol=1e-12)
