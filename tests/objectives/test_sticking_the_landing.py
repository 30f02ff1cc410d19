"""Sticking the landing for users' own programs: the value of Trace_ELBO, and its gradient less the score."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from test_estimators import PROGRAMS, B, evaluated
from twins import TWINS, both_twins

from twinplate import InputError, TrainingConfig

LOADINGS = np.array([[1.0, 0.3], [-0.5, 0.8], [0.2, 1.5]])  # of x (3,) by a (2,), noise 0.5
X = np.array([0.7, -1.1, 0.4])
COVARIANCE = np.linalg.inv(np.eye(2) + LOADINGS.T @ LOADINGS / 0.25)
MEAN, TRIL = COVARIANCE @ LOADINGS.T @ X / 0.25, np.linalg.cholesky(COVARIANCE)
EVIDENCE = scipy.stats.multivariate_normal.logpdf(
    X, np.zeros(3), LOADINGS @ LOADINGS.T + 0.25 * np.eye(3)
)
JOINT = {"loc": MEAN, "scale": np.diag(TRIL), "lower": TRIL[1:, 0]}
# The same distribution as one of a0, and one of a1 given a0.
IN_TURN = {"loc": MEAN, "scale": np.diag(TRIL), "slope": TRIL[1, 0] / TRIL[0, 0]}
EXACT = {"stock": JOINT, "packed": JOINT, "in turn": IN_TURN}
guides = pytest.mark.parametrize("name", EXACT)


def program(twin, name, params):
    """Model and guide, whose parameters start at those given."""
    sample, dist, impl = twin.framework.sample, twin.dist, twin.impl
    zeros, columns = twin.array(np.zeros(2)), twin.array(LOADINGS.T)

    def model():
        if name == "in turn":
            a = [sample(f"a{i}", dist.Normal(zeros[0], 1.0)) for i in range(2)]
            mean = a[0][..., None] * columns[0] + a[1][..., None] * columns[1]
        else:
            mean = sample("a", dist.Normal(zeros, 1.0).to_event(1)) @ columns
        sample("x", dist.Normal(mean, 0.5).to_event(1), obs=twin.array(X))

    def guide():
        loc, scale, rest = (twin.framework.param(n, twin.array(v)) for n, v in params.items())
        if name == "packed":
            sample("a", impl.PackedMultivariateNormal(loc, scale, rest))
        elif name == "stock":
            tril = twin.module("programs.filling").fill_tril(scale, rest)
            sample("a", dist.MultivariateNormal(loc, scale_tril=tril))
        else:
            first = sample("a0", dist.Normal(loc[0], scale[0]))
            sample("a1", dist.Normal(loc[1] + rest * (first - loc[0]), scale[1]))

    return model, guide


def pyro_gradients(loss, model, guide, noises):
    import pyro
    import torch

    from pyro_impl import base_noise

    for noise in noises:
        with pyro.get_param_store().scope(), torch.random.fork_rng(), base_noise(noise):
            pyro.set_rng_seed(0)
            value = loss.differentiable_loss(model, guide)
            named = dict(pyro.get_param_store().named_parameters())
            found = torch.autograd.grad(value, list(named.values()), materialize_grads=True)
            yield value.item(), {n: g.numpy() for n, g in zip(named, found, strict=True)}


def numpyro_gradients(loss, model, guide, noises):
    import jax
    from numpyro import handlers

    from numpyro_impl import base_noise

    def function(params, noise):
        with base_noise(noise):
            return loss.loss(jax.random.key(0), params, model, guide)

    first = handlers.trace(handlers.seed(guide, 0)).get_trace()
    params = {n: site["value"] for n, site in first.items() if site["type"] == "param"}
    run = jax.jit(jax.value_and_grad(function))
    for noise in noises:
        value, gradient = run(params, noise)
        yield float(value), {n: np.asarray(g) for n, g in gradient.items()}


GRADIENTS = {"pyro": pyro_gradients, "numpyro": numpyro_gradients}


def path_gradients(twin, model, guide, noises=({},), **options):
    """For each noise the value of StickingTheLandingELBO, and the gradient by name."""
    loss = twin.impl.StickingTheLandingELBO(**options)
    given = [{n: twin.array(v) for n, v in noise.items()} for noise in noises]
    return list(GRADIENTS[twin.name](loss, model, guide, given))


def both(twin, model, guide, noises=({},), **options):
    """For each noise those of Trace_ELBO, and those of StickingTheLandingELBO."""
    loss = twin.framework.infer.Trace_ELBO(**options)
    given = [{n: twin.array(v) for n, v in noise.items()} for noise in noises]
    plain = GRADIENTS[twin.name](loss, model, guide, given)
    return list(zip(plain, path_gradients(twin, model, guide, noises, **options), strict=True))


def effects(twin):
    return twin.framework.poutine if twin.name == "pyro" else twin.framework.handlers


def noise_for(name, numbers):
    return {"a0": numbers[:1], "a1": numbers[1:]} if name == "in turn" else {"a": numbers[None]}


def largest(gradient):
    return max(np.abs(g).max() for g in gradient.values())


@both_twins(
    "name, particles, vectorize",
    [*((name, 1, True) for name in EXACT), ("in turn", 3, True), ("in turn", 3, False)],
    quick=[("stock", 1, True), ("packed", 1, True), ("in turn", 3, False)],
)
def test_at_the_exact_posterior_its_gradient_is_zero_for_every_draw(
    twin, name, particles, vectorize
):
    options = {"num_particles": particles, "vectorize_particles": vectorize}
    [((loss, gradient), (path_loss, path))] = both(
        twin, *program(twin, name, EXACT[name]), **options
    )
    assert loss == pytest.approx(-EVIDENCE, rel=1e-13)
    assert path_loss == pytest.approx(-EVIDENCE, rel=1e-13)
    assert largest(gradient) > 0.1 and largest(path) < 1e-13
    assert gradient.keys() == path.keys() == EXACT[name].keys()


def moved(name):
    """Parameters that are not exact."""
    return {n: v + 0.1 * i for i, (n, v) in enumerate(EXACT[name].items(), 1)}


@guides
def test_it_is_the_value_of_trace_elbo_and_the_expectation_of_its_gradient(twin, name):
    """Both gradients are polynomials of the noise, of degree two in each number: three nodes are exact."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(3)
    grid = list(np.ndindex(3, 3))
    noises = [noise_for(name, nodes[list(i)]) for i in grid]
    results = both(twin, *program(twin, name, moved(name)), noises)
    plain, path = ({n: np.zeros_like(g) for n, g in results[0][0][1].items()} for _ in range(2))
    for i, ((loss, gradient), (path_loss, path_gradient)) in zip(grid, results, strict=True):
        assert path_loss == pytest.approx(loss, rel=1e-13)
        assert largest({n: gradient[n] - path_gradient[n] for n in plain}) > 0.1
        weight = weights[list(i)].prod() / weights.sum() ** 2
        for n in plain:
            plain[n] += weight * gradient[n]
            path[n] += weight * path_gradient[n]
    assert largest(plain) > 1
    for n in plain:
        np.testing.assert_allclose(path[n], plain[n], rtol=1e-12, atol=1e-12)


