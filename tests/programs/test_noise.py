"""Base noise from outside: what is drawn from it, what is left alone, what is refused."""

from __future__ import annotations

import numpy as np
import pytest

RNG = np.random.default_rng(0)
LOC, SCALE = RNG.normal(size=(3, 5)), RNG.uniform(0.5, 2.0, (3, 5))
NOISE = RNG.normal(size=(3, 5))


def drawn(twin, fn, noise, seed=0):
    """The value of one site `z` of distribution `fn`, its `noise` given for one particle."""
    return twin.trace(lambda: noisy(twin, fn, noise), seed=seed)["z"]


def noisy(twin, fn, noise):
    with twin.impl.base_noise(one_particle(twin, noise)):
        twin.framework.sample("z", fn)


def one_particle(twin, noise):
    """What the handler of this twin takes for one particle: Pyro's has the particles in front."""
    values = noise[None] if twin.name == "pyro" else noise
    return {"z": twin.array(values)}


def normal(twin):
    return twin.dist.Normal(twin.array(LOC), twin.array(SCALE))


WRAPPED = {
    "plain": lambda fn: fn,
    "event": lambda fn: fn.to_event(1),
    "masked": lambda fn: fn.mask(False),
    "masked event": lambda fn: fn.mask(False).to_event(2),
    "expanded": lambda fn: fn.expand((2, 3, 5)),
    "all": lambda fn: fn.mask(False).to_event(1).expand((2, 3)),
}


@pytest.mark.parametrize("wrapped", WRAPPED)
def test_a_normal_is_loc_plus_scale_times_noise(twin, wrapped):
    fn = WRAPPED[wrapped](normal(twin))
    noise = np.random.default_rng(1).normal(size=fn.shape())
    value, _, _ = drawn(twin, fn, noise)
    np.testing.assert_allclose(value, LOC + SCALE * noise, rtol=1e-15)


def test_a_lognormal_is_the_exponential(twin):
    fn = twin.dist.LogNormal(twin.array(LOC), twin.array(SCALE))
    value, log_prob, _ = drawn(twin, fn, NOISE)
    np.testing.assert_allclose(value, np.exp(LOC + SCALE * NOISE), rtol=1e-14)
    expected = -0.5 * NOISE**2 - np.log(SCALE) - 0.5 * np.log(2 * np.pi) - np.log(value)
    np.testing.assert_allclose(log_prob, expected, rtol=1e-12)


def test_a_lognormal_in_an_event(twin):
    fn = twin.dist.LogNormal(twin.array(LOC), twin.array(SCALE)).to_event(1)
    value, _, _ = drawn(twin, fn, NOISE)
    np.testing.assert_allclose(value, np.exp(LOC + SCALE * NOISE), rtol=1e-14)


def test_a_multivariate_normal_takes_k_numbers_and_a_low_rank_one_k_plus_r(twin):
    factor, noise = RNG.normal(size=(3, 5, 2)), RNG.normal(size=(3, 7))
    low = twin.impl.LowRankMultivariateNormal(*map(twin.array, (LOC, factor, SCALE)))
    expected = LOC + np.sqrt(SCALE) * noise[:, :5] + np.einsum("bkr,br->bk", factor, noise[:, 5:])
    np.testing.assert_allclose(drawn(twin, low, noise)[0], expected, rtol=1e-13)
    full = twin.impl.MultivariateNormal(
        twin.array(LOC), scale_tril=twin.array(SCALE[..., None] * np.eye(5))
    )
    np.testing.assert_allclose(drawn(twin, full, NOISE)[0], LOC + SCALE * NOISE, rtol=1e-13)


@pytest.mark.parametrize("wrapped", ["event", "masked event", "expanded"])
def test_a_low_rank_normal_in_a_wrapper(twin, wrapped):
    factor = RNG.normal(size=(3, 5, 2))
    low = twin.impl.LowRankMultivariateNormal(*map(twin.array, (LOC, factor, SCALE)))
    fn = {
        "event": lambda: low.to_event(1),
        "masked event": lambda: low.mask(False).to_event(1),
        "expanded": lambda: low.expand((2, 3)),
    }[wrapped]()
    noise = RNG.normal(size=(*fn.shape()[:-1], 7))
    spread = np.einsum("bkr,...br->...bk", factor, noise[..., 5:])
    expected = LOC + np.sqrt(SCALE) * noise[..., :5] + spread
    np.testing.assert_allclose(drawn(twin, fn, noise)[0], expected, rtol=1e-12)


