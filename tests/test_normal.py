"""The multivariate normals that remember their base noise, against SciPy and the stock families.

"packed" is the one from the numbers of its triangle; "diagonal" the same without any below the diagonal.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from mpmath import mp
from triangles import filled

from twinplate.errors import InputError

SIZES = [  # family, K, R
    ("full", 1, None),
    ("full", 4, None),
    ("packed", 1, None),
    ("packed", 4, None),
    ("diagonal", 4, None),
    ("low-rank", 1, 1),
    ("low-rank", 4, 1),
    ("low-rank", 4, 2),
    ("low-rank", 4, 4),
]
sizes = pytest.mark.parametrize(("family", "k", "r"), SIZES)
pyro_only = pytest.mark.parametrize("twin", ["pyro"], indirect=True)
jax_only = pytest.mark.parametrize("twin", ["numpyro"], indirect=True)
families = pytest.mark.parametrize("family", ["full", "packed", "diagonal", "low-rank"])


def is_packed(parameters):
    """loc, scale and lower, rather than loc, cov_factor and cov_diag."""
    return len(parameters) == 3 and parameters[2].shape[-1] != parameters[0].shape[-1]


def numbers(family, k=4, r=2, batch=(), seed=0):
    """Parameters in NumPy: loc and scale_tril; loc, scale and lower; or loc, cov_factor and cov_diag."""
    rng = np.random.default_rng(seed)
    loc = rng.normal(size=(*batch, k))
    if family in ("packed", "diagonal"):
        lower = rng.normal(size=(*batch, k * (k - 1) // 2 if family == "packed" else 0))
        return [loc, rng.uniform(0.3, 2.0, (*batch, k)), lower]
    if family == "full":
        tril = np.tril(rng.normal(size=(*batch, k, k)), -1)
        return [loc, tril + rng.uniform(0.3, 2.0, (*batch, k))[..., None] * np.eye(k)]
    return [loc, rng.normal(size=(*batch, k, r)), rng.uniform(0.3, 2.0, (*batch, k))]


def covariance(parameters):
    if is_packed(parameters):
        tril = filled(*parameters[1:])
        return tril @ tril.mT
    if len(parameters) == 2:
        return parameters[1] @ parameters[1].mT
    _, factor, diagonal = parameters
    return factor @ factor.mT + diagonal[..., None] * np.eye(diagonal.shape[-1])


def make(module, parameters):
    """The family of these parameters, ours or the stock one."""
    if is_packed(parameters):
        if hasattr(module, "PackedMultivariateNormal"):
            return module.PackedMultivariateNormal(*parameters)
        return module.MultivariateNormal(parameters[0], scale_tril=tril_of(*parameters[1:]))
    if len(parameters) == 2:
        return module.MultivariateNormal(parameters[0], scale_tril=parameters[1])
    return module.LowRankMultivariateNormal(*parameters)


def scipy_log_prob(parameters, value):
    """Elementwise log density over all leading dims of `value`, parameters broadcast against it."""
    k = value.shape[-1]
    batch = value.shape[:-1]
    loc = np.broadcast_to(parameters[0], (*batch, k)).reshape(-1, k)
    cov = np.broadcast_to(covariance(parameters), (*batch, k, k)).reshape(-1, k, k)
    rows = zip(value.reshape(-1, k), loc, cov, strict=True)
    return np.array([scipy.stats.multivariate_normal.logpdf(*row) for row in rows]).reshape(batch)


def tril_of(scale, lower):
    """A native triangle, differentiable, by the framework's own plain operations."""
    k = scale.shape[-1]
    rows, columns = np.tril_indices(k, -1)
    place = np.zeros((len(rows), k, k))
    place[np.arange(len(rows)), rows, columns] = 1
    constant = getattr(scale, "new_tensor", np.asarray)
    tril = scale[..., None] * constant(np.eye(k))
    return tril + (lower[..., None, None] * constant(place)).sum(-3) if lower.shape[-1] else tril


