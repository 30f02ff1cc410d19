"""NumPyro's side of a record: what a session reports, against closed forms, SciPy and NumPyro itself."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit, logsumexp

jax = pytest.importorskip("jax")
numpyro = pytest.importorskip("numpyro")

import flax.linen as linen  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpyro.distributions as dist  # noqa: E402
from flax import nnx  # noqa: E402
from numpyro import handlers  # noqa: E402
from numpyro.contrib.control_flow import scan  # noqa: E402
from numpyro.contrib.module import (  # noqa: E402
    flax_module,
    nnx_module,
    random_flax_module,
    random_nnx_module,
)
from numpyro.distributions import constraints  # noqa: E402
from numpyro.infer import autoguide  # noqa: E402
from numpyro.infer.reparam import LocScaleReparam  # noqa: E402

from numpyro_impl.charts import chart_gradient, full_name_of, name_of  # noqa: E402
from numpyro_impl.program import Program  # noqa: E402
from numpyro_impl.reattach import donate, reattached  # noqa: E402
from twinplate.errors import InputError  # noqa: E402
from twinplate.evaluation import Plate  # noqa: E402
from twinplate.record import Given, Settings  # noqa: E402

NORMAL = stats.norm.logpdf
X = np.array([0.3, -1.2, 2.0])


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


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


def on_simplex(x):
    return x / x.sum()


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
        lambda m, s: dist.AsymmetricLaplace(m, s, 2.0), 2.0, (0.2, 1.5), LOCATION_SCALE
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
        lambda a: dist.RelaxedBernoulli(jnp.array(0.6), logits=a), 0.8, (0.4,),
        fixed_noise(lambda x, a: 0.6 * np.log(x / (1 - x)) - a, lambda e, a: expit((a + e) / 0.6)),
    ),
    "InverseGamma": (
        dist.InverseGamma, 0.7, (1.5, 2.5),
        lambda x, *p: (lambda *q: 1 / moments(lambda a, b: stats.gamma(a, scale=1 / b))(1 / x, *p)(*q)),
    ),
    "Gamma": (dist.Gamma, 0.7, (1.5, 2.5), moments(lambda a, b: stats.gamma(a, scale=1 / b))),
    "Beta": (dist.Beta, 0.7, (1.5, 2.5), moments(stats.beta)),
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
        lambda m, s: dist.Normal(m, s).expand([2]).mask(jnp.array([True, False])).to_event(1),
        np.array([0.7, 3.0]), (0.2, 1.5), LOCATION_SCALE,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PATHS)
def test_a_donated_value_is_exact_and_moves_with_the_parameters(name, x64):
    family, x, params, path = PATHS[name]
    params = [np.asarray(p, dtype=np.float64) for p in params]

    weights = np.arange(1, np.size(x) + 1)  # the sum over a simplex is constant

    def total(leaves):
        value = reattached(family(*leaves), jnp.asarray(x))
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
    value, gradient = jax.value_and_grad(lambda p: 1.0 * reattached(fn(p), jnp.array(x)).sum())(p)
    assert np.isclose(value, np.sum(x), rtol=1e-15)
    assert np.array_equal(gradient, [0, 0])


def test_a_value_without_a_finite_variance_is_a_constant(x64):
    def total(loc):
        fn = dist.MultivariateStudentT(1.5, loc, jnp.eye(2))
        return reattached(fn, jnp.array([0.3, 0.1])).sum()

    assert np.array_equal(jax.grad(total)(jnp.zeros(2)), [0, 0])


def test_a_discrete_value_has_the_type_that_the_site_draws():
    with donate({"k": jnp.array(1), "g": jnp.array(1)}, {}), handlers.seed(rng_seed=0):
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
    with donate(draws, {}):
        replayed = handlers.replay(handlers.seed(model, 0), {"a": guide["a"]})
        trace = handlers.trace(replayed).get_trace()
    assert trace["a"]["value"] is guide["a"]["value"]
    assert (trace["b"]["value"], trace["d"]["value"]) == (5, 7)
    assert trace["c"]["value"].shape == (2,)
    assert not np.array_equal(trace["c"]["value"], np.ones(2))


# -- sites --------------------------------------------------------------------------------------------


def session(model, guide=None, precision="float64", **settings):
    return Program(model, guide).session(precision, Settings(**settings))


def sampled(model, *args, guide=None, **settings):
    run = session(model, guide, **settings).sample(1, Given(), args, {})
    assert run.failure is None, run.failure
    return run


def ran(model, given, *args, guide=None, precision="float64", compiled=True, **settings):
    """A run; and that it was compiled, as nearly every program must be."""
    opened = session(model, guide, precision, **settings)
    run = opened.run(given, args, {})
    assert run.failure is None, run.failure
    assert opened._ways[0][1] == compiled
    return run


def test_every_kind_of_site():
    def model(x):
        numpyro.sample("latent", dist.Normal(0.0, 1.0))
        numpyro.sample("auxiliary", dist.Normal(0.0, 1.0), infer={"is_auxiliary": True})
        numpyro.sample("observed", dist.Normal(x, 2.0).to_event(1), obs=x)
        numpyro.deterministic("deterministic", 2 * x)
        numpyro.factor("factor", -x)
        with numpyro.plate("data", 3):
            masked = jnp.array([True, False, True])
            numpyro.sample("split", dist.Normal(0.0, 1.0), obs=x, obs_mask=masked)

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
    assert list(sites)[:3] == ["latent", "auxiliary", "observed"]  # in execution order
    np.testing.assert_array_equal(sites["deterministic"].value, [2 * X])
    assert (sites["deterministic"].batch_shape, sites["deterministic"].event_shape) == ((), (3,))
    np.testing.assert_array_equal(sites["deterministic"].log_prob, [0])
    np.testing.assert_allclose(sites["factor"].log_prob, [-X])
    assert sites["factor"].value.shape == (1, 3, 0)
    np.testing.assert_allclose(sites["observed"].log_prob, [-3 * np.log(2 * np.sqrt(2 * np.pi))])
    assert sites["observed"].event_shape == (3,)
    expected = np.where([True, False, True], NORMAL(X), 0)
    np.testing.assert_allclose(sites["split_observed"].log_prob, [expected])
    np.testing.assert_array_equal(sites["split_unobserved"].mask, [[False, True, False]])


def test_plates_scale_and_broadcasting():
    def model(x):
        with numpyro.plate("rows", 2, dim=-2):
            numpyro.sample("a", dist.Normal(0.0, 1.0))
            with numpyro.plate("columns", 3, dim=-1), handlers.scale(scale=0.5):
                numpyro.sample("b", dist.Normal(0.0, 1.0), obs=x)
        with numpyro.plate("half", 8, subsample_size=4):
            numpyro.sample("c", dist.Normal(0.0, 1.0))

    sites = sampled(model, X).model
    rows, columns = Plate("rows", -2, 2, 2), Plate("columns", -1, 3, 3)
    assert (sites["a"].plates, sites["a"].batch_shape) == ((rows,), (2, 1))
    assert (sites["b"].plates, sites["b"].batch_shape) == ((rows, columns), (2, 3))
    assert (sites["b"].scale, sites["c"].scale) == (0.5, 2.0)
    assert sites["c"].plates == (Plate("half", -1, 8, 4),)
    np.testing.assert_allclose(sites["b"].log_prob, np.tile(NORMAL(X), (1, 2, 1)))
    np.testing.assert_array_equal(sites["b"].value, np.tile(X, (1, 2, 1)))


def test_data_of_another_shape_show_in_the_batch_shape():
    def model(x):
        with numpyro.plate("data", 3):
            numpyro.sample("y", dist.Normal(0.0, 1.0), obs=x)

    site = sampled(model, X[:, None]).model["y"]
    assert site.batch_shape == (3, 3)
    np.testing.assert_allclose(site.log_prob, [np.tile(NORMAL(X)[:, None], (1, 3))])


def test_masks_of_handlers_and_distributions():
    mask = np.array([True, False, True])

    def model(x):
        with numpyro.plate("data", 3), handlers.mask(mask=mask):
            numpyro.sample("a", dist.Normal(0.0, 1.0), obs=x)
        with numpyro.plate("other", 3):
            numpyro.sample("b", dist.Normal(0.0, 1.0).mask(jnp.array(mask)), obs=x)
        numpyro.sample("c", dist.Normal(jnp.zeros(3), 1.0).mask(jnp.array(mask)).to_event(1), obs=x)
        with handlers.mask(mask=True):
            numpyro.sample("d", dist.Normal(0.0, 1.0))
        with numpyro.plate("twice", 3), handlers.mask(mask=mask), handlers.mask(mask=x > 0.5):
            numpyro.sample("e", dist.Normal(0.0, 1.0), obs=x)

    sites = sampled(model, X).model
    np.testing.assert_array_equal(sites["e"].mask, [[False, False, True]])
    for name in "ab":
        np.testing.assert_array_equal(sites[name].mask, [mask])
        np.testing.assert_allclose(sites[name].log_prob, [np.where(mask, NORMAL(X), 0)])
    assert sites["c"].mask is None
    assert sites["d"].mask is None
    np.testing.assert_allclose(sites["c"].log_prob, [NORMAL(X[[0, 2]]).sum()])


def test_a_scale_that_is_no_number_is_an_input_error():
    def model(x):
        with numpyro.plate("data", 3), handlers.scale(scale=jnp.array([1.0, 2.0, 3.0])):
            numpyro.sample("a", dist.Normal(0.0, 1.0), obs=x)

    with pytest.raises(InputError, match=r"site 'a'.*must be a number"):
        session(model).sample(0, Given(), (X,), {})


@pytest.mark.parametrize(
    ("constraint", "name"),
    [
        (constraints.real, "real"),
        (constraints.real_vector, "real"),
        (constraints.real_matrix, "real"),
        (constraints.independent(constraints.positive, 2), "positive"),
        (constraints.nonnegative, "nonnegative"),
        (constraints.unit_interval, "unit_interval"),
        (constraints.open_interval(0, 1), "interval"),
        (constraints.greater_than_eq(2), "greater_than"),
        (constraints.less_than_eq(2), "less_than"),
        (constraints.boolean, "boolean"),
        (constraints.nonnegative_integer, "nonnegative_integer"),
        (constraints.positive_integer, "positive_integer"),
        (constraints.integer_interval(0, 3), "integer_interval"),
        (constraints.multinomial(3), "multinomial"),
        (constraints.simplex, "simplex"),
        (constraints.lower_cholesky, "lower_cholesky"),
        (constraints.softplus_lower_cholesky, "softplus_lower_cholesky"),
        (constraints.softplus_positive, "softplus_positive"),
        (constraints.scaled_unit_lower_cholesky, "scaled_unit_lower_cholesky"),
        (constraints.positive_definite, "positive_definite"),
        (constraints.positive_semidefinite, "positive_semidefinite"),
        (constraints.corr_cholesky, "corr_cholesky"),
        (constraints.corr_matrix, "corr_matrix"),
        (constraints.ordered_vector, "ordered"),
        (constraints.positive_ordered_vector, "positive_ordered"),
        (constraints.circular, "circular"),
        (constraints.sphere, "sphere"),
        (constraints.l1_ball, "l1_ball"),
    ],
)
def test_names_of_supports(constraint, name):
    assert name_of(constraint) == name


@pytest.mark.parametrize(
    ("constraint", "name"),
    [
        (constraints.interval(0, 5.0), "interval(0, 5)"),
        (constraints.greater_than(jnp.array([1.0, 2.5])), "greater_than(1 2.5)"),
        (constraints.independent(constraints.less_than(-1.0), 1), "less_than(-1)"),
        (constraints.nonnegative, "positive"),
        (constraints.simplex, "simplex"),
    ],
)
def test_names_of_a_parameters_constraint_say_the_bounds(constraint, name):
    assert full_name_of(constraint) == name


def test_supports_families_and_arguments():
    def model(x):
        with numpyro.plate("data", 3):
            numpyro.sample("a", dist.Normal(0.0, jnp.array([1.0, 2.0, 3.0])))
            numpyro.sample("b", dist.Bernoulli(logits=0.5))
            numpyro.sample("c", dist.NegativeBinomial(3, probs=0.5))
        covariance = jnp.array([[2.0, 0.5], [0.5, 1.0]])
        numpyro.sample(
            "d", dist.MultivariateNormal(jnp.zeros(2), covariance).expand([4]).to_event(1)
        )
        numpyro.sample("e", dist.LogNormal(0.0, 2.0).mask(True))
        numpyro.sample("f", dist.Delta(jnp.zeros(2), event_dim=1))
        numpyro.sample("g", dist.Dirichlet(jnp.ones(3)))

    sites = sampled(model, X, particles=2).model
    assert {n: (s.support, s.family) for n, s in sites.items()} == {
        "a": ("real", "Normal"),
        "b": ("boolean", "BernoulliLogits"),
        "c": ("nonnegative_integer", "NegativeBinomialProbs"),
        "d": ("real", "MultivariateNormal"),
        "e": ("positive", "LogNormal"),
        "f": ("real", "Delta"),
        "g": ("simplex", "Dirichlet"),
    }
    shapes = {n: {k: v.shape for k, v in s.arguments.items()} for n, s in sites.items()}
    assert shapes["a"] == {"loc": (2, 1), "scale": (2, 3)}
    assert shapes["b"] == {"logits": (2, 1)}
    assert shapes["c"] == {"probs": (2, 1), "total_count": (2, 1)}
    assert shapes["d"] == {"loc": (2, 1, 2), "covariance_matrix": (2, 1, 2, 2)}
    assert shapes["e"] == {"loc": (2,), "scale": (2,)}
    assert shapes["g"] == {"concentration": (2, 3)}
    assert sites["d"].value.shape == (2, 4, 2)
    np.testing.assert_array_equal(sites["a"].arguments["scale"], np.tile([1.0, 2.0, 3.0], (2, 1)))
    assert (sites["a"].dtype, sites["b"].dtype) == ("float64", "int64")


def test_values_are_never_rounded_and_types_are_the_programs():
    def model(x):
        z = numpyro.sample("z", dist.Normal(jnp.zeros((), jnp.float32), 1.0))
        numpyro.deterministic("single", z.astype(jnp.float32))
        numpyro.sample("y", dist.Normal(0.0, 1.0), obs=x[0].astype(jnp.float32))

    sites = ran(model, Given({"z": np.array([0.1])}), X).model
    assert [site.dtype for site in sites.values()] == ["float64", "float32", "float32"]
    assert sites["z"].value == 0.1
    assert sites["single"].value == np.float32(0.1)


# -- loss and gradient --------------------------------------------------------------------------------


def gaussian(x):
    z = numpyro.sample("z", dist.Normal(0.0, 2.0))
    with numpyro.plate("data", 3):
        numpyro.sample("x", dist.Normal(z, 1.0), obs=x)


def gaussian_guide(x):
    loc = numpyro.param("loc", 0.5)
    scale = numpyro.param("scale", 0.7, constraint=constraints.positive)
    numpyro.sample("z", dist.Normal(loc, scale))


Z = np.array([0.9, -0.4])
GIVEN = Given({"z": Z}, {}, {"loc": np.array(0.2), "scale": np.array(0.6)})


def gaussian_loss(z):
    """Loss of one particle, its derivatives in loc and in the logarithm of the scale."""
    loss = NORMAL(z, 0.2, 0.6) - NORMAL(z, 0, 2) - NORMAL(X, z).sum()
    slope = z / 4 + np.sum(z - X)  # of -log p(x, z); log q has none but its -log scale
    return loss, slope, slope * (z - 0.2) - 1


@pytest.mark.parametrize("vectorize", [False, True])
def test_loss_and_gradient_of_particles(vectorize):
    run = ran(gaussian, GIVEN, X, guide=gaussian_guide, particles=2, vectorize_particles=vectorize)
    losses, loc, log_scale = np.transpose([gaussian_loss(z) for z in Z])
    np.testing.assert_allclose(run.loss, [losses.mean()] if vectorize else losses, rtol=1e-12)
    np.testing.assert_allclose(run.parameters["loc"].gradient, loc.mean(), rtol=1e-12)
    np.testing.assert_allclose(run.parameters["scale"].gradient, log_scale.mean(), rtol=1e-12)
    np.testing.assert_array_equal(run.model["z"].value, Z)
    np.testing.assert_array_equal(run.guide["z"].value, Z)
    np.testing.assert_allclose(run.guide["z"].log_prob, NORMAL(Z, 0.2, 0.6))
    np.testing.assert_allclose(run.model["x"].log_prob, NORMAL(X, Z[:, None]))


def test_particles_of_one():
    given = Given({"z": Z[:1]}, {}, GIVEN.parameters)
    for vectorize in (False, True):
        run = ran(gaussian, given, X, guide=gaussian_guide, vectorize_particles=vectorize)
        np.testing.assert_allclose(run.loss, [gaussian_loss(Z[0])[0]], rtol=1e-12)


def test_mean_field_takes_the_divergence_in_closed_form():
    given = Given({"z": Z[:1]}, {}, GIVEN.parameters)
    run = ran(gaussian, given, X, guide=gaussian_guide, loss="TraceMeanField_ELBO")
    divergence = np.log(2 / 0.6) + (0.6**2 + 0.2**2) / (2 * 4) - 0.5
    np.testing.assert_allclose(run.loss, [divergence - NORMAL(X, Z[0]).sum()], rtol=1e-12)


def test_single_precision():
    def model(x, one):
        gaussian(x)
        numpyro.deterministic("default", jnp.ones(()))
        numpyro.deterministic("whole", one)

    def guide(x, one):
        gaussian_guide(x)

    whole = np.array(1)
    run = ran(model, GIVEN, X, whole, guide=guide, particles=2, precision="float32")
    assert (run.model["default"].dtype, run.model["whole"].dtype) == ("float32", "int32")
    assert run.loss.dtype == run.model["z"].value.dtype == np.float32
    np.testing.assert_allclose(run.loss, [gaussian_loss(z)[0] for z in Z], rtol=1e-5)


def test_draws_and_first_parameters_are_reported_by_sample():
    opened = session(gaussian, gaussian_guide, particles=3)
    first, again, other = (opened.sample(seed, Given(), (X,), {}) for seed in (0, 0, 1))
    assert first.loss is None
    assert first.parameters["loc"].value == 0.5
    assert first.parameters["scale"].constraint == "positive"
    assert first.parameters["scale"].gradient is None
    np.testing.assert_array_equal(first.guide["z"].value, again.guide["z"].value)
    assert len({*first.guide["z"].value, *other.guide["z"].value}) == 6
    moved = opened.sample(0, Given(parameters={"loc": np.array(1.5)}), (X,), {})
    np.testing.assert_allclose(moved.guide["z"].value, first.guide["z"].value + 1)


def test_subsamples_are_given():
    def model(x):
        z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        with numpyro.plate("data", 3, subsample_size=2) as i:
            numpyro.sample("x", dist.Normal(z, 1.0), obs=x[i])

    def guide(x):
        numpyro.sample("z", dist.Normal(0.0, 1.0))

    run = ran(model, Given({"z": Z[:1]}, {"data": np.array([0, 2])}), X, guide=guide)
    np.testing.assert_array_equal(run.model["x"].value, [X[[0, 2]]])
    np.testing.assert_allclose(run.loss, [-1.5 * NORMAL(X[[0, 2]], Z[0]).sum()], rtol=1e-12)
    assert run.model["x"].plates == (Plate("data", -1, 3, 2),)


def test_a_parameter_is_subsampled_with_its_plate():
    def model(x):
        with numpyro.plate("data", 3, subsample_size=2):
            loc = numpyro.param("loc", jnp.zeros(3), event_dim=0)
            numpyro.sample("x", dist.Normal(loc, 1.0), obs=numpyro.subsample(x, event_dim=0))

    run = ran(model, Given({}, {"data": np.array([0, 2])}), X, guide=lambda x: None)
    assert run.parameters["loc"].value.shape == (3,)
    expected = -1.5 * X * np.array([1, 0, 1])
    np.testing.assert_allclose(run.parameters["loc"].gradient, expected, rtol=1e-12)


CHARTS = {
    # constraint, a value, and its map from the shared coordinates with those of the value
    "simplex": (
        constraints.simplex,
        [0.2, 0.3, 0.5],
        lambda u: jnp.exp(u) / jnp.exp(u).sum(),
        np.log,
    ),
    "lower_cholesky": (
        constraints.lower_cholesky,
        TRIL,
        lambda u: jnp.tril(u, -1) + jnp.diag(jnp.exp(jnp.diag(u))),
        lambda x: np.tril(x, -1) + np.diag(np.log(np.diag(x))),
    ),
    "softplus_lower_cholesky": (
        constraints.softplus_lower_cholesky,
        TRIL,
        lambda u: jnp.tril(u, -1) + jnp.diag(jnp.log1p(jnp.exp(jnp.diag(u)))),
        lambda x: np.tril(x, -1) + np.diag(np.log(np.expm1(np.diag(x)))),
    ),
    "scaled_unit_lower_cholesky": (
        constraints.scaled_unit_lower_cholesky,
        TRIL,
        lambda u: jnp.log1p(jnp.exp(jnp.diag(u)))[:, None] * (jnp.tril(u, -1) + jnp.eye(2)),
        lambda x: np.tril(x / np.diag(x)[:, None], -1) + np.diag(np.log(np.expm1(np.diag(x)))),
    ),
    "positive": (constraints.positive, [0.2, 3.0], jnp.exp, np.log),
    "interval": (
        constraints.interval(0.0, 5.0),
        [0.2, 3.0],
        lambda u: 5 / (1 + jnp.exp(-u)),
        lambda x: np.log(np.divide(x, 5) / (1 - np.divide(x, 5))),
    ),
}


@pytest.mark.parametrize("name", CHARTS)
def test_gradients_are_in_shared_coordinates(name, x64):
    constraint, value, constrained, coordinates = CHARTS[name]
    value = np.asarray(value)
    weights = np.arange(1.0, value.size + 1).reshape(value.shape)
    u = coordinates(value)
    np.testing.assert_allclose(constrained(jnp.asarray(u)), value, rtol=1e-12)
    expected = jax.grad(lambda u: (constrained(u) * weights).sum())(jnp.asarray(u))
    found = chart_gradient(constraint, jnp.asarray(value), jnp.asarray(weights))
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_gradient_of_a_positive_definite_matrix(x64):
    value, weights = TRIL @ TRIL.T, np.array([[1.0, 2.0], [2.0, 5.0]])

    def matrix(a, b, c):
        tril = np.array([[np.exp(a), 0], [b, np.exp(c)]])
        return tril @ tril.T * weights

    a, b, c = numeric(matrix, *(np.array(v) for v in (np.log(1.3), 0.5, np.log(0.7))))
    found = chart_gradient(constraints.positive_definite, jnp.asarray(value), jnp.asarray(weights))
    np.testing.assert_allclose(found, [[a, 0], [b, c]], rtol=1e-7, atol=1e-9)


# -- other objectives ---------------------------------------------------------------------------------

PROBS = np.array([0.2, 0.3, 0.5])
LOCS = np.array([-1.0, 0.5, 2.0])


def mixture(x):
    with numpyro.plate("data", 3):
        k = numpyro.sample("k", dist.Categorical(jnp.array(PROBS)), infer={"enumerate": "parallel"})
        numpyro.sample("x", dist.Normal(jnp.array(LOCS)[k], 1.0), obs=x)


K = np.array([[0, 2, 1]])


def test_enumerated_sites_are_recorded_as_given_and_summed_in_the_loss():
    pytest.importorskip("funsor")
    given = Given({"k": K.astype(float)})
    run = ran(mixture, given, X, guide=lambda x: None, loss="TraceEnum_ELBO")
    expected = -logsumexp(np.log(PROBS) + NORMAL(X[:, None], LOCS), axis=-1).sum()
    np.testing.assert_allclose(run.loss, [expected], rtol=1e-12)
    np.testing.assert_array_equal(run.model["k"].value, K)
    assert run.model["k"].batch_shape == (3,)
    np.testing.assert_allclose(run.model["x"].log_prob, NORMAL(X, LOCS[K]))


def test_enumeration_without_funsor_says_what_to_install(monkeypatch):
    monkeypatch.setattr("numpyro_impl.program.find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install funsor"):
        session(mixture, lambda x: None, loss="TraceEnum_ELBO")


def test_a_markov_chain_is_summed():
    funsor = pytest.importorskip("numpyro.contrib.funsor")
    transition = np.array([[0.9, 0.1], [0.3, 0.7]])

    def model(x):
        z = 0
        for t in funsor.markov(range(3)):
            row = jnp.array(transition)[z]
            z = numpyro.sample(f"z{t}", dist.Categorical(row), infer={"enumerate": "parallel"})
            numpyro.sample(f"x{t}", dist.Normal(jnp.array(LOCS)[z], 1.0), obs=x[t])

    draws = {f"z{t}": np.array([t % 2]) for t in range(3)}
    run = ran(model, Given(draws), X, guide=lambda x: None, loss="TraceEnum_ELBO")
    paths = []
    for path in np.ndindex(2, 2, 2):
        steps = zip((0, *path), path, strict=False)
        prior = sum(np.log(transition[a, b]) for a, b in steps)
        paths.append(prior + NORMAL(X, LOCS[list(path)]).sum())
    np.testing.assert_allclose(run.loss, [-logsumexp(paths)], rtol=1e-12)
    assert run.model["z1"].value == [1]


def bernoulli(x):
    b = numpyro.sample("b", dist.Bernoulli(0.3))
    numpyro.sample("x", dist.Normal(2.0 * b, 1.0), obs=x)


def bernoulli_guide(x):
    q = numpyro.param("q", 0.6, constraint=constraints.unit_interval)
    numpyro.sample("b", dist.Bernoulli(q))


@pytest.mark.parametrize("b", [0, 1])
def test_the_score_function_of_a_discrete_guide(b):
    q, x = 0.6, 0.8
    given = Given({"b": np.array([float(b)])}, {}, {"q": np.array(q)})
    run = ran(bernoulli, given, x, guide=bernoulli_guide, loss="TraceGraph_ELBO")
    cost = stats.bernoulli.logpmf(b, q) - stats.bernoulli.logpmf(b, 0.3) - NORMAL(x, 2 * b)
    np.testing.assert_allclose(run.loss, [cost], rtol=1e-12)
    score = b * (1 - q) - (1 - b) * q  # of log q(b) in the logit of q
    np.testing.assert_allclose(run.parameters["q"].gradient, cost * score, rtol=1e-10)
    assert run.guide["b"].dtype.startswith("int")


def walk(x):
    def step(z, x):
        z = numpyro.sample("z", dist.Normal(z, 1.0))
        with numpyro.plate("ends", 2):
            numpyro.sample("x", dist.Normal(z, 0.5), obs=x)
        return z, z

    scan(step, 0.0, x)


def walk_guide(x):
    scale = numpyro.param("scale", 0.3, constraint=constraints.positive)

    def step(z, x):
        z = numpyro.sample("z", dist.Normal(0.5 * z, scale))
        return z, z

    scan(step, 0.0, x)


def test_draws_reach_inside_a_scan():
    z, x = np.array([[0.3, 0.7, -0.2]]), np.stack([X, -X], axis=1)
    run = ran(walk, Given({"z": z}), x, guide=walk_guide)
    before = np.array([0.0, *z[0, :-1]])
    np.testing.assert_array_equal(run.model["z"].value, z)
    np.testing.assert_array_equal(run.guide["z"].value, z)
    assert run.model["x"].batch_shape == (3, 2)
    assert run.model["x"].plates == (Plate("ends", -1, 2, 2),)
    np.testing.assert_allclose(run.model["z"].log_prob, [NORMAL(z[0], before)], rtol=1e-12)
    np.testing.assert_allclose(run.guide["z"].log_prob, [NORMAL(z[0], before / 2, 0.3)], rtol=1e-12)
    loss = NORMAL(z[0], before / 2, 0.3).sum() - NORMAL(z[0], before).sum()
    loss -= NORMAL(x, z[0][:, None], 0.5).sum()
    np.testing.assert_allclose(run.loss, [loss], rtol=1e-12)

    def path(log_scale):  # the loss at fixed noise
        noise = (z[0] - before / 2) / 0.3
        scale, moved = np.exp(log_scale), [0.0]
        for e in noise:
            moved.append(moved[-1] / 2 + scale * e)
        here, before_ = np.array(moved[1:]), np.array(moved[:-1])
        q = NORMAL(here, before_ / 2, scale).sum()
        return q - NORMAL(here, before_).sum() - NORMAL(x, here[:, None], 0.5).sum()

    (expected,) = numeric(path, np.array(np.log(0.3)))
    np.testing.assert_allclose(run.parameters["scale"].gradient, expected, rtol=1e-6)


# -- without a guide ----------------------------------------------------------------------------------


def conjugate(x):
    rate = numpyro.sample("rate", dist.Gamma(2.0, 3.0))
    p = numpyro.sample("p", dist.Dirichlet(jnp.array([1.0, 2.0, 3.0])))
    with numpyro.plate("data", 3):
        numpyro.sample("x", dist.Exponential(rate * p[0]), obs=x)


def test_without_a_guide_the_loss_is_the_potential_energy():
    x, rate, p = np.abs(X), np.array([0.7, 1.8]), np.array([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]])
    run = ran(conjugate, Given({"rate": rate, "p": p}), x, particles=2)

    def potential(rate, p):
        density = stats.gamma.logpdf(rate, 2, scale=1 / 3) + stats.dirichlet.logpdf(p, [1, 2, 3])
        density += stats.expon.logpdf(x, scale=1 / (rate * p[0])).sum() + np.log(rate)
        sticks = p[0] * (1 - p[0]) * p[1] * (1 - p[0] - p[1]) / (1 - p[0])
        return -(density + np.log(sticks))

    np.testing.assert_allclose(run.loss, [potential(*at) for at in zip(rate, p, strict=True)])
    u = run.parameters["rate"]
    assert u.constraint == "unconstrained"
    np.testing.assert_allclose(u.value, np.log(rate))
    # d/du of -(2 + 3) u + 3 rate + rate p₀ Σx, with 2 - 1 from the prior, 3 data, 1 from the Jacobian
    expected = (-5 + 3 * rate + rate * p[:, 0] * x.sum()) / 2
    np.testing.assert_allclose(u.gradient, expected, rtol=1e-12)
    assert run.parameters["p"].value.shape == (2, 2)
    sticks = np.log(p[:, 0] / (1 - p[:, 0])) + np.log(
        2
    )  # the chart's origin is the uniform simplex
    np.testing.assert_allclose(run.parameters["p"].value[:, 0], sticks, rtol=1e-12)


def test_without_a_guide_discrete_latents_are_summed():
    pytest.importorskip("funsor")
    run = ran(mixture, Given({"k": K}), X)
    expected = -logsumexp(np.log(PROBS) + NORMAL(X[:, None], LOCS), axis=-1).sum()
    np.testing.assert_allclose(run.loss, [expected], rtol=1e-12)
    assert run.parameters == {}


def test_without_a_guide_subsamples_are_given_and_a_delta_is_no_coordinate():
    def model(x):
        shift = numpyro.sample("shift", dist.Delta(0.5))
        with numpyro.plate("data", 3, subsample_size=2) as i:
            numpyro.sample("x", dist.Normal(shift, 1.0), obs=x[i])

    run = ran(model, Given({"shift": Z[:1]}, {"data": np.array([0, 2])}), X)
    np.testing.assert_allclose(run.loss, [-1.5 * NORMAL(X[[0, 2]], 0.5).sum()], rtol=1e-12)
    assert run.parameters == {}


def test_without_a_guide_a_scan_and_a_parameter():
    def model(x):
        scale = numpyro.param("scale", 1.5, constraint=constraints.positive)

        def step(z, x):
            z = numpyro.sample("z", dist.Normal(z, scale))
            numpyro.sample("x", dist.Normal(z, 1.0), obs=x)
            return z, z

        scan(step, 0.0, x)

    z = np.array([[0.3, 0.7, -0.2]])
    run = ran(model, Given({"z": z}), X)
    steps = z[0] - [0.0, 0.3, 0.7]
    np.testing.assert_allclose(run.loss, [-NORMAL(steps, 0, 1.5).sum() - NORMAL(X, z[0]).sum()])
    np.testing.assert_allclose(run.parameters["scale"].gradient, 3 - np.sum(steps**2) / 1.5**2)
    pulls = steps / 1.5**2
    expected = pulls - [*pulls[1:], 0] - (X - z[0])
    np.testing.assert_allclose(run.parameters["z"].gradient, [expected], rtol=1e-12)


# -- modules, autoguides, reparameterised models ------------------------------------------------------


class Net(linen.Module):
    @linen.compact
    def __call__(self, x):
        hidden = jnp.tanh(linen.Dense(2)(x))
        return linen.Dense(1)(hidden)[..., 0]


class NnxNet(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(1, 2, rngs=rngs)
        self.norm = nnx.BatchNorm(2, rngs=rngs, use_running_average=True)
        self.second = nnx.Linear(2, 1, rngs=rngs)

    def __call__(self, x):
        return self.second(jnp.tanh(self.norm(self.first(x))))[..., 0]


def regression(net):
    with numpyro.plate("data", 3):
        numpyro.sample("y", dist.Normal(net, 1.0), obs=jnp.zeros(3))


WEIGHTS = {
    "net$params/Dense_0/kernel": np.array([[0.5, -1.0]]),
    "net$params/Dense_0/bias": np.array([0.1, 0.2]),
    "net$params/Dense_1/kernel": np.array([[1.0], [2.0]]),
    "net$params/Dense_1/bias": np.array([0.3]),
}


def network(first, shift, second, bias):
    return (np.tanh(X[:, None] @ first + shift) @ second + bias)[:, 0]


def test_a_linen_module():
    def model(x):
        regression(flax_module("net", Net(), input_shape=(1,))(x[:, None]))

    first = sampled(model, X, guide=lambda x: None)
    assert {n: p.value.shape for n, p in first.parameters.items()} == {
        n: w.shape for n, w in WEIGHTS.items()
    }
    run = ran(model, Given(parameters=WEIGHTS), X, guide=lambda x: None)
    np.testing.assert_allclose(run.loss, [-NORMAL(network(*WEIGHTS.values())).sum()], rtol=1e-12)
    slopes = numeric(lambda *w: -NORMAL(network(*w)).sum(), *WEIGHTS.values())
    for name, slope in zip(WEIGHTS, slopes, strict=True):
        np.testing.assert_allclose(run.parameters[name].gradient, slope, rtol=1e-6, atol=1e-8)
        assert run.parameters[name].constraint == "real"


def test_an_nnx_module_with_state():
    net = NnxNet(nnx.Rngs(0))

    def model(x):
        regression(nnx_module("net", net)(x[:, None]))

    weights = {
        "net$params/first/kernel": WEIGHTS["net$params/Dense_0/kernel"],
        "net$params/first/bias": WEIGHTS["net$params/Dense_0/bias"],
        "net$params/norm/bias": np.zeros(2),
        "net$params/norm/scale": np.sqrt(1 + np.full(2, 1e-5)),
        "net$params/second/kernel": WEIGHTS["net$params/Dense_1/kernel"],
        "net$params/second/bias": WEIGHTS["net$params/Dense_1/bias"],
    }
    run = ran(model, Given(parameters=weights), X, guide=lambda x: None)
    assert set(run.parameters) == set(weights)
    np.testing.assert_allclose(run.loss, [-NORMAL(network(*WEIGHTS.values())).sum()], rtol=1e-7)
    assert net(jnp.ones((1, 1))).dtype == jnp.float32  # the user's module is as it was


def test_a_module_with_running_statistics():
    def model(x):
        norm = linen.BatchNorm(use_running_average=True)
        net = flax_module("net", norm, input_shape=(3, 1), mutable=["batch_stats"])
        regression(net(x[:, None])[:, 0])

    run = ran(model, Given(), X, guide=lambda x: None)
    np.testing.assert_allclose(run.loss, [-NORMAL(X / np.sqrt(1 + 1e-5)).sum()], rtol=1e-7)


def test_modules_with_random_weights():
    def model(x):
        prior = dist.Normal(0.0, 1.0)
        net = random_flax_module("net", Net(), prior, input_shape=(1,))
        other = random_nnx_module("other", nnx.Linear(1, 1, rngs=nnx.Rngs(0)), prior)
        regression(net(x[:, None]) + other(x[:, None])[:, 0])

    layers = (name.removeprefix("net$params/").replace("/", ".") for name in WEIGHTS)
    weights = {f"net/{layer}": w for layer, w in zip(layers, WEIGHTS.values(), strict=True)}
    draws = weights | {"other/kernel": np.array([[2.0]]), "other/bias": np.array([1.0])}
    run = ran(model, Given({n: v[None] for n, v in draws.items()}), X)
    assert {n for n, s in run.model.items() if s.kind == "latent"} == set(draws)
    prior = sum(NORMAL(v).sum() for v in draws.values())
    output = network(*WEIGHTS.values()) + 2 * X + 1
    np.testing.assert_allclose(run.loss, [-prior - NORMAL(output).sum()], rtol=1e-12)


def two_latents(x):
    a = numpyro.sample("a", dist.Normal(0.0, 1.0))
    s = numpyro.sample("s", dist.LogNormal(0.0, 1.0))
    with numpyro.plate("data", 3):
        numpyro.sample("x", dist.Normal(a, s), obs=x)


def log_joint(a, s):
    return NORMAL(a) + stats.lognorm.logpdf(s, 1) + NORMAL(X, a, s).sum()


def at(run, names="as"):
    return (run.model[name].value[0] for name in names)


def test_autonormal():
    parameters = {"a_auto_loc": 0.3, "a_auto_scale": 0.5, "s_auto_loc": -0.2, "s_auto_scale": 0.4}
    a, s = 0.7, 1.3
    given = Given(
        {"a": np.array([a]), "s": np.array([s])},
        {},
        {name: np.array(value) for name, value in parameters.items()},
    )
    run = ran(two_latents, given, X, guide=autoguide.AutoNormal(two_latents))
    guide = NORMAL(a, 0.3, 0.5) + stats.lognorm.logpdf(s, 0.4, scale=np.exp(-0.2))
    np.testing.assert_allclose(run.loss, [guide - log_joint(a, s)], rtol=1e-12)
    assert {n: p.constraint for n, p in run.parameters.items()} == {
        name: "softplus_positive" if name.endswith("scale") else "real" for name in parameters
    }

    def path(loc):  # the loss at fixed noise, in the location of log s
        moved = np.exp(loc + np.log(s) + 0.2)
        return NORMAL(np.log(s), -0.2, 0.4) - np.log(moved) - log_joint(a, moved)

    (expected,) = numeric(path, np.array(-0.2))
    np.testing.assert_allclose(run.parameters["s_auto_loc"].gradient, expected, rtol=1e-6)


LOC = np.array([0.3, -0.2])
UNCONSTRAINED = np.array([[0.7, 0.4]])
JOINT = {
    "AutoDiagonalNormal": (
        {"auto_loc": LOC, "auto_scale": np.array([0.5, 0.4])},
        np.diag([0.25, 0.16]),
    ),
    "AutoMultivariateNormal": (
        {"auto_loc": LOC, "auto_scale_tril": np.array([[0.5, 0.0], [0.2, 0.4]])},
        np.array([[0.25, 0.1], [0.1, 0.2]]),
    ),
    "AutoLowRankMultivariateNormal": (
        {
            "auto_loc": LOC,
            "auto_cov_factor": np.array([[1.0], [2.0]]),
            "auto_scale": np.array([0.5, 0.4]),
        },
        np.outer([0.5, 0.8], [0.5, 0.8]) + np.diag([0.25, 0.16]),
    ),
}


@pytest.mark.parametrize("name", JOINT)
def test_autoguides_with_one_joint_latent(name):
    parameters, covariance = JOINT[name]
    guide = getattr(autoguide, name)
    guide = guide(two_latents, rank=1) if "LowRank" in name else guide(two_latents)
    run = ran(two_latents, Given({"_auto_latent": UNCONSTRAINED}, {}, parameters), X, guide=guide)
    np.testing.assert_array_equal(run.guide["_auto_latent"].value, UNCONSTRAINED)
    assert run.guide["_auto_latent"].kind == "auxiliary"
    a, s = UNCONSTRAINED[0, 0], np.exp(UNCONSTRAINED[0, 1])
    np.testing.assert_allclose(list(at(run)), [a, s])
    guide = stats.multivariate_normal.logpdf(UNCONSTRAINED[0], LOC, covariance)
    np.testing.assert_allclose(
        run.loss, [guide - UNCONSTRAINED[0, 1] - log_joint(a, s)], rtol=1e-12
    )
    assert np.all(np.isfinite(run.parameters["auto_loc"].gradient))


def test_reattached_draws_of_a_flow_have_the_gradient_of_the_draw_itself():
    """Given no draws, a run draws with the same keys as `sample` with the seed 0.

    Joint normals are re-attached otherwise than they are drawn: see test_joint_autoguides.
    """
    opened = session(two_latents, autoguide.AutoIAFNormal(two_latents))
    first = opened.sample(0, Given(), (X,), {})
    drawn = opened.run(Given(), (X,), {})
    draws = {"_auto_latent": first.guide["_auto_latent"].value}
    given = opened.run(Given(draws), (X,), {})
    np.testing.assert_array_equal(drawn.guide["_auto_latent"].value, draws["_auto_latent"])
    np.testing.assert_allclose(given.loss, drawn.loss, rtol=1e-12)
    for key, parameter in given.parameters.items():
        native = drawn.parameters[key].gradient
        np.testing.assert_allclose(parameter.gradient, native, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", ["AutoDelta", "AutoLaplaceApproximation"])
def test_autoguides_that_compute_their_values(name):
    a, s = 0.3, np.exp(-0.2)
    delta = name == "AutoDelta"
    given = {"a_auto_loc": a, "s_auto_loc": s} if delta else {"auto_loc": LOC}
    given = {key: np.asarray(value) for key, value in given.items()}
    guide = getattr(autoguide, name)(two_latents)
    run = ran(two_latents, Given({"a": Z[:1], "s": Z[:1]}, {}, given), X, guide=guide)
    jacobian = 0.0 if delta else -0.2
    np.testing.assert_allclose(run.loss, [-log_joint(a, s) - jacobian], rtol=1e-12)
    np.testing.assert_allclose(list(at(run)), [a, s])


def test_an_autoguide_that_was_used_before_is_not_touched():
    guide = autoguide.AutoNormal(two_latents)
    handlers.seed(guide, 5)(jnp.asarray(X))
    before = guide.prototype_trace
    used = sampled(two_latents, X, guide=guide).parameters
    fresh = sampled(two_latents, X, guide=autoguide.AutoNormal(two_latents)).parameters
    assert guide.prototype_trace is before
    assert all(np.array_equal(used[name].value, fresh[name].value) for name in fresh)


def test_a_reparameterised_model():
    def model(x):
        numpyro.sample("z", dist.Normal(3.0, 2.0))

    model = handlers.reparam(model, config={"z": LocScaleReparam(0.0)})
    run = ran(model, Given({"z_decentered": Z[:1]}), X)
    assert run.model["z"].kind == "deterministic"
    np.testing.assert_allclose(run.model["z"].value, 3 + 2 * Z[:1])
    np.testing.assert_allclose(run.loss, [-NORMAL(Z[0])])


# -- programs that JAX cannot trace, failures, what is restored ---------------------------------------


def test_a_program_that_looks_at_its_values_runs_operation_by_operation():
    def model(x):
        z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        loc = z if z > 0 else -2 * z
        numpyro.sample("x", dist.Normal(loc, 1.0).expand([3]).to_event(1), obs=x[x == x])

    def guide(x):
        numpyro.sample("z", dist.Normal(numpyro.param("loc", 0.0), 1.0))

    given = Given({"z": Z}, {}, {"loc": np.array(0.2)})
    run = ran(model, given, X, guide=guide, particles=2, compiled=False)
    locs = np.where(Z > 0, Z, -2 * Z)
    expected = [
        NORMAL(z, 0.2) - NORMAL(z) - NORMAL(X, m).sum() for z, m in zip(Z, locs, strict=True)
    ]
    np.testing.assert_allclose(run.loss, expected, rtol=1e-12)
    np.testing.assert_array_equal(run.model["z"].value, Z)


def test_plain_numbers_stay_plain_and_floats_can_change():
    def model(x, count, width, flag=True):
        assert isinstance(count, int)
        assert flag is True
        with numpyro.plate("data", count):
            numpyro.sample("x", dist.Normal(0.0, width), obs=x["inside"][0])
        numpyro.deterministic("single", width * jnp.ones((), jnp.float32))

    opened = session(model, lambda *args, **kwargs: None)
    for width in (1.0, 2.0):
        run = opened.run(Given(), ({"inside": [X]}, 3, width), {"flag": True})
        np.testing.assert_allclose(run.loss, [-NORMAL(X, 0, width).sum()], rtol=1e-12)
        assert run.model["single"].dtype == "float32"  # a plain number promotes nothing
    assert opened._ways[0][1]


def test_a_guide_that_keeps_arrays_is_built_again():
    class Guide:
        first = None

        def __call__(self, x):
            if self.first is None:
                self.first = 2 + jnp.asarray(x)[0]
            numpyro.sample("z", dist.Normal(numpyro.param("loc", 0.0) + self.first, 1.0))

    given = Given({"z": Z[:1]})
    run = ran(gaussian, given, X, guide=Guide())
    np.testing.assert_allclose(run.guide["z"].log_prob, NORMAL(Z[:1], 2 + X[0]))
    opened = session(gaussian, Guide())
    for _ in range(2):
        assert opened.sample(0, Given(), (X,), {}).failure is None
        np.testing.assert_array_equal(opened.run(given, (X,), {}).loss, run.loss)


CAPTURED = jnp.array([0.1, 0.7])  # in single precision: outside of any session


class Prior:
    """Callable, keeps an array."""

    def __init__(self):
        self.scale = jnp.array(0.3)

    def __call__(self):
        return dist.Normal(0.0, jnp.exp(self.scale))


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_arrays_that_a_program_reaches_are_in_its_precision(precision):
    inside, listed, prior = jnp.array(0.2), [jnp.array(0.4)], Prior()
    ready = dist.Gamma(jnp.array(0.9), 1.0)

    @jax.jit
    def compiled(values):
        return jnp.exp(values) + jnp.exp(CAPTURED)

    def model(x, default=jnp.array(0.3)):  # noqa: B008
        numpyro.sample("a", dist.Dirichlet(jnp.exp(CAPTURED)), obs=jnp.array([0.5, 0.5]))
        reached = (inside, listed[0], default, *(s for s in CAPTURED))
        numpyro.deterministic("scales", jnp.stack([jnp.exp(s) for s in reached]))
        numpyro.deterministic("compiled", compiled(CAPTURED))
        numpyro.sample("b", prior(), obs=x[0])
        numpyro.sample("c", ready, obs=x[2])

    run = ran(model, Given(), X, guide=lambda x: None, precision=precision)
    rounded = np.array([0.2, 0.4, 0.3, 0.1, 0.7], dtype=np.float32)
    digits = 1e-14 if precision == "float64" else 1e-6
    scales = np.exp(rounded.astype(float))
    np.testing.assert_allclose(run.model["scales"].value, [scales], rtol=digits)
    np.testing.assert_allclose(run.model["compiled"].value, [2 * scales[3:]], rtol=digits)
    a = stats.dirichlet.logpdf([0.5, 0.5], scales[3:])
    np.testing.assert_allclose(run.model["a"].log_prob, [a], rtol=100 * digits)
    b = NORMAL(X[0], 0, np.exp(float(np.float32(0.3))))
    np.testing.assert_allclose(run.model["b"].log_prob, [b], rtol=digits)
    c = stats.gamma.logpdf(X[2], float(np.float32(0.9)))
    np.testing.assert_allclose(run.model["c"].log_prob, [c], rtol=digits)
    assert {v.dtype for v in (CAPTURED, inside, listed[0], prior.scale, ready.concentration)} == {
        np.dtype("float32")
    }
    assert model.__defaults__[0].dtype == "float32"


def failing(x):
    with numpyro.plate("data", 3):
        numpyro.sample("fine", dist.Normal(0.0, 1.0), obs=x)
        raise_at(x)


def raise_at(x):
    numpyro.sample("broken", dist.Normal(jnp.zeros(4), 1.0))


def test_an_error_names_the_site_and_shows_the_users_frames():
    run = session(failing).sample(0, Given(), (X,), {})
    assert run.failure is not None
    assert (run.failure.stage, run.failure.site) == ("model", "broken")
    assert run.failure.error.startswith("ValueError: Incompatible shapes")
    assert "raise_at(x)" in run.failure.traceback
    assert "site-packages" not in run.failure.traceback
    assert "numpyro_impl" not in run.failure.traceback
    np.testing.assert_allclose(run.model["fine"].log_prob, [NORMAL(X)])


def test_an_error_between_sites_names_the_last_one():
    def guide(x):
        numpyro.sample("z", dist.Normal(numpyro.param("loc", 0.5), 1.0))
        raise KeyError("x")

    run = session(gaussian, guide).run(GIVEN, (X,), {})
    assert (run.failure.stage, run.failure.site) == ("guide", "z")
    assert run.failure.error == "KeyError: 'x'"
    assert run.guide["z"].kind == "latent"
    assert run.loss is None


def test_an_error_in_a_density_names_its_site():
    class Broken(dist.Normal):
        def log_prob(self, value):
            raise RuntimeError("no density")

    def model(x):
        numpyro.sample("y", Broken(0.0, 1.0), obs=x[0])
        numpyro.sample("after", dist.Normal(0.0, 1.0))

    run = session(model).sample(0, Given(), (X,), {})
    assert (run.failure.site, run.failure.error) == ("y", "RuntimeError: no density")
    site = run.model["y"]
    assert (site.kind, site.family, site.log_prob) == ("observed", "Broken", None)


def test_an_error_of_the_objective_is_one_of_the_loss():
    def guide(x):
        numpyro.sample("z", dist.Normal(0.0, 1.0))
        numpyro.sample("other", dist.Normal(0.0, 1.0))

    run = session(gaussian, guide, loss="TraceMeanField_ELBO").run(GIVEN, (X,), {})
    assert (run.failure.stage, run.failure.error) == ("loss", "AssertionError: ")
    assert run.guide["z"].value == Z[0]


def test_a_builder_that_raises():
    def builder():
        raise OSError("no file")

    run = Program.build(builder).session("float64", Settings()).sample(0, Given(), (), {})
    assert (run.failure.stage, run.failure.error) == ("build", "OSError: no file")
    assert "no file" in run.failure.traceback


def test_missing_arguments():
    run = session(gaussian).sample(0, Given(), (), {})
    assert run.failure.stage == "model"
    assert "missing 1 required positional argument" in run.failure.error


@pytest.mark.parametrize("flag", [False, True])
def test_the_users_precision_and_handlers_are_restored(flag):
    def model():
        jax.config.update("jax_enable_x64", not flag)
        numpyro.sample("z", dist.Normal(0.0, 1.0))
        raise RuntimeError

    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", flag)
    try:
        for precision in ("float32", "float64"):
            session(model, precision=precision).sample(0, Given(), (), {})
            assert jax.config.jax_enable_x64 == flag
        assert numpyro.primitives._PYRO_STACK == []
    finally:
        jax.config.update("jax_enable_x64", before)


def test_keyboard_interrupts_pass():
    def model():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        session(model).sample(0, Given(), (), {})


def test_operations_are_those_of_the_program():
    def model(x):
        y = jax.nn.gelu(x, approximate=False)[jnp.array([0, 5])]
        numpyro.sample("y", dist.Normal(0.0, 1.0), obs=y.astype(jnp.float32))

    def guide(x):
        weights = numpyro.param("weights", jnp.ones(3))
        numpyro.sample("z", dist.Normal(weights[jnp.array([0, 2])].sum(), 1.0))

    opened = session(model, guide)
    opened.run(Given({"z": Z[:1]}), (X,), {})
    assert {"erfc", "convert_element_type(float32)"} <= opened.operations
    assert any(name.startswith("gather(mode=") for name in opened.operations)
    assert "tanh" not in opened.operations
    assert not any(name.startswith("scatter") for name in opened.operations)  # in the gradient only


def test_versions():
    versions = Program(gaussian).versions()
    assert versions["numpyro"] == numpyro.__version__
    assert versions["jax"] == jax.__version__
    assert "device" in versions


def test_a_whole_record_of_itself_is_the_same():
    program = Program(gaussian, gaussian_guide)
    record = program.record((X,), particles=2, seeds=(0,), stress=False)
    other = program.record((X,), like=record)
    assert record.failure is None
    for key, run in record.runs.items():
        np.testing.assert_array_equal(run.loss, other.runs[key].loss)


def test_a_model_that_stops_is_said_to_have_reached_its_own_last_site():
    """Though its guide went on to the sites behind it."""

    def model():
        numpyro.sample("a", dist.Normal(0.0, 1.0))
        raise ValueError("no further")

    def guide():
        for name in ("a", "b"):
            numpyro.sample(name, dist.Normal(0.0, 1.0))

    failure = Program(model, guide).record(seeds=(0,), stress=False).failure
    assert (failure.stage, failure.site) == ("model", "a")


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
        return reattached(fn, jnp.asarray(x), joint=True)

    covariance = factor @ factor.T + low_rank * np.eye(4)
    change = rng.normal(size=factor.shape) if low_rank else np.tril(rng.normal(size=(4, 4)))
    moved = change @ factor.T + factor @ change.T
    expected = direction + moved @ np.linalg.solve(covariance, x - loc) / 2
    found, tangent = jax.jvp(drawn, (loc, factor), (direction, change))
    np.testing.assert_array_equal(found, x)
    np.testing.assert_allclose(tangent, expected, rtol=1e-12)
