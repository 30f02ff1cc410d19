"""Pyro's side of a record: what a session reports, against closed forms, SciPy and torch itself."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.special import beta, expit, logsumexp

torch = pytest.importorskip("torch")
pyro = pytest.importorskip("pyro")

import pyro.distributions as dist  # noqa: E402
from pyro import poutine  # noqa: E402
from pyro.infer import autoguide, config_enumerate  # noqa: E402
from pyro.nn import PyroModule, PyroParam, PyroSample  # noqa: E402
from torch import nn  # noqa: E402
from torch.distributions import constraints  # noqa: E402

from pyro_impl.charts import full_name_of, name_of  # noqa: E402
from pyro_impl.operations import Operations  # noqa: E402
from pyro_impl.program import Program  # noqa: E402
from pyro_impl.reattach import donate, reattached  # noqa: E402
from pyro_impl.sites import arguments  # noqa: E402
from twinplate.errors import InputError  # noqa: E402
from twinplate.evaluation import Plate  # noqa: E402
from twinplate.record import Given, Settings  # noqa: E402

NORMAL = stats.norm.logpdf
X = np.array([0.3, -1.2, 2.0])


def t(values):
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


# -- donating and re-attaching ------------------------------------------------------------------------


def numeric(path, *params, step=1e-6):
    """Central differences of `path(*params).sum()` in every entry of every parameter."""
    gradients = []
    for i, param in enumerate(params):
        gradient = np.zeros_like(param)
        for index in np.ndindex(param.shape):
            ends = []
            for sign in (1, -1):
                moved = [p.copy() for p in params]
                moved[i][index] += sign * step
                ends.append(np.sum(path(*moved)))
            gradient[index] = (ends[0] - ends[1]) / (2 * step)
        gradients.append(gradient)
    return gradients


def on_simplex(x):
    return x / x.sum()


def moments(family):
    """Path through mean and standard deviation, from SciPy's."""

    def path_of(x, *params):
        at = family(*params)
        z = (x - at.mean()) / at.std()
        return lambda *moved: family(*moved).mean() + family(*moved).std() * z

    return path_of


def fixed_noise(noise, value):
    """Path `value(noise, *params)` with the noise that gives x."""
    return lambda x, *params: lambda *moved: value(noise(x, *params), *moved)


def tril_noise(x, loc, tril):
    return np.linalg.solve(np.tril(tril), x - loc)


def low_rank(factor, diagonal):
    return np.linalg.cholesky(factor @ factor.T + np.diag(diagonal))


class Kumaraswamy:
    def __init__(self, a, b):
        self.first, self.second = (b * beta(1 + n / a, b) for n in (1, 2))

    def mean(self):
        return self.first

    def std(self):
        return np.sqrt(self.second - self.first**2)


LOCATION_SCALE = fixed_noise(lambda x, m, s: (x - m) / s, lambda e, m, s: m + s * e)
SCALE = fixed_noise(lambda x, s: x / s, lambda e, s: s * e)
VECTOR = np.array([0.4, -1.0])
TRIL = np.array([[1.3, 0.0], [0.5, 0.7]])
FACTOR = np.array([[0.5], [-0.8]])