def natives(twin, parameters, precision="float64"):
    return [twin.array(p, precision) for p in parameters]


@pytest.fixture
def no_solve(twin, monkeypatch):
    """The stock densities are out of reach: what passes has used the base noise."""

    def refuse(*args, **kwargs):
        raise AssertionError("the stock density was used")

    for name in ("MultivariateNormal", "LowRankMultivariateNormal"):
        monkeypatch.setattr(getattr(twin.dist, name), "log_prob", refuse)


@sizes
@pytest.mark.parametrize(("batch", "sample_shape"), [((), ()), ((5,), ()), ((2, 3), (6,))])
def test_density_of_the_own_draw_is_scipys(twin, no_solve, family, k, r, batch, sample_shape):
    parameters = numbers(family, k, r, batch)
    value, log_prob = twin.draw(make(twin.impl, natives(twin, parameters)), sample_shape)
    assert value.shape == (*sample_shape, *batch, k)
    expected = scipy_log_prob(parameters, twin.numpy(value))
    assert log_prob.shape == expected.shape
    np.testing.assert_allclose(twin.numpy(log_prob), expected, rtol=1e-11, atol=1e-11)


@families
def test_density_of_the_own_draw_is_the_stock_one(twin, family):
    parameters = natives(twin, numbers(family, batch=(5,)))
    value, log_prob = twin.draw(make(twin.impl, parameters))
    stock = twin.numpy(make(twin.dist, parameters).log_prob(value))
    np.testing.assert_allclose(twin.numpy(log_prob), stock, rtol=1e-11, atol=1e-11)


@sizes
def test_other_values_have_the_stock_density(twin, family, k, r):
    """To the bit where it is the stock one that is asked."""
    parameters = natives(twin, numbers(family, k, r, (5,)))
    ours, stock = make(twin.impl, parameters), make(twin.dist, parameters)
    draw, _ = twin.draw(ours)
    for value in (draw + 0.5, draw * 1.0):
        given, wanted = twin.numpy(ours.log_prob(value)), twin.numpy(stock.log_prob(value))
        tolerance = 1e-12 if is_packed(parameters) else 0
        np.testing.assert_allclose(given, wanted, rtol=tolerance, atol=tolerance)


@sizes
def test_the_draw_is_affine_in_the_noise(twin, family, k, r):
    parameters = numbers(family, k, r, (5,))
    ours = make(twin.impl, natives(twin, parameters))
    assert ours.noise_size == k + (r or 0)
    noise = np.random.default_rng(1).normal(size=(5, ours.noise_size))
    if family != "low-rank":
        step = np.linalg.cholesky(covariance(parameters)) * np.ones((5, 1, 1))
    else:
        root = np.sqrt(parameters[2])[..., None] * np.eye(k)
        step = np.concatenate([root, parameters[1]], -1)
    expected = parameters[0] + np.einsum("nij,nj->ni", step, noise)
    value = twin.numpy(ours.from_noise(twin.array(noise)))
    np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-12)


@sizes
def test_gradients_are_those_of_the_stock_density_at_the_reparameterised_value(twin, family, k, r):
    parameters = natives(twin, numbers(family, k, r, (3,)))
    noise = twin.array(np.random.default_rng(1).normal(size=(3, k + (r or 0))))
    lower = twin.array(np.tril(np.ones((k, k))))

    def proper(parameters):
        # Only the lower triangle is a parameter; above it the two densities need not agree.
        return [parameters[0], parameters[1] * lower] if family == "full" else list(parameters)

    def ours(*parameters):
        return (twin.drawn_from(make(twin.impl, proper(parameters)), noise)[1] ** 2).sum()

    def stock(*parameters):
        value = make(twin.impl, proper(parameters)).from_noise(noise)
        return (make(twin.dist, proper(parameters)).log_prob(value) ** 2).sum()

    for got, expected in zip(
        twin.gradients(ours, *parameters), twin.gradients(stock, *parameters), strict=True
    ):
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9)