@guides
def test_the_twins_agree(name):
    noise = noise_for(name, np.array([0.6, -1.3]))
    found = []
    for make in TWINS.values():
        twin = make()
        with twin.using("float64"):
            found += path_gradients(twin, *program(twin, name, moved(name)), [noise])
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-12)
    for n, gradient in found[0][1].items():
        np.testing.assert_allclose(gradient, found[1][1][n], rtol=1e-12, atol=1e-12)


def take_for_base_noise(twin, monkeypatch):
    """`evaluate` takes the loss of users' programs for that of base-noise."""
    objectives, loss = twin.module("objectives.losses"), twin.impl.StickingTheLandingELBO

    def particle_losses(pair, training, num_items):
        def losses(params, key, x, a, noise):
            with objectives.base_noise({name: values[0] for name, values in noise.items()}):
                return loss().loss(key, params, pair.model, pair.guide, x, a, num_items=num_items)

        return losses

    if twin.name == "pyro":
        elbo = lambda estimator, **options: loss(**options)
        monkeypatch.setattr(objectives, "EstimatedELBO", elbo)
    else:
        evaluation = twin.module("recording.evaluation")  # what it has compiled is the old loss
        monkeypatch.setattr(evaluation, "_compiled", evaluation._compiled.__wrapped__)
        monkeypatch.setattr(objectives, "particle_losses", particle_losses)


@pytest.mark.parametrize("name", ["event full", "auxiliary full, amplitude"])
def test_on_the_reference_programs_it_is_their_own_estimator(twin, problem, monkeypatch, name):
    """Auxiliary sites and their Deltas, plates with a scale, masks; the amplitude is drawn too."""
    x, given, params = problem(B, missing=0.2, **PROGRAMS[name])
    expected = evaluated(twin, given, params, x, "sticking-the-landing")
    plain = evaluated(twin, given, params, x, "base-noise")
    take_for_base_noise(twin, monkeypatch)
    found = evaluated(twin, given, params, x, "base-noise")
    assert found.loss == pytest.approx(expected.loss, rel=1e-13)
    for n, gradient in expected.gradient.items():
        np.testing.assert_allclose(found.gradient[n], gradient, rtol=1e-9, atol=1e-10)
    assert np.abs(found.gradient["encoder.out.bias"] - plain.gradient["encoder.out.bias"]).max() > 1