# distribution, value, its parameters, and the path that is expected (x, *params) -> (*moved) -> x
PATHS = {
    "Normal": (dist.Normal, 0.7, (0.2, 1.5), LOCATION_SCALE),
    "Laplace": (dist.Laplace, -0.7, (0.2, 1.5), LOCATION_SCALE),
    "Cauchy": (dist.Cauchy, 30.0, (0.2, 1.5), LOCATION_SCALE),
    "Gumbel": (dist.Gumbel, 2.0, (0.2, 1.5), LOCATION_SCALE),
    "Logistic": (dist.Logistic, 2.0, (0.2, 1.5), LOCATION_SCALE),
    "SoftLaplace": (dist.SoftLaplace, 2.0, (0.2, 1.5), LOCATION_SCALE),
    "StudentT": (lambda m, s: dist.StudentT(1.5, m, s), 2.0, (0.2, 1.5), LOCATION_SCALE),
    "AsymmetricLaplace": (
        lambda m, s: dist.AsymmetricLaplace(m, s, torch.tensor(2.0)), 2.0, (0.2, 1.5), LOCATION_SCALE
    ),
    "HalfNormal": (dist.HalfNormal, 0.7, (1.5,), SCALE),
    "HalfCauchy": (dist.HalfCauchy, 7.0, (1.5,), SCALE),
    "Exponential": (
        dist.Exponential, 0.7, (1.5,), fixed_noise(lambda x, r: x * r, lambda e, r: e / r)
    ),
    "Uniform": (
        dist.Uniform, 0.7, (0.2, 1.5),
        fixed_noise(lambda x, a, b: (x - a) / (b - a), lambda u, a, b: a + (b - a) * u),
    ),
    "LogNormal": (
        dist.LogNormal, 0.7, (0.2, 1.5),
        fixed_noise(lambda x, m, s: (np.log(x) - m) / s, lambda e, m, s: np.exp(m + s * e)),
    ),
    "Pareto": (
        dist.Pareto, 2.7, (1.5, 2.5),
        fixed_noise(lambda x, s, a: a * np.log(x / s), lambda e, s, a: s * np.exp(e / a)),
    ),
    "RelaxedBernoulli": (
        lambda a: dist.RelaxedBernoulli(torch.tensor(0.6), logits=a), 0.8, (0.4,),
        fixed_noise(lambda x, a: 0.6 * np.log(x / (1 - x)) - a, lambda e, a: expit((a + e) / 0.6)),
    ),
    "InverseGamma": (
        dist.InverseGamma, 0.7, (1.5, 2.5),
        lambda x, *p: (lambda *q: 1 / moments(lambda a, b: stats.gamma(a, scale=1 / b))(1 / x, *p)(*q)),
    ),
    "Gamma": (dist.Gamma, 0.7, (1.5, 2.5), moments(lambda a, b: stats.gamma(a, scale=1 / b))),
    "Beta": (dist.Beta, 0.7, (1.5, 2.5), moments(stats.beta)),
    "Kumaraswamy": (dist.Kumaraswamy, 0.7, (1.5, 2.5), moments(Kumaraswamy)),
    "Weibull": (
        dist.Weibull, 0.7, (1.5, 2.5), moments(lambda s, c: stats.weibull_min(c, scale=s))
    ),
    "Dirichlet": (
        dist.Dirichlet, np.array([0.5, 0.3, 0.2]), (np.array([1.0, 2.0, 3.0]),),
        lambda x, *p: (lambda *q: on_simplex(moments(lambda a: stats.beta(a, a.sum() - a))(x, *p)(*q))),
    ),
    "MultivariateNormal": (
        lambda m, tril: dist.MultivariateNormal(m, scale_tril=tril), np.array([1.0, 2.0]), (VECTOR, TRIL),
        fixed_noise(tril_noise, lambda e, m, tril: m + np.tril(tril) @ e),
    ),
    "MultivariateNormal, covariance": (
        dist.MultivariateNormal, np.array([1.0, 2.0]), (VECTOR, TRIL @ TRIL.T),
        fixed_noise(
            lambda x, m, c: np.linalg.solve(np.linalg.cholesky(c), x - m),
            lambda e, m, c: m + np.linalg.cholesky((c + c.T) / 2) @ e,
        ),
    ),
    "LowRankMultivariateNormal": (
        dist.LowRankMultivariateNormal, np.array([1.0, 2.0]), (VECTOR, FACTOR, np.array([0.3, 0.9])),
        fixed_noise(
            lambda x, m, w, d: np.linalg.solve(low_rank(w, d), x - m),
            lambda e, m, w, d: m + low_rank(w, d) @ e,
        ),
    ),
    "affine of a normal": (
        lambda m, s: dist.TransformedDistribution(
            dist.Normal(m, s), dist.transforms.AffineTransform(1.0, 3.0)
        ),
        0.7, (0.2, 1.5),
        fixed_noise(lambda x, m, s: ((x - 1) / 3 - m) / s, lambda e, m, s: 1 + 3 * (m + s * e)),
    ),
    "wrapped": (
        lambda m, s: dist.Normal(m, s).expand([2]).mask(torch.tensor([True, False])).to_event(1),
        np.array([0.7, 3.0]), (0.2, 1.5), LOCATION_SCALE,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PATHS)
def test_a_donated_value_is_exact_and_moves_with_the_parameters(name):
    family, x, params, path = PATHS[name]
    params = [np.asarray(p, dtype=np.float64) for p in params]
    leaves = [t(p) for p in params]
    value = reattached(family(*leaves), torch.tensor(x, dtype=torch.float64))
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
    value = reattached(fn(p), torch.tensor(x, dtype=torch.float64))
    gradient = torch.autograd.grad(value.sum() + 0 * p.sum(), p)[0]
    assert np.array_equal(value.detach(), x)
    assert np.array_equal(gradient, [0, 0])


def test_a_discrete_value_has_the_type_that_the_site_draws():
    with donate({"k": torch.tensor(1.0), "b": torch.tensor(1)}, {}):
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
    with donate(draws, {}):
        trace = poutine.trace(poutine.replay(model, trace=guide)).get_trace()
    values = {name: node["value"] for name, node in trace.nodes.items() if node["type"] == "sample"}
    assert values["a"] is guide.nodes["a"]["value"]
    assert (values["b"], values["d"]) == (5, 7)
    assert values["c"].shape == (2,)


# -- sites --------------------------------------------------------------------------------------------


def session(model, guide=None, precision="float64", **settings):
    return Program(model, guide).session(precision, Settings(**settings))


def sampled(model, *args, guide=None, **settings):
    run = session(model, guide, **settings).sample(1, Given(), args, {})
    assert run.failure is None, run.failure
    return run


def ran(model, given, *args, guide=None, precision="float64", **settings):
    run = session(model, guide, precision, **settings).run(given, args, {})
    assert run.failure is None, run.failure
    return run


def test_every_kind_of_site():
    def model(x):
        pyro.sample("latent", dist.Normal(0.0, 1.0))
        pyro.sample("auxiliary", dist.Normal(0.0, 1.0), infer={"is_auxiliary": True})
        pyro.sample("observed", dist.Normal(x, 2.0).to_event(1), obs=x)
        with poutine.scale(scale=3.0):
            pyro.deterministic("deterministic", 2 * x)
        pyro.factor("factor", -x)
        with pyro.plate("data", 3):
            masked = torch.tensor([True, False, True])
            pyro.sample("split", dist.Normal(0.0, 1.0), obs=x, obs_mask=masked)

    sites = sampled(model, X).model
    assert {name: site.kind for name, site in sites.items()} == {
        "latent": "latent",
        "auxiliary": "auxiliary",
        "observed": "observed",
        "deterministic": "deterministic",
        "factor": "factor",
        "split_observed": "observed",
        "split_unobserved": "latent",
        "split": "deterministic",
    }
    np.testing.assert_array_equal(sites["deterministic"].value, [2 * X])
    assert (sites["deterministic"].batch_shape, sites["deterministic"].event_shape) == ((), (3,))
    np.testing.assert_array_equal(sites["deterministic"].log_prob, [0])
    assert sites["deterministic"].scale == 1
    np.testing.assert_allclose(sites["factor"].log_prob, [-X])
    assert sites["factor"].value.shape == (1, 3, 0)
    np.testing.assert_allclose(sites["observed"].log_prob, [-3 * np.log(2 * np.sqrt(2 * np.pi))])
    assert sites["observed"].event_shape == (3,)
    expected = np.where([True, False, True], NORMAL(X), 0)
    np.testing.assert_allclose(sites["split_observed"].log_prob, [expected])
    np.testing.assert_array_equal(sites["split_unobserved"].mask, [[False, True, False]])


def test_plates_scale_and_broadcasting():
    def model(x):
        with pyro.plate("rows", 2, dim=-2):
            pyro.sample("a", dist.Normal(0.0, 1.0))
            with pyro.plate("columns", 3, dim=-1), poutine.scale(scale=0.5):
                pyro.sample("b", dist.Normal(0.0, 1.0), obs=x)
        with pyro.plate("half", 8, subsample_size=4):
            pyro.sample("c", dist.Normal(0.0, 1.0))
        for i in pyro.plate("steps", 2):
            pyro.sample(f"d{i}", dist.Normal(0.0, 1.0))

    sites = sampled(model, X).model
    rows, columns = Plate("rows", -2, 2, 2), Plate("columns", -1, 3, 3)
    assert (sites["a"].plates, sites["a"].batch_shape) == ((rows,), (2, 1))
    assert (sites["b"].plates, sites["b"].batch_shape) == ((rows, columns), (2, 3))
    assert (sites["b"].scale, sites["c"].scale) == (0.5, 2.0)
    assert sites["c"].plates == (Plate("half", -1, 8, 4),)
    assert sites["d1"].plates == ()
    np.testing.assert_allclose(sites["b"].log_prob, np.tile(NORMAL(X), (1, 2, 1)))
    np.testing.assert_array_equal(sites["b"].value, np.tile(X, (1, 2, 1)))


def test_masks_of_handlers_and_distributions():
    mask = torch.tensor([True, False, True])

    def model(x):
        with pyro.plate("data", 3), poutine.mask(mask=mask):
            pyro.sample("a", dist.Normal(0.0, 1.0), obs=x)
        with pyro.plate("other", 3):
            pyro.sample("b", dist.Normal(0.0, 1.0).mask(mask), obs=x)
        pyro.sample("c", dist.Normal(torch.zeros(3), 1.0).mask(mask).to_event(1), obs=x)

    sites = sampled(model, X).model
    for name in "ab":
        np.testing.assert_array_equal(sites[name].mask, [[True, False, True]])
        np.testing.assert_allclose(sites[name].log_prob, [np.where(mask, NORMAL(X), 0)])
    assert sites["c"].mask is None
    np.testing.assert_allclose(sites["c"].log_prob, [NORMAL(X[[0, 2]]).sum()])


def test_a_scale_that_is_no_number_is_an_input_error():
    def model(x):
        with pyro.plate("data", 3), poutine.scale(scale=torch.tensor([1.0, 2.0, 3.0])):
            pyro.sample("a", dist.Normal(0.0, 1.0), obs=x)

    with pytest.raises(InputError, match=r"site 'a'.*must be a number"):
        session(model).sample(0, Given(), (X,), {})


@pytest.mark.parametrize(
    ("constraint", "name"),
    [
        (constraints.real, "real"),
        (constraints.real_vector, "real"),
        (constraints.independent(constraints.positive, 2), "positive"),
        (constraints.nonnegative, "nonnegative"),
        (constraints.unit_interval, "unit_interval"),
        (constraints.interval(0, 5), "interval"),
        (constraints.greater_than(1), "greater_than"),
        (constraints.greater_than_eq(1), "greater_than"),
        (constraints.less_than(1), "less_than"),
        (constraints.boolean, "boolean"),
        (constraints.nonnegative_integer, "nonnegative_integer"),
        (constraints.integer_interval(0, 3), "integer_interval"),
        (constraints.simplex, "simplex"),
        (constraints.one_hot, "one_hot"),
        (constraints.multinomial(3), "multinomial"),
        (constraints.lower_cholesky, "lower_cholesky"),
        (constraints.positive_definite, "positive_definite"),
        (constraints.corr_cholesky, "corr_cholesky"),
        (dist.constraints.corr_matrix, "corr_matrix"),
        (dist.constraints.ordered_vector, "ordered"),
        (dist.constraints.positive_ordered_vector, "positive_ordered"),
        (dist.constraints.softplus_positive, "softplus_positive"),
        (dist.constraints.softplus_lower_cholesky, "softplus_lower_cholesky"),
        (dist.constraints.unit_lower_cholesky, "unit_lower_cholesky"),
        (dist.constraints.sphere, "sphere"),
    ],
)
def test_names_of_supports(constraint, name):
    assert name_of(constraint) == name


@pytest.mark.parametrize(
    ("constraint", "name"),
    [
        (constraints.positive, "positive"),
        (constraints.nonnegative, "positive"),  # the same map
        (constraints.interval(0, 5), "interval(0, 5)"),
        (constraints.interval(torch.tensor([0.5, 1]), 5), "interval(0.5 1, 5)"),
        (constraints.greater_than(1.0), "greater_than(1)"),
        (constraints.less_than(-2), "less_than(-2)"),
        (dist.constraints.softplus_positive, "softplus_positive"),
    ],
)
def test_names_of_parameters_constraints(constraint, name):
    assert full_name_of(constraint) == name


@pytest.mark.parametrize(
    ("fn", "names"),
    [
        (dist.Normal(0.0, 1.0).expand([3]).to_event(1), {"loc", "scale"}),
        (dist.Bernoulli(0.3), {"probs"}),
        (dist.Bernoulli(logits=0.3), {"logits"}),
        (dist.Categorical(logits=torch.zeros(3)), {"logits"}),
        (dist.OneHotCategorical(torch.ones(3)), {"probs"}),
        (dist.Multinomial(3, logits=torch.ones(3)), {"logits", "total_count"}),
        (dist.Binomial(3, logits=torch.ones(3)), {"logits", "total_count"}),
        (dist.NegativeBinomial(3.0, logits=torch.ones(3)), {"logits", "total_count"}),
        (dist.Geometric(logits=torch.ones(3)), {"logits"}),
        (dist.RelaxedBernoulli(torch.tensor(1.0), logits=torch.ones(3)), {"logits"}),
        (dist.Beta(2.0, 3.0), {"concentration0", "concentration1"}),
        (dist.Gamma(2.0, 3.0), {"concentration", "rate"}),
        (dist.InverseGamma(2.0, 3.0), {"concentration", "rate"}),
        (dist.HalfNormal(2.0), {"scale"}),
        (dist.LogNormal(2.0, 3.0), {"loc", "scale"}),
        (dist.Uniform(2.0, 3.0), {"low", "high"}),
        (dist.StudentT(2.0, 3.0, 4.0), {"df", "loc", "scale"}),
        (dist.MultivariateNormal(torch.zeros(2), torch.eye(2)), {"loc", "covariance_matrix"}),
        (
            dist.MultivariateNormal(torch.zeros(2), precision_matrix=torch.eye(2)),
            {"loc", "precision_matrix"},
        ),
    ],
)
def test_arguments_are_those_that_were_given(fn, names):
    fn.log_prob(fn.sample())  # makes derived ones
    assert set(arguments(fn)) == names


def test_arguments_broadcast_to_batch_and_particles():
    def model():
        with pyro.plate("data", 3):
            pyro.sample("a", dist.Normal(0.0, 2.0).expand([3]))
            pyro.sample("b", dist.MultivariateNormal(torch.zeros(2), torch.eye(2)))

    sites = sampled(model, particles=4).model
    assert np.broadcast_to(sites["a"].arguments["scale"], (4, 3)).max() == 2
    assert sites["b"].arguments["covariance_matrix"].shape in ((4, 3, 2, 2), (4, 1, 2, 2))
    assert sites["b"].value.shape == (4, 3, 2)
    assert len(np.unique(sites["b"].value)) == 24  # every particle has its own draws


# -- losses and gradients -----------------------------------------------------------------------------


def local_model(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 0.5), obs=x)