@families
@pytest.mark.parametrize("batches", [((), (5,)), ((5,), ()), ((5,), (1,)), ((2, 1), (5,))])
def test_parameters_broadcast(twin, no_solve, family, batches):
    """loc in one batch shape, the covariance in another."""
    first, second = (numbers(family, batch=batch) for batch in batches)
    parameters = [first[0], *second[1:]]
    if family == "low-rank":
        parameters[2] = first[2]
    value, log_prob = twin.draw(make(twin.impl, natives(twin, parameters)))
    assert value.shape[:-1] == np.broadcast_shapes(*batches)
    expected = scipy_log_prob(parameters, twin.numpy(value))
    np.testing.assert_allclose(twin.numpy(log_prob), expected, rtol=1e-11, atol=1e-11)


@families
@pytest.mark.parametrize(
    ("batch", "to"), [((), (3,)), ((5,), (2, 5)), ((1,), (5,)), ((2, 1), (4, 2, 3))]
)
def test_expanded_it_still_remembers(twin, no_solve, family, batch, to):
    parameters = numbers(family, batch=batch)
    expanded = make(twin.impl, natives(twin, parameters)).expand(to)
    value, log_prob = twin.draw(expanded)
    value = twin.numpy(value)
    assert value.shape == (*to, 4) and len(np.unique(value)) == value.size
    expected = scipy_log_prob(parameters, value)
    np.testing.assert_allclose(twin.numpy(log_prob), expected, rtol=1e-11, atol=1e-11)


@families
def test_expanded_to_its_own_shape_it_is_itself(twin, family):
    ours = make(twin.impl, natives(twin, numbers(family, batch=(5,))))
    assert ours.expand((5,)) is ours


@families
@pytest.mark.parametrize("subsample", [None, 12])
def test_inside_plates_it_still_remembers(twin, no_solve, family, subsample):
    """Two nested plates, a third to the left of them, sizes pairwise different."""
    parameters = numbers(family, batch=(5,))

    def program():
        joint = make(twin.impl, natives(twin, parameters))
        plate = twin.framework.plate
        size = {"subsample_size": 5} if subsample else {}
        left, middle = plate("left", 2, dim=-3), plate("middle", 3, dim=-2)
        with left, middle, plate("items", subsample or 5, dim=-1, **size):
            return twin.framework.sample("z", joint)

    value, log_prob, _ = twin.trace(program)["z"]
    assert value.shape == (2, 3, 5, 4) and log_prob.shape == (2, 3, 5)
    assert len(np.unique(value)) == value.size
    np.testing.assert_allclose(log_prob, scipy_log_prob(parameters, value), rtol=1e-11, atol=1e-11)


@families
def test_moments_of_many_draws(twin, family):
    """200,000 draws: every mean and covariance within 5.5 standard errors of the exact one.

    With correct code one of the 14 statistics fails with probability 6e-7 (5.5 sigma, two-sided); the
    seed is fixed. The standard error of a covariance is √((ΣᵢᵢΣⱼⱼ + Σᵢⱼ²) / n).
    """
    parameters, n = numbers(family), 200_000
    exact = covariance(parameters)
    value = twin.numpy(twin.draw(make(twin.impl, natives(twin, parameters)), (n,))[0])
    variance = np.diag(exact)
    z_mean = (value.mean(0) - parameters[0]) / np.sqrt(variance / n)
    z_cov = (np.cov(value.T) - exact) / np.sqrt((np.outer(variance, variance) + exact**2) / n)
    assert np.abs(z_mean).max() < 5.5 and np.abs(z_cov).max() < 5.5


