"""The multivariate normals under what only one framework has: changes in place, modes, transformations."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from normals import families, make, natives, numbers, scipy_log_prob

pyro_only = pytest.mark.parametrize("twin", ["pyro"], indirect=True)
jax_only = pytest.mark.parametrize("twin", ["numpyro"], indirect=True)


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