def local_guide(x):
    loc = pyro.param("loc", lambda: torch.zeros(len(x)))
    scale = pyro.param("scale", torch.tensor(1.0), constraint=constraints.positive)
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(loc, scale))


LOC, STD = np.array([0.1, -0.2, 0.3]), np.array(0.8)
Z = np.array([[0.5, -1.0, 1.5], [0.1, 0.2, -0.3]])
LOCAL = Given({"z": Z}, parameters={"loc": LOC, "scale": STD})


def local_loss(z, loc=LOC, std=STD):
    return -(NORMAL(z) + NORMAL(X, z, 0.5) - NORMAL(z, loc, std)).sum(-1)


def local_gradients(z):
    """Of the mean loss in loc and log scale, the noise fixed."""
    noise = (z - LOC) / STD
    slope = z + (z - X) / 0.25  # of the model's part in z
    return slope.mean(0), (slope * noise * STD - 1).sum(-1).mean()


def test_vectorised_particles_with_sites_in_different_plates():
    s, z = np.array([0.7, 1.9]), np.array([[[0.1, 0.2, -0.3]] * 2, [[0.5, -1.0, 1.5]] * 2])

    def model(x):
        s = pyro.sample("s", dist.LogNormal(0.0, 1.0))
        w = pyro.sample("w", dist.Dirichlet(torch.ones(2)))
        with pyro.plate("rows", 2, dim=-2), pyro.plate("data", 3, dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z * w[..., 0], s), obs=x)

    given = Given({"s": s, "w": np.array([[0.2, 0.8], [0.5, 0.5]]), "z": z})
    guide = poutine.block(model, hide=["x"])
    run = ran(model, given, X, guide=guide, particles=2, vectorize_particles=True)
    mean = z * np.array([0.2, 0.5])[:, None, None]
    expected = -NORMAL(X, mean, s[:, None, None]).sum((1, 2)).mean()
    np.testing.assert_allclose(run.loss, [expected])