@sizes
def test_moments_and_entropy_are_exact(twin, family, k, r):
    parameters = numbers(family, k, r, (5,))
    ours, exact = make(twin.impl, natives(twin, parameters)), covariance(parameters)
    close = lambda given, wanted: np.testing.assert_allclose(
        twin.numpy(given), wanted, rtol=1e-12, atol=1e-12
    )
    close(ours.mean, parameters[0])
    close(ours.variance, np.diagonal(exact, axis1=-2, axis2=-1))
    close(ours.covariance_matrix, exact)
    close(ours.scale_tril, np.linalg.cholesky(exact))
    close(ours.entropy(), [scipy.stats.multivariate_normal(cov=c).entropy() for c in exact])


@sizes
@pytest.mark.parametrize("batch", [(), (5,)])
def test_the_score_is_the_gradient_of_the_density_in_the_value(twin, family, k, r, batch):
    """-Σ⁻¹ (value - loc), from the noise."""
    parameters = numbers(family, k, r, batch)
    noise = np.random.default_rng(1).normal(size=(3, *batch, k + (r or 0)))
    ours = make(twin.impl, natives(twin, parameters))
    value = twin.numpy(ours.from_noise(twin.array(noise)))
    expected = -np.linalg.solve(covariance(parameters), (value - parameters[0])[..., None])[..., 0]
    score = twin.numpy(ours.score(twin.array(noise)))
    np.testing.assert_allclose(score, expected, rtol=1e-9, atol=1e-9)


@families
def test_masked_or_in_an_event_it_still_remembers(twin, no_solve, family):
    parameters = numbers(family, batch=(2, 5))
    mask = np.array([True, False, True, True, False])
    masked = make(twin.impl, natives(twin, parameters)).mask(twin.array(mask, "bool"))
    event = make(twin.impl, natives(twin, parameters)).to_event(1)
    for fn, counted in ((masked, mask), (event, np.ones(5))):
        value, log_prob = twin.draw(fn)
        expected = scipy_log_prob(parameters, twin.numpy(value)) * counted
        expected = expected.sum(-1) if fn is event else expected
        np.testing.assert_allclose(twin.numpy(log_prob), expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((5, 4), (5, 3), (5, 6)), "expected"),
        (((5, 4), (5, 4), (5, 5)), "= (..., 6), or (..., 0) for a diagonal covariance"),
        (((), (4,), (6,)), "one dim or more"),
        (((5, 4), (3, 4), (5, 6)), "do not broadcast"),
    ],
)
def test_packed_shapes_that_do_not_fit(twin, shapes, message):
    with pytest.raises(InputError) as caught:
        twin.impl.PackedMultivariateNormal(*(twin.array(np.ones(s)) for s in shapes))
    assert message in str(caught.value) and str(shapes[0][:-1])[:-1] in str(caught.value)


# --- the numerical claim: single precision, ill-conditioned ---------------------------------------


def ill_conditioned(family, seed):
    """K = 8: a factor with diagonal 1e-5 … 1 and off-diagonals around 3, or cov_diag around 1e-10."""
    rng, k = np.random.default_rng(seed), 8
    loc = rng.normal(size=k)
    if family != "low-rank":
        below, scale = np.tril(3 * rng.normal(size=(k, k)), -1), np.logspace(-5, 0, k)
        packed = [loc, scale, below[np.tril_indices(k, -1)]]
        full = [loc, below + np.diag(scale)]
        return [p.astype(np.float32) for p in (packed if family == "packed" else full)]
    factor, diagonal = rng.normal(size=(k, 2)), 1e-10 * rng.uniform(0.5, 2.0, k)
    return [p.astype(np.float32) for p in (loc, factor, diagonal)]


def exact_log_prob(parameters, noise):
    """Density at the exact draw of `noise`: sixty digits, straight from the covariance matrix."""
    with mp.workdps(60):
        matrix = lambda values: mp.matrix(np.asarray(values, float).tolist())
        k = len(parameters[0])
        if is_packed(parameters):
            step = matrix(filled(*parameters[1:]))
        elif len(parameters) == 2:
            step = matrix(parameters[1])
        else:
            step = mp.zeros(k, noise.shape[-1])
            step[:, k:] = matrix(parameters[1])
            for i, d in enumerate(parameters[2]):
                step[i, i] = mp.sqrt(mp.mpf(float(d)))
        cov = step * step.T
        constant = mp.log(mp.det(cov)) + k * mp.log(2 * mp.pi)
        draws = [step * matrix(row) for row in noise]
        return np.array([float(-((d.T * mp.lu_solve(cov, d))[0] + constant) / 2) for d in draws])


