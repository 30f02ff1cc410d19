"""Values that are given to a Pyro program move with its parameters, as its own draws do."""

from __future__ import annotations

import numpy as np
import pytest
from record_numbers import numeric
from record_paths import PATHS

torch = pytest.importorskip("torch")
pyro = pytest.importorskip("pyro")

import pyro.distributions as dist  # noqa: E402
from pyro import poutine  # noqa: E402

from pyro_impl.recording.replay import replay_draws, replayed  # noqa: E402


def t(values):
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


# the distributions of the paths; each takes the parameters of its row there
FAMILIES = {
    "Normal": dist.Normal,
    "Laplace": dist.Laplace,
    "Cauchy": dist.Cauchy,
    "Gumbel": dist.Gumbel,
    "Logistic": dist.Logistic,
    "SoftLaplace": dist.SoftLaplace,
    "StudentT": lambda m, s: dist.StudentT(1.5, m, s),
    "AsymmetricLaplace": lambda m, s: dist.AsymmetricLaplace(m, s, torch.tensor(2.0)),
    "HalfNormal": dist.HalfNormal,
    "HalfCauchy": dist.HalfCauchy,
    "Exponential": dist.Exponential,
    "Uniform": dist.Uniform,
    "LogNormal": dist.LogNormal,
    "Pareto": dist.Pareto,
    "RelaxedBernoulli": lambda a: dist.RelaxedBernoulli(torch.tensor(0.6), logits=a),
    "InverseGamma": dist.InverseGamma,
    "Gamma": dist.Gamma,
    "Beta": dist.Beta,
    "Kumaraswamy": dist.Kumaraswamy,
    "Weibull": dist.Weibull,
    "Dirichlet": dist.Dirichlet,
    "MultivariateNormal": lambda m, tril: dist.MultivariateNormal(m, scale_tril=tril),
    "MultivariateNormal, covariance": dist.MultivariateNormal,
    "LowRankMultivariateNormal": dist.LowRankMultivariateNormal,
    "affine of a normal": lambda m, s: dist.TransformedDistribution(
        dist.Normal(m, s), dist.transforms.AffineTransform(1.0, 3.0)
    ),
    "wrapped": lambda m, s: (
        dist.Normal(m, s).expand([2]).mask(torch.tensor([True, False])).to_event(1)
    ),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_a_donated_value_is_exact_and_moves_with_the_parameters(name):
    family, (x, params, path) = FAMILIES[name], PATHS[name]
    params = [np.asarray(p, dtype=np.float64) for p in params]
    leaves = [t(p) for p in params]
    value = replayed(family(*leaves), torch.tensor(x, dtype=torch.float64))
    assert np.array_equal(value.detach(), x)
    found = torch.autograd.grad(value.sum(), leaves)
    expected = numeric(path(np.asarray(x), *params), *params)
    for mine, theirs in zip(found, expected, strict=True):
        mine = np.tril(mine) if name == "MultivariateNormal" and mine.ndim == 2 else mine
        np.testing.assert_allclose(mine, theirs, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("fn", "x"),
    [
        (lambda p: dist.Bernoulli(p), [1.0, 0.0]),
        (lambda p: dist.Poisson(p), [3.0, 0.0]),
        (lambda p: dist.VonMises(p, p), [0.3, 0.1]),
        (lambda p: dist.LKJCholesky(2, p[0]), [[1.0, 0.0], [0.6, 0.8]]),
        (lambda p: dist.LKJ(2, p[0]), [[1.0, 0.6], [0.6, 1.0]]),
        (lambda p: dist.Wishart(p[0] + 2, torch.eye(2).double()), [[1.0, 0.1], [0.1, 1.0]]),
        (lambda p: dist.Normal(p, 1.0).has_rsample_(False), [0.3, 0.1]),
    ],
)
def test_discrete_and_score_function_sites_are_constants(fn, x):
    p = t([0.4, 0.6])
    value = replayed(fn(p), torch.tensor(x, dtype=torch.float64))
    gradient = torch.autograd.grad(value.sum() + 0 * p.sum(), p)[0]
    assert np.array_equal(value.detach(), x)
    assert np.array_equal(gradient, [0, 0])


def test_a_discrete_value_has_the_type_that_the_site_draws():
    with replay_draws({"k": torch.tensor(1.0), "b": torch.tensor(1)}, {}):
        k = pyro.sample("k", dist.Categorical(torch.ones(3)))
        b = pyro.sample("b", dist.Bernoulli(0.5))
    assert (k.dtype, b.dtype) == (torch.int64, torch.float32)


def test_replayed_observed_and_unfitting_sites_are_left_alone():
    def model():
        pyro.sample("a", dist.Normal(0.0, 1.0))
        pyro.sample("b", dist.Normal(0.0, 1.0), obs=torch.tensor(5.0))
        pyro.sample("c", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        return pyro.sample("d", dist.Delta(torch.tensor(7.0)))

    guide = poutine.trace(lambda: pyro.sample("a", dist.Normal(9.0, 1.0))).get_trace()
    draws = {
        "a": torch.tensor(1.0),
        "b": torch.tensor(1.0),
        "c": torch.ones(3),
        "d": torch.ones(()),
    }
    with replay_draws(draws, {}):
        trace = poutine.trace(poutine.replay(model, trace=guide)).get_trace()
    values = {name: node["value"] for name, node in trace.nodes.items() if node["type"] == "sample"}
    assert values["a"] is guide.nodes["a"]["value"]
    assert (values["b"], values["d"]) == (5, 7)
    assert values["c"].shape == (2,)


@pytest.mark.parametrize("low_rank", [False, True])
def test_a_joint_latent_moves_with_its_covariance(low_rank):
    """dx = dloc + ½ dΣ Σ⁻¹ (x - loc), written with NumPy."""
    rng = np.random.default_rng(5)
    loc, x, direction = rng.normal(size=(3, 4))
    factor = (
        rng.normal(size=(4, 2)) if low_rank else np.tril(rng.normal(size=(4, 4))) + 3 * np.eye(4)
    )
    leaves = [torch.tensor(v, requires_grad=True) for v in (loc, factor)]
    if low_rank:
        fn = dist.LowRankMultivariateNormal(*leaves, torch.ones(4, dtype=torch.float64))
    else:
        fn = dist.MultivariateNormal(leaves[0], scale_tril=leaves[1])
    found = replayed(fn, torch.tensor(x), joint=True)
    np.testing.assert_array_equal(found.detach(), x)
    covariance = factor @ factor.T + low_rank * np.eye(4)
    solved = np.linalg.solve(covariance, x - loc)
    found.backward(torch.tensor(direction))
    symmetric = (np.outer(direction, solved) + np.outer(solved, direction)) / 2
    expected = symmetric @ factor
    np.testing.assert_allclose(leaves[0].grad, direction, rtol=1e-12)
    expected = expected if low_rank else np.tril(expected)
    found = leaves[1].grad if low_rank else np.tril(leaves[1].grad)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