def test_every_run_starts_with_clean_gradients():
    one = session(local_model, local_guide, particles=2)
    first, second = (one.run(LOCAL, (X,), {}).parameters for _ in range(2))
    for name, parameter in first.items():
        assert np.array_equal(parameter.gradient, second[name].gradient)


def test_rounding_out_of_the_support_does_not_stop_single_precision():
    def model():
        pyro.sample("s", dist.LogNormal(0.0, 1.0))

    run = ran(model, Given({"s": np.array([1e-60])}), guide=model, precision="float32")
    np.testing.assert_array_equal(run.model["s"].value, [0])


@pytest.mark.parametrize("loss", ["Trace_ELBO", "TraceGraph_ELBO", "TraceEnum_ELBO"])
@pytest.mark.parametrize("vectorize", [False, True])
def test_losses_and_gradients_of_particles(loss, vectorize):
    run = ran(
        local_model,
        LOCAL,
        X,
        guide=local_guide,
        loss=loss,
        particles=2,
        vectorize_particles=vectorize,
    )
    expected = local_loss(Z)
    np.testing.assert_allclose(run.loss, [expected.mean()] if vectorize else expected, rtol=1e-14)
    gradients = local_gradients(Z)
    np.testing.assert_allclose(run.parameters["loc"].gradient, gradients[0], rtol=1e-13)
    np.testing.assert_allclose(run.parameters["scale"].gradient, gradients[1], rtol=1e-13)
    assert np.array_equal(run.guide["z"].value, Z)
    assert np.array_equal(run.model["z"].value, Z)
    assert run.parameters["scale"].constraint == "positive"