def test_a_multivariate_normal_drawn_from_it_needs_no_solve(twin, monkeypatch):
    """The density of the draw is the one from the noise: the stock one is out of reach."""
    monkeypatch.setattr(twin.dist.MultivariateNormal, "log_prob", None)
    tril = SCALE[..., None] * np.eye(5)
    fn = twin.impl.MultivariateNormal(twin.array(LOC), scale_tril=twin.array(tril))
    _, log_prob, _ = drawn(twin, fn, NOISE)
    expected = (-0.5 * NOISE**2 - np.log(SCALE) - 0.5 * np.log(2 * np.pi)).sum(-1)
    np.testing.assert_allclose(log_prob, expected, rtol=1e-13)


def test_the_draw_is_differentiable_in_the_parameters(twin):
    def total(loc, scale):
        with twin.impl.base_noise(one_particle(twin, NOISE)):
            return twin.framework.sample("z", twin.dist.LogNormal(loc, scale), **key(twin)).sum()

    loc, scale = twin.gradients(total, twin.array(LOC), twin.array(SCALE))
    value = np.exp(LOC + SCALE * NOISE)
    np.testing.assert_allclose(loc, value, rtol=1e-13)
    np.testing.assert_allclose(scale, value * NOISE, rtol=1e-13)


def key(twin):
    return {} if twin.name == "pyro" else {"rng_key": twin.jax.random.key(0)}


def test_other_sites_are_left_alone(twin):
    """Sites that are not named, observed or fixed from elsewhere have the values they would have had."""
    sample = twin.framework.sample

    def program(noise):
        with twin.impl.base_noise(noise):
            sample("before", normal(twin))
            sample("seen", normal(twin), obs=twin.array(NOISE))
            sample("z", normal(twin))

    named = one_particle(twin, NOISE) | {"seen": twin.array(NOISE[None] + 9)}
    with_noise, without = twin.trace(program, named), twin.trace(program, {})
    np.testing.assert_array_equal(with_noise["before"][0], without["before"][0])
    np.testing.assert_array_equal(with_noise["seen"][0], NOISE)
    np.testing.assert_allclose(with_noise["z"][0], LOC + SCALE * NOISE, rtol=1e-15)
    assert np.abs(without["z"][0] - with_noise["z"][0]).min() > 1e-6


def test_a_replayed_site_keeps_its_value(twin):
    handlers = getattr(twin.framework, "handlers" if twin.name == "numpyro" else "poutine")
    given = twin.array(NOISE * 7)
    program = lambda: twin.framework.sample("z", normal(twin))
    if twin.name == "pyro":
        source = handlers.trace(handlers.condition(program, data={"z": given})).get_trace()
        source.nodes["z"]["is_observed"] = False
    else:
        source = handlers.trace(handlers.substitute(program, data={"z": given})).get_trace()

    def replayed():
        with twin.impl.base_noise(one_particle(twin, NOISE)):
            handlers.replay(program, trace=source)()

    np.testing.assert_array_equal(twin.trace(replayed)["z"][0], NOISE * 7)


@pytest.mark.parametrize("shape", [(5,), (3, 4), (3, 6), (2, 3, 5)])
def test_a_wrong_size_is_refused(twin, shape):
    with pytest.raises(ValueError, match=r"base noise of site 'z' has shape .*expected.*3, 5"):
        drawn(twin, normal(twin), np.zeros(shape))


def gamma(twin):
    return twin.dist.Gamma(twin.array(SCALE), twin.array(SCALE))


def transformed_gamma(twin):
    transform = twin.dist.transforms.ExpTransform()
    return twin.dist.TransformedDistribution(gamma(twin), transform)


def cauchy(twin):
    return twin.dist.Cauchy(twin.array(LOC), twin.array(SCALE))


def mixed_normal(twin):
    """A wrapper that changes values, around a normal: it must not be taken for the normal."""
    if twin.name == "pyro":
        gate = twin.array(0.5 * np.ones((3, 5)))
        return twin.dist.ZeroInflatedDistribution(normal(twin), gate=gate)
    return twin.dist.TruncatedNormal(twin.array(LOC), twin.array(SCALE), low=twin.array(LOC))


def test_the_stock_multivariate_normal_takes_noise(twin):
    tril = SCALE[..., None] * np.eye(5) + 0.3 * np.tri(5, k=-1)
    stock = twin.dist.MultivariateNormal(twin.array(LOC), scale_tril=twin.array(tril))
    expected = LOC + np.einsum("...ij,...j->...i", tril, NOISE)
    np.testing.assert_allclose(drawn(twin, stock, NOISE)[0], expected, rtol=1e-12)