@pytest.mark.parametrize("family", ["full", "packed", "low-rank"])
@pytest.mark.parametrize("seed", range(3))
def test_in_single_precision_the_stock_density_is_lost_and_ours_is_not(twin, family, seed):
    parameters = ill_conditioned(family, seed)
    size = 10 if family == "low-rank" else 8
    noise = np.random.default_rng(seed + 10).normal(size=(20, size)).astype(np.float32)
    exact = exact_log_prob(parameters, noise)
    with twin.using("float32"):
        native = natives(twin, parameters, "float32")
        value, log_prob = twin.drawn_from(make(twin.impl, native), twin.array(noise, "float32"))
        assert "float32" in str(log_prob.dtype)
        stock = twin.numpy(make(twin.dist, native).log_prob(value))
        ours = twin.numpy(log_prob)
    assert np.abs(stock - exact).min() > 1  # nat, at every one of its own draws
    np.testing.assert_allclose(ours, exact, rtol=1e-6)


# --- what only one framework has ------------------------------------------------------------------


@pyro_only
@families
def test_a_draw_changed_in_place_has_the_stock_density(twin, family):
    parameters = numbers(family, batch=(5,))
    ours = make(twin.impl, natives(twin, parameters))
    value = ours.rsample()
    value[0] += 3.0
    expected = scipy_log_prob(parameters, twin.numpy(value))
    np.testing.assert_allclose(ours.log_prob(value).numpy(), expected, rtol=1e-11)


@pyro_only
@families
def test_a_parameter_changed_in_place_counts(twin, family):
    """As for every torch distribution whose density is read off its parameters when asked."""
    parameters = natives(twin, numbers(family, batch=(5,)))
    ours = make(twin.impl, parameters)
    value = ours.rsample()
    parameters[0] += 3.0
    stock = make(twin.dist, parameters).log_prob(value)
    np.testing.assert_allclose(ours.log_prob(value).numpy(), stock.numpy(), rtol=1e-11)


@pyro_only
@families
def test_a_draw_made_without_gradients_is_a_constant(twin, family):
    """Scored, it has the gradient of the density at a fixed point, as in `dist.MultivariateNormal`."""
    noise = twin.array(np.random.default_rng(1).normal(size=(5, 6 if family == "low-rank" else 4)))

    def score(module):
        def density(*parameters):
            drawn = make(twin.impl, parameters)
            with twin.torch.no_grad():
                value = drawn.from_noise(noise)
            scored = drawn if module is twin.impl else make(module, parameters)
            return scored.log_prob(value).sum()

        return twin.gradients(density, *natives(twin, numbers(family, batch=(5,))))

    for got, expected in zip(score(twin.impl), score(twin.dist), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9)


@pyro_only
@families
def test_where_no_gradient_is_wanted_it_remembers(twin, no_solve, family):
    """Evaluating a fitted guide: parameters that require gradients, under `no_grad`."""
    parameters = numbers(family, batch=(5,))
    with twin.torch.no_grad():
        ours = make(twin.impl, [p.requires_grad_() for p in natives(twin, parameters)])
        value = ours.rsample()
        log_prob = ours.log_prob(value)
    expected = scipy_log_prob(parameters, value.numpy())
    np.testing.assert_allclose(log_prob.numpy(), expected, rtol=1e-11)


@pyro_only
@families
def test_it_works_in_inference_mode(twin, no_solve, family):
    """Where tensors have no version counter."""
    parameters = numbers(family, batch=(5,))
    with twin.torch.inference_mode():
        ours = make(twin.impl, natives(twin, parameters))
        value = ours.rsample()
        log_prob = ours.log_prob(value)
    expected = scipy_log_prob(parameters, value.numpy())
    np.testing.assert_allclose(log_prob.numpy(), expected, rtol=1e-11)