def test_mean_field_elbo_takes_its_analytic_divergence():
    run = ran(local_model, LOCAL, X, guide=local_guide, loss="TraceMeanField_ELBO", particles=2)
    divergence = (STD**2 + LOC**2 - 1) / 2 - np.log(STD)
    np.testing.assert_allclose(run.loss, (divergence - NORMAL(X, Z, 0.5)).sum(-1), rtol=1e-14)


def test_single_precision_is_single_precision():
    run = ran(local_model, LOCAL, X, guide=local_guide, precision="float32", particles=2)
    assert run.guide["z"].value.dtype == np.float32
    assert run.parameters["loc"].gradient.dtype == np.float32
    np.testing.assert_allclose(run.loss, local_loss(Z), rtol=1e-6)


def test_given_subsamples_and_the_handlers_scale():
    indices = np.array([4, 1, 7])
    data = np.arange(8.0)

    def model(x):
        with pyro.plate("data", 8, subsample_size=3) as i:
            pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(x[i], 1.0), obs=x[i] + 1)

    def guide(x):
        loc = pyro.param("loc", torch.zeros(8))
        with pyro.plate("data", 8, subsample_size=3) as i:
            pyro.sample("z", dist.Normal(loc[i], 1.0))

    run = ran(model, Given({"z": Z[:1]}, {"data": indices}), data, guide=guide)
    np.testing.assert_array_equal(run.model["x"].value, [data[indices] + 1])
    np.testing.assert_allclose(run.loss, [-8 / 3 * 3 * NORMAL(1.0)])
    gradient = np.zeros(8)
    gradient[indices] = 8 / 3 * Z[0]
    np.testing.assert_allclose(run.parameters["loc"].gradient, gradient)


def test_enumeration_in_the_model_and_in_the_guide():
    weights, means = np.array([0.3, 0.7]), np.array([-1.0, 2.0])

    def model(x):
        with pyro.plate("data", 3):
            k = pyro.sample("k", dist.Categorical(torch.tensor(weights).to(x.dtype)))
            pyro.sample("x", dist.Normal(torch.tensor(means).to(x.dtype)[k], 1.0), obs=x)

    def guide(x):
        logits = pyro.param("logits", torch.zeros(3, 2))
        with pyro.plate("data", 3):
            pyro.sample("k", dist.Categorical(logits=logits))

    given = Given({"k": np.array([[0.0, 1.0, 1.0]])})
    joint = np.log(weights) + NORMAL(X[:, None], means, 1)
    for inner in (lambda x: None, config_enumerate(guide), config_enumerate(guide, "sequential")):
        run = ran(config_enumerate(model), given, X, guide=inner, loss="TraceEnum_ELBO")
        np.testing.assert_array_equal(run.model["k"].value, [[0, 1, 1]])
        assert run.model["k"].dtype == "int64"
        np.testing.assert_allclose(
            run.model["x"].log_prob, [joint[range(3), [0, 1, 1]] - np.log(weights)[[0, 1, 1]]]
        )
    np.testing.assert_allclose(run.loss, [-(joint / 2 - np.log(0.5) / 2).sum()])
    run = ran(config_enumerate(model), given, X, guide=lambda x: None, loss="TraceEnum_ELBO")
    np.testing.assert_allclose(run.loss, [-logsumexp(joint, axis=1).sum()])


@pytest.mark.parametrize("vectorize", [False, True])
def test_a_value_downstream_of_an_enumerated_site_is_the_same_in_every_case(vectorize):
    def guide(x):
        k = pyro.sample("k", dist.Bernoulli(0.3), infer={"enumerate": "parallel"})
        pyro.sample("s", dist.Normal(k, 2.0))

    def model(x):
        k = pyro.sample("k", dist.Bernoulli(0.6))
        s = pyro.sample("s", dist.Normal(-k, 1.0))
        with pyro.plate("data", 3):
            pyro.sample("x", dist.Normal(s, 1.0), obs=x)

    s = np.array([0.4, -1.1])
    given = Given({"k": np.zeros(2), "s": s})
    settings = {"loss": "TraceEnum_ELBO", "particles": 2, "vectorize_particles": vectorize}
    run = ran(model, given, X, guide=guide, **settings)
    log_x = NORMAL(X, s[:, None]).sum(1)
    cases = [
        q * (np.log(p / q) + NORMAL(s, -k) - NORMAL(s, k, 2) + log_x)
        for k, q, p in ((0, 0.7, 0.4), (1, 0.3, 0.6))
    ]
    expected = -np.sum(cases, 0)
    np.testing.assert_allclose(run.loss, [expected.mean()] if vectorize else expected)


def test_a_score_function_gradient_is_the_frameworks_own():
    """Trace_ELBO of a Bernoulli guide: ∇ = -(log p - log q) ∇ log q, without the gradient of log q."""

    def model():
        pyro.sample("b", dist.Bernoulli(0.2))

    def guide():
        pyro.sample("b", dist.Bernoulli(logits=pyro.param("logit", torch.tensor(0.0))))

    run = ran(model, Given({"b": np.ones(1)}, parameters={"logit": np.array(0.4)}), guide=guide)
    q = expit(0.4)
    log_ratio = np.log(0.2) - np.log(q)
    np.testing.assert_allclose(run.loss, [-log_ratio])
    np.testing.assert_allclose(run.parameters["logit"].gradient, -log_ratio * (1 - q))