def test_what_the_guide_observes_keeps_its_gradient(twin, problem, monkeypatch):
    x, given, params = problem(B, guide="event")
    a = np.random.default_rng(0).normal(size=(3, B))
    training = TrainingConfig(precision="float64", device="cpu")
    plain = twin.impl.evaluate(x, given, params, {}, training, a=a, num_items=10)
    take_for_base_noise(twin, monkeypatch)
    found = twin.impl.evaluate(x, given, params, {}, training, a=a, num_items=10)
    assert largest(plain.gradient) > 1
    for n, gradient in plain.gradient.items():
        np.testing.assert_allclose(found.gradient[n], gradient, rtol=1e-12, atol=1e-12)


def test_subsamples_scales_and_masks_are_those_of_the_first_run(twin):
    """Exact for every item, so the gradient is zero if nothing differs between the two runs."""
    sample, dist, handlers = twin.framework.sample, twin.dist, effects(twin)
    x = twin.array(np.linspace(-1, 2, 12))
    keep = twin.array(np.arange(12) % 3, "int32") > 0
    items = lambda: twin.framework.plate("items", 12, subsample_size=5)

    def model():
        with items() as chosen, handlers.scale(scale=0.7), handlers.mask(mask=keep[chosen]):
            z = sample("z", dist.Normal(0.0, 1.0))
            sample("x", dist.Normal(z, 1.0), obs=x[chosen])

    def guide():
        share = twin.framework.param("share", twin.array(0.5))
        with items() as chosen, handlers.scale(scale=0.7), handlers.mask(mask=keep[chosen]):
            sample("z", dist.Normal(share * x[chosen], 0.5**0.5))

    with handlers.scale(scale=3.0):
        [((_, gradient), (_, path))] = both(twin, model, guide)
    assert largest(gradient) > 0.1 and largest(path) < 1e-13


def test_the_latents_of_an_automatic_guide_are_deltas_of_its_draw(twin):
    """That of the constrained one has a density. The guide is exact, so its gradient is zero."""
    sample, dist, zero = twin.framework.sample, twin.dist, twin.array(0.0)
    log = dist.transforms.ExpTransform().inv

    def model():
        size = sample("size", dist.LogNormal(zero, 1.0))
        loc = sample("loc", dist.Normal(zero, 1.0))
        sample("x", dist.LogNormal(log(size), 1.0), obs=zero + np.e)
        sample("y", dist.Normal(loc, 1.0), obs=zero + 0.4)

    infer = twin.framework.infer
    init_to_value = getattr(infer, "init_to_value", None) or infer.autoguide.init_to_value
    start = init_to_value(values={"size": zero + np.exp(0.5), "loc": zero + 0.2})
    guide = infer.autoguide.AutoDiagonalNormal(model, init_loc_fn=start, init_scale=0.5**0.5)
    [((_, gradient), (_, path))] = both(twin, model, guide)
    assert len(path) == 2 and largest(gradient) > 0.1 and largest(path) < 1e-13


def test_a_draw_that_cannot_be_differentiated_is_named(twin):
    sample, dist = twin.framework.sample, twin.dist

    def model():
        sample("switch", dist.Bernoulli(twin.array(0.4)))

    def guide():
        sample("switch", dist.Bernoulli(twin.framework.param("p", twin.array(0.5))))

    with pytest.raises(InputError, match="site 'switch' is drawn from Bernoulli"):
        path_gradients(twin, model, guide)


def test_random_numbers_of_the_guides_own_are_the_same_twice_or_refused(twin):
    """The slope is zero, so the guide is exact whatever multiplies it, if that is one number."""
    sample, dist = twin.framework.sample, twin.dist
    draw = {"pyro": lambda: twin.torch.rand(()), "numpyro": lambda: uniform(twin)}[twin.name]

    def model():
        sample("z", dist.Normal(twin.array(0.0), 1.0))

    def guide():
        slope = twin.framework.param("slope", twin.array(0.0))
        sample("z", dist.Normal(slope * draw(), 1.0))

    if twin.name == "pyro":
        with pytest.raises(InputError, match=r"outside of its sample sites.*guide.eval\(\)"):
            path_gradients(twin, model, guide)
    else:
        assert abs(path_gradients(twin, model, guide)[0][1]["slope"]) < 1e-13


def uniform(twin):
    return twin.jax.random.uniform(twin.framework.prng_key())


def test_the_density_of_a_delta_is_no_score(twin):
    """Its expectation is not zero: that of a draw pushed through a map with parameters."""
    sample, dist = twin.framework.sample, twin.dist

    def model():
        sample("z", dist.Normal(twin.array(0.0), 1.0))

    def guide():
        scale = twin.framework.param("scale", twin.array(0.6))
        u = sample("u", dist.Normal(twin.array(0.0), 1.0), infer={"is_auxiliary": True})
        sample("z", dist.Delta(scale * u, -abs(scale)))

    [((_, gradient), (_, path))] = both(twin, model, guide, [{"u": np.array([0.7])}])
    assert path["scale"] == gradient["scale"] != 0