@pyro_only
@families
def test_in_vectorised_particles_it_still_remembers(twin, no_solve, family):
    """Pyro's own plate of particles: the ELBO of a standard normal model, against SciPy."""
    from pyro.infer import Trace_ELBO

    parameters, drawn = numbers(family, batch=(5,)), []
    pyro, dist = twin.framework, twin.dist

    def model():
        with pyro.plate("items", 5, dim=-1):
            zero = twin.array(np.zeros(4))
            drawn.append(pyro.sample("z", dist.Normal(zero, 1.0).to_event(1)))

    def guide():
        with pyro.plate("items", 5, dim=-1):
            pyro.sample("z", make(twin.impl, natives(twin, parameters)))

    elbo = Trace_ELBO(num_particles=3, vectorize_particles=True, max_plate_nesting=1)
    loss = elbo.loss(model, guide)
    z = twin.numpy(drawn[-1])
    assert z.shape == (3, 5, 4)
    per_item = scipy.stats.norm.logpdf(z).sum(-1) - scipy_log_prob(parameters, z)
    assert loss == pytest.approx(-per_item.sum() / 3, rel=1e-11)


@jax_only
@families
def test_under_jit_vmap_and_scan_it_still_remembers(twin, no_solve, family):
    jax = twin.jax
    parameters = numbers(family, batch=(5,))

    def draw(key, *parameters):
        value, noise = make(twin.impl, parameters).sample_with_intermediates(key)
        return value, make(twin.impl, parameters).log_prob(value, noise)

    native = natives(twin, parameters)
    keys = jax.random.split(jax.random.key(0), 5)
    over_keys = jax.vmap(draw, (0,) + (None,) * len(native))
    runs = {
        "jit": jax.jit(draw)(keys[0], *native),
        "vmap over keys": jax.jit(over_keys)(keys, *native),
        "vmap over everything": jax.jit(jax.vmap(draw))(keys, *native),
        "scan": jax.lax.scan(lambda carry, key: (carry, draw(key, *native)), 0, keys)[1],
    }
    shapes = {name: value.shape for name, (value, _) in runs.items()}
    assert shapes == {
        "jit": (5, 4),
        "vmap over keys": (5, 5, 4),
        "vmap over everything": (5, 4),
        "scan": (5, 5, 4),
    }
    for value, log_prob in runs.values():
        expected = scipy_log_prob(parameters, np.asarray(value))
        np.testing.assert_allclose(log_prob, expected, rtol=1e-11, atol=1e-11)


@jax_only
@families
def test_it_goes_through_jit_as_an_argument(twin, no_solve, family):
    jax, parameters = twin.jax, numbers(family, batch=(5,))
    ours = make(twin.impl, natives(twin, parameters))

    def draw(distribution, key):
        value, noise = distribution.sample_with_intermediates(key)
        return value, distribution.log_prob(value, noise)

    value, log_prob = jax.jit(draw)(ours, jax.random.key(0))
    np.testing.assert_allclose(log_prob, scipy_log_prob(parameters, np.asarray(value)), rtol=1e-11)


@jax_only
@families
def test_both_ways_of_sampling_give_the_same_draw(twin, family):
    ours = make(twin.impl, natives(twin, numbers(family, batch=(5,))))
    key = twin.jax.random.key(3)
    np.testing.assert_array_equal(ours.sample(key), ours.sample_with_intermediates(key)[0])


def test_the_constant_is_that_of_one_standard_normal(twin):
    ours = make(twin.impl, natives(twin, [np.zeros(1), np.ones((1, 1))]))
    _, log_prob = twin.drawn_from(ours, twin.array(np.zeros(1)))
    assert float(log_prob) == pytest.approx(-0.5 * math.log(2 * math.pi), rel=1e-15)