def test_markov_chains():
    def model(x):
        z = x.new_zeros(())
        for i in pyro.markov(range(3)):
            z = pyro.sample(f"z{i}", dist.Normal(z, 1.0))
            pyro.sample(f"x{i}", dist.Normal(z, 1.0), obs=x[i])

    z = np.array([0.1, -0.4, 0.9])
    run = ran(model, Given({f"z{i}": z[i : i + 1] for i in range(3)}), X)
    expected = NORMAL(np.diff(z, prepend=0)).sum() + NORMAL(X - z).sum()
    np.testing.assert_allclose(run.loss, [-expected])
    np.testing.assert_allclose(run.model["z2"].log_prob, [NORMAL(0.9, -0.4)])


# -- without a guide ----------------------------------------------------------------------------------


def test_potential_energy_and_its_gradient():
    """s ~ HalfNormal in log space and x ~ Normal(m, s): closed form in (log s, m)."""

    def model(x):
        s = pyro.sample("s", dist.HalfNormal(2.0))
        m = pyro.sample("m", dist.Normal(0.0, 1.0))
        with pyro.plate("data", 3), poutine.scale(scale=2.0):
            pyro.sample("x", dist.Normal(m, s), obs=x)

    s, m = np.array([1.5, 0.4]), np.array([0.3, -0.7])
    run = ran(model, Given({"s": s, "m": m}), X, particles=2)
    rest = (X - m[:, None]) / s[:, None]
    expected = -stats.halfnorm.logpdf(s, scale=2) - np.log(s) - NORMAL(m)
    expected -= 2 * NORMAL(X, m[:, None], s[:, None]).sum(1)
    np.testing.assert_allclose(run.loss, expected)
    slopes = {"s": s**2 / 4 - 1 + 2 * (1 - rest**2).sum(1), "m": m - 2 * (rest.sum(1) / s)}
    for name, values in (("s", np.log(s)), ("m", m)):
        assert run.parameters[name].constraint == "unconstrained"
        np.testing.assert_allclose(run.parameters[name].value, values)
        np.testing.assert_allclose(run.parameters[name].gradient, slopes[name] / 2)


def test_discrete_latents_are_summed_out_of_the_potential():
    def model(x):
        m = pyro.sample("m", dist.Normal(0.0, 1.0))
        with pyro.plate("data", 3):
            k = pyro.sample("k", dist.Bernoulli(0.3))
            pyro.sample("x", dist.Normal(m + k, 1.0), obs=x)

    given = Given({"m": np.array([0.2]), "k": np.ones((1, 3))})
    run = ran(model, given, X)
    terms = np.stack([np.log(0.7) + NORMAL(X, 0.2), np.log(0.3) + NORMAL(X, 1.2)])
    np.testing.assert_allclose(run.loss, [-NORMAL(0.2) - logsumexp(terms, 0).sum()])
    assert set(run.parameters) == {"m"}


# -- modules ------------------------------------------------------------------------------------------


class Regression(PyroModule):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(1, 1)
        self.scale = PyroParam(torch.tensor(1.0), constraints.positive)
        self.slope = PyroSample(dist.Normal(0.0, 1.0))
        self.offset = PyroSample(lambda self: dist.Normal(self.slope, 0.5))

    def forward(self, x):
        mean = self.linear(x[:, None])[:, 0] * self.slope + self.offset
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(mean, self.scale), obs=x)


def regression_loss(w, b, s, slope, half):
    mean = (w * X + b) * slope + half
    return -(NORMAL(slope) + NORMAL(half, slope, 0.5) + NORMAL(X, mean, s).sum())


def test_pyro_modules_with_parameters_and_samples_stay_as_they_are():
    model = Regression()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    parameters = {"linear$$$weight": [[1.3]], "linear$$$bias": [0.2], "scale": 0.7}
    given = Given(
        {"slope": np.array([0.4]), "offset": np.array([-0.3])},
        parameters={name: np.array(value) for name, value in parameters.items()},
    )
    run = ran(model, given, X)
    np.testing.assert_allclose(run.loss, [regression_loss(1.3, 0.2, 0.7, 0.4, -0.3)])
    gradient = numeric(lambda w: regression_loss(w[0], 0.2, 0.7, 0.4, -0.3), np.array([1.3]))[0]
    np.testing.assert_allclose(run.parameters["linear$$$weight"].gradient, [gradient], rtol=1e-6)
    after = model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert after["linear.weight"].dtype == torch.float32


def test_a_module_that_a_function_reaches_is_borrowed_and_given_back():
    net = nn.Sequential(nn.Linear(1, 2), nn.BatchNorm1d(2), nn.Softplus())
    constant = torch.tensor([0.25, 1.0])
    before = {name: value.clone() for name, value in net.state_dict().items()}
    net[0].weight.grad = torch.full((2, 1), 3.0)

    def encode(x):
        return net(x[:, None]) @ constant

    def guide(x):
        pyro.module("net", net)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(encode(x), 1.0))

    weight = np.array([[1.5], [-0.5]])
    given = Given({"z": Z[:1]}, parameters={"net$$$0.weight": weight})
    for precision in ("float64", "float32"):
        one = session(local_model, guide, precision)
        run = one.run(given, (X,), {})
        assert run.failure is None, run.failure
        assert run.parameters["net$$$0.weight"].value.dtype == precision
        np.testing.assert_allclose(run.parameters["net$$$0.weight"].value, weight)
        assert np.abs(run.parameters["net$$$1.weight"].gradient).min() > 0
        hidden = weight[:, 0] * X[:, None] + before["0.bias"].numpy()
        hidden = (hidden - hidden.mean(0)) / np.sqrt(hidden.var(0) + 1e-5)
        loc = np.log1p(np.exp(hidden)) @ [0.25, 1.0]
        np.testing.assert_allclose(run.guide["z"].arguments["loc"][0], loc, rtol=1e-4)
    after = net.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert all(after[name].dtype == value.dtype for name, value in before.items())
    assert torch.equal(net[0].weight.grad, torch.full((2, 1), 3.0))
    assert constant.dtype == torch.float32