@pytest.mark.parametrize("family", [gamma, transformed_gamma, cauchy, mixed_normal])
def test_a_family_that_is_no_transformed_normal_is_refused(twin, family):
    with pytest.raises(TypeError, match="base noise is standard normal"):
        drawn(twin, family(twin), NOISE)


# --- particles ------------------------------------------------------------------------------------


pyro_only = pytest.mark.parametrize("twin", ["pyro"], indirect=True)
jax_only = pytest.mark.parametrize("twin", ["numpyro"], indirect=True)


@pyro_only
@pytest.mark.parametrize("particles", [1, 4])
def test_particles_one_after_the_other_take_the_rows_in_order(twin, particles):
    noise = np.random.default_rng(2).normal(size=(particles, 3, 5))
    with twin.impl.base_noise({"z": twin.array(noise)}):
        values = [twin.framework.sample("z", normal(twin)).numpy() for _ in range(particles)]
        np.testing.assert_allclose(values, LOC + SCALE * noise, rtol=1e-15)
        with pytest.raises(ValueError, match="base noise of site 'z'"):
            twin.framework.sample("z", normal(twin))


@pyro_only
def test_entered_again_the_rows_start_again(twin):
    noise = np.random.default_rng(2).normal(size=(2, 3, 5))
    handler = twin.impl.base_noise({"z": twin.array(noise)})
    for _ in range(2):
        with handler:
            value = twin.framework.sample("z", normal(twin)).numpy()
        np.testing.assert_allclose(value, LOC + SCALE * noise[0], rtol=1e-15)


@pyro_only
@pytest.mark.parametrize("particles", [1, 2, 4])
def test_vectorised_particles_take_all_rows_at_once(twin, particles):
    noise = np.random.default_rng(2).normal(size=(particles, 3, 5))
    plate = twin.framework.plate
    rows, items = plate("rows", 3, dim=-2), plate("items", 5, dim=-1)
    handler = twin.impl.base_noise({"z": twin.array(noise)})
    with handler, plate("particles", particles, dim=-3), rows, items:
        value = twin.framework.sample("z", normal(twin)).numpy()
    np.testing.assert_allclose(value, LOC + SCALE * noise, rtol=1e-15)


@pyro_only
def test_vectorised_particles_leave_a_one_where_a_plate_is_not(twin):
    """A site in the mini-batch alone is (P, 1, B) in Pyro's plate of particles."""
    noise = np.random.default_rng(2).normal(size=(4, 5))
    plate = twin.framework.plate
    fn = twin.dist.Normal(twin.array(LOC[0]), twin.array(SCALE[0]))
    handler = twin.impl.base_noise({"z": twin.array(noise)})
    with handler, plate("particles", 4, dim=-3), plate("items", 5, dim=-1):
        value = twin.framework.sample("z", fn).numpy()
    assert value.shape == (4, 1, 5)
    np.testing.assert_allclose(value[:, 0], LOC[0] + SCALE[0] * noise, rtol=1e-15)


@jax_only
def test_under_vmap_every_particle_has_its_own_noise(twin):
    """In NumPyro the handler is entered once for every particle, inside vmap."""
    noise = np.random.default_rng(2).normal(size=(4, 3, 5))

    def particle(noise):
        with twin.impl.base_noise({"z": noise}):
            return twin.framework.sample("z", normal(twin), rng_key=twin.jax.random.key(0))

    values = twin.jax.vmap(particle)(twin.array(noise))
    np.testing.assert_allclose(values, LOC + SCALE * noise, rtol=1e-15)


@pytest.mark.parametrize("twin", ["numpyro"], indirect=True)
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_key_belongs_to_its_seed(twin, precision):
    """JAX's own up to 32 bits, another for every larger one, whatever the precision."""
    key_of, random = twin.module("programs.noise").key_of, twin.jax.random
    with twin.using(precision):
        for seed in (0, 5, 2**31, 2**32 - 1):
            np.testing.assert_array_equal(random.key_data(key_of(seed)), [0, seed])
        seeds = [5, 2**32 + 5, 2**33 + 5, 2**63, 2**64 - 1, 2**64 + 5, 2**80]
        found = {tuple(np.asarray(random.key_data(key_of(seed))).tolist()) for seed in seeds}
        assert len(found) == len(seeds)


@pytest.mark.parametrize("twin", ["numpyro"], indirect=True)
def test_a_large_seed_gives_the_same_key_in_both_precisions(twin):
    found = []
    for precision in ("float32", "float64"):
        with twin.using(precision):
            key = twin.module("programs.noise").key_of(2**40 + 5)
            found.append(np.asarray(twin.jax.random.key_data(key)))
    np.testing.assert_array_equal(*found)