OFFSET = torch.tensor([1.0, 2.0, 3.0])


def shifted(x):
    return [pyro.sample(f"x{i}", dist.Normal(OFFSET[i], 1.0), obs=v) for i, v in enumerate(x)]


def test_a_constant_among_the_globals_is_raised_to_double_precision():
    run = ran(lambda x: shifted(x), Given(), X, guide=lambda x: None)
    assert run.model["x2"].arguments["loc"].dtype == np.float64
    assert OFFSET.dtype == torch.float32


def test_the_users_store_randomness_and_default_type_stay():
    pyro.clear_param_store()
    pyro.param("loc", torch.tensor([9.0]))
    pyro.set_rng_seed(3)
    expected = torch.rand(2)
    pyro.set_rng_seed(3)
    Program(local_model, local_guide).record((X,), seeds=(0,), stress=False)
    assert torch.equal(torch.rand(2), expected)
    assert torch.get_default_dtype() == torch.float32
    assert list(pyro.get_param_store()) == ["loc"]
    assert pyro.param("loc").item() == 9
    pyro.clear_param_store()


# -- autoguides ---------------------------------------------------------------------------------------


def positive_model(x):
    s = pyro.sample("s", dist.HalfNormal(2.0))
    with pyro.plate("data", 3):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, s), obs=x)


def positive_joint(s, z):
    return stats.halfnorm.logpdf(s, scale=2) + NORMAL(z).sum() + NORMAL(X, z, s).sum()


@pytest.mark.parametrize("made", ["flat", "built"])
@pytest.mark.parametrize(
    "name",
    [
        "AutoNormal",
        "AutoDiagonalNormal",
        "AutoMultivariateNormal",
        "AutoLowRankMultivariateNormal",
        "AutoDelta",
        "AutoLaplaceApproximation",
        "AutoIAFNormal",
        "AutoNormalMessenger",
    ],
)
def test_autoguides(name, made):
    guide = getattr(autoguide, name)
    if made == "flat":
        program = Program(positive_model, guide(positive_model))
    else:
        program = Program.build(lambda: (positive_model, guide(positive_model)))
    record = program.record((X,), seeds=(0,), stress=False)
    assert record.failure is None, record.failure
    for precision, tolerance in (("float64", 1e-12), ("float32", 1e-5)):
        run = record.runs["0", precision]
        s, z = run.model["s"].value[0], run.model["z"].value[0]
        entropy = sum(site.log_prob.sum() for site in run.guide.values())
        np.testing.assert_allclose(run.loss, entropy - positive_joint(s, z), rtol=tolerance)
    gradients = [p.gradient for p in record.runs["0", "float64"].parameters.values()]
    assert all(np.abs(g).max() > 0 for g in gradients)


def test_the_autoguide_of_a_diagonal_normal_in_closed_form():
    """θ = loc + scale ε in unconstrained space; log q(s, z) = N(θ) - log s; gradient in loc."""
    program = Program(positive_model, autoguide.AutoDiagonalNormal(positive_model, init_scale=0.3))
    one = program.session("float64", Settings())
    theta, loc = np.array([0.4, 0.1, -0.2, 0.3]), np.array([0.2, 0.0, 0.5, 0.3])
    given = Given(
        {"_AutoDiagonalNormal_latent": theta[None]}, parameters={"AutoDiagonalNormal.loc": loc}
    )
    run = one.run(given, (X,), {})
    s, z = np.exp(theta[0]), theta[1:]
    np.testing.assert_allclose(run.model["s"].value, [s])
    density = NORMAL(theta, loc, 0.3).sum() - theta[0]
    np.testing.assert_allclose(run.loss, density - positive_joint(s, z))
    slope = numeric(lambda u: -u[0] - positive_joint(np.exp(u[0]), u[1:]), theta)[0]
    np.testing.assert_allclose(run.parameters["AutoDiagonalNormal.loc"].gradient, slope, rtol=1e-6)
    assert run.guide["_AutoDiagonalNormal_latent"].kind == "auxiliary"


def test_a_trained_autoguide_keeps_its_values_and_its_model():

    def model(x):
        z = pyro.sample(
            "z",
            dist.Normal(0.0, pyro.param("width", torch.ones(3), constraints.positive)).to_event(1),
        )
        pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    guide = autoguide.AutoNormal(model)
    guide(torch.tensor(X, dtype=torch.float32))
    with torch.no_grad():
        guide.locs.z_unconstrained.fill_(0.75)
    run = Program(model, guide).session("float64", Settings()).sample(0, Given(), (X,), {})
    assert run.failure is None, run.failure
    np.testing.assert_array_equal(run.parameters["AutoNormal.locs.z"].value, np.full(3, 0.75))
    np.testing.assert_array_equal(guide.locs.z.detach(), np.full(3, 0.75, dtype=np.float32))
    assert guide.model is not None
    pyro.clear_param_store()


def test_autonormal_takes_draws_of_the_latents_themselves():
    """Those of the other framework, which has no site in unconstrained space."""

    def model():
        pyro.sample("w", dist.Dirichlet(torch.ones(3)))
        pyro.sample("u", dist.Uniform(2.0, 4.0))

    given = Given({"w": np.array([[0.2, 0.5, 0.3]]), "u": np.array([2.5])})
    run = ran(model, given, guide=autoguide.AutoNormal(model))
    np.testing.assert_allclose(run.guide["w"].value, given.draws["w"])
    np.testing.assert_allclose(run.guide["u_unconstrained"].value, [np.log(0.25 / 0.75)])
    np.testing.assert_allclose(run.model["u"].value, [2.5])


def test_a_list_of_autoguides():
    guide = autoguide.AutoGuideList(positive_model)
    guide.append(autoguide.AutoDelta(poutine.block(positive_model, hide=["z"])))
    guide.append(autoguide.AutoNormal(poutine.block(positive_model, hide=["s"])))
    record = Program(positive_model, guide).record((X,), seeds=(0,), stress=False)
    assert record.failure is None, record.failure
    assert set(record.runs["0", "float64"].guide) == {"s", "z"}


# -- arguments, failures, operations ------------------------------------------------------------------


def test_arguments_become_tensors_of_the_precision_and_plain_values_stay():
    seen = {}

    def model(x, tree, *, n, flag=None):
        seen.update(x=x, tree=tree, n=n, flag=flag)

    one = session(model, precision="float64")
    tree = {"i": np.array([1], dtype=np.uint8), "b": [np.array(True), 2.5], "t": torch.ones(2)}
    one.sample(0, Given(), (X.astype(np.float32), tree), {"n": 3, "flag": "text"})
    assert (seen["x"].dtype, seen["tree"]["t"].dtype) == (torch.float64, torch.float64)
    assert (seen["tree"]["i"].dtype, seen["tree"]["b"][0].dtype) == (torch.int64, torch.bool)
    assert (seen["tree"]["b"][1], seen["n"], seen["flag"]) == (2.5, 3, "text")


def failing_model(x):
    pyro.sample("a", dist.Normal(0.0, 1.0))
    pyro.sample("b", dist.Normal(0.0, -1.0), obs=x)


def broken(x):
    pyro.sample("a", dist.Normal(0.0, 1.0))
    raise KeyError("mine")


def wrong_plate(x):
    pyro.sample("a", dist.Normal(0.0, 1.0))
    with pyro.plate("data", 4):
        pyro.sample("b", dist.Normal(torch.zeros(3), 1.0), obs=x)


def outside(x):
    pyro.sample("a", dist.Beta(2.0, 2.0), obs=x.sum() + 7)


@pytest.mark.parametrize(
    ("model", "guide", "stage", "site", "error", "line"),
    [
        (
            failing_model,
            None,
            "model",
            "a",
            "ValueError: Expected parameter scale",
            "Normal(0.0, -1.0)",
        ),
        (broken, None, "model", "a", "KeyError: 'mine'", 'raise KeyError("mine")'),
        (local_model, broken, "guide", "a", "KeyError: 'mine'", 'raise KeyError("mine")'),
        (outside, None, "model", "a", "ValueError: Expected value argument", ""),
        (wrong_plate, None, "model", "b", "ValueError: Shape mismatch inside plate", 'sample("b"'),
    ],
)
def test_failures_say_where(model, guide, stage, site, error, line):
    for run in (
        session(model, guide).sample(0, Given(), (X,), {}),
        session(model, guide).run(Given({"a": np.zeros(1)}), (X,), {}),
    ):
        assert (run.failure.stage, run.failure.site) == (stage, site)
        assert run.failure.error.startswith(error)
        assert line in run.failure.traceback
        assert (
            "site-packages" not in run.failure.traceback
            and "session.py" not in run.failure.traceback
        )
        assert set(getattr(run, stage)) == {"a"}
        assert run.loss is None


def test_a_failure_in_a_sequential_plate_leaves_no_handler_behind():
    def model(x):
        for i in pyro.plate("steps", 3):
            pyro.sample(f"z{i}", dist.Normal(0.0, -1.0))

    for _ in range(2):
        run = session(model).run(Given(), (X,), {})
        assert run.failure.error.startswith("ValueError: Expected parameter scale")
        assert not poutine.runtime._PYRO_STACK


def test_a_shape_that_no_plate_declares_stops_the_loss_at_its_site():
    def model(x):
        pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)

    run = session(model, lambda x: None).run(Given(), (X,), {})
    assert (run.failure.stage, run.failure.site) == ("model", "x")
    assert run.model["x"].batch_shape == (3,)
    np.testing.assert_allclose(run.model["x"].log_prob, [NORMAL(X)])


def test_a_builder_that_fails_and_keyboard_interrupts():
    run = Program.build(lambda: 1 / 0).session("float64", Settings()).run(Given(), (), {})
    assert (run.failure.stage, run.failure.error) == (
        "build",
        "ZeroDivisionError: division by zero",
    )

    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        session(interrupted).sample(0, Given(), (), {})
    assert torch.get_default_dtype() == torch.float32


def test_a_parameter_of_another_shape_is_an_input_error():
    with pytest.raises(InputError, match=r"'loc' has shape \(2,\); expected \(3,\)"):
        ran(local_model, Given(parameters={"loc": np.zeros(2)}), X, guide=local_guide)


def test_operations_have_their_telling_options():
    x, names = torch.ones(2, 3), set()
    with Operations(names):
        nn.GELU(approximate="tanh")(x)
        nn.LayerNorm(3, eps=1e-6)(x)
        nn.functional.softplus(x)
        x.std(0, False)
        torch.var(x, dim=0)
        torch.std(x, 1, correction=2)
        x.cumsum(0)
    assert names >= {
        "gelu(approximate=tanh)",
        "layer_norm(eps=1e-06)",
        "softplus(beta=1, threshold=20)",
        "std(correction=0)",
        "std(correction=2)",
        "var(correction=1)",
        "cumsum",
    }


def test_a_record_is_like_itself():
    first = Program(local_model, local_guide).record((X,), seeds=(0, 1), particles=2)
    second = Program(local_model, local_guide).record((X,), like=first)
    assert first.runs.keys() == second.runs.keys()
    for key, run in first.runs.items():
        np.testing.assert_array_equal(run.loss, second.runs[key].loss)
    assert not np.array_equal(first.runs["0", "float64"].loss, first.runs["1", "float64"].loss)


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
    found = reattached(fn, torch.tensor(x), joint=True)
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
