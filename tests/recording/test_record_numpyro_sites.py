"""What a record says of the sites of a NumPyro program: kinds, plates, masks, arguments, values."""

from __future__ import annotations

import numpy as np
import pytest
from record_numbers import NORMAL, X

pytest.importorskip("jax")
numpyro = pytest.importorskip("numpyro")

import jax.numpy as jnp  # noqa: E402
import numpyro.distributions as dist  # noqa: E402
from numpyro import handlers  # noqa: E402
from record_numpyro_programs import ran, sampled  # noqa: E402

from twinplate.records.record import Given, Plate  # noqa: E402


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


def test_a_scale_is_a_number_or_a_weight_of_each_element():
    def model(x):
        z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        with numpyro.plate("rows", 2, dim=-2), handlers.scale(scale=jnp.array([[1.0], [4.0]])):
            with numpyro.plate("data", 6, subsample_size=3, dim=-1), handlers.scale(scale=x):
                numpyro.sample("a", dist.Normal(0.0, 1.0), obs=0 * x)
            numpyro.sample("b", dist.Normal(0.0, 1.0), obs=jnp.array([[0.0], [1.0]]))
        with handlers.scale(scale=jnp.array([2.0, 3.0])):
            numpyro.sample("counted for each", dist.Normal(0.0, 1.0), obs=0.0)
        with numpyro.plate("alike", 3), handlers.scale(scale=x * 0 + 2):
            numpyro.sample("c", dist.Normal(0.0, 1.0))
        with handlers.scale(scale=1 + z**2):
            numpyro.sample("d", dist.Normal(0.0, 1.0))

    sites = sampled(model, np.abs(X), particles=2).model
    expected = 2 * np.abs(X) * [[1], [4]]
    np.testing.assert_allclose(sites["a"].scale, [expected, expected])
    np.testing.assert_allclose(sites["a"].total, [(NORMAL(0) * expected).sum()] * 2)
    np.testing.assert_allclose(sites["b"].scale[0], [[1], [4]])
    assert (sites["c"].scale, sites["counted for each"].scale) == (2.0, 5.0)
    np.testing.assert_allclose(sites["d"].scale, 1 + sites["z"].value ** 2)


def test_supports_families_and_arguments():
    def model(x):
        with numpyro.plate("data", 3):
            numpyro.sample("a", dist.Normal(0.0, jnp.array([1.0, 2.0, 3.0])))
            numpyro.sample("b", dist.Bernoulli(logits=0.5))
            numpyro.sample("c", dist.NegativeBinomialProbs(3, 0.5))
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


def test_distributions_inside_of_others_are_parts_and_their_arguments_bear_their_roles():
    def model(x):
        with numpyro.plate("data", 3):
            base = dist.NegativeBinomial2(2.0, 0.5)
            numpyro.sample("a", dist.ZeroInflatedDistribution(base, gate=0.1))
            parts = dist.Normal(jnp.zeros((2, 4)), jnp.ones(4)).to_event(1)
            choice = dist.Categorical(jnp.array([0.25, 0.75]))
            numpyro.sample("b", dist.MixtureSameFamily(choice, parts))

    sites = sampled(model, X, particles=2).model
    assert sites["a"].parts == {"base": "NegativeBinomial2"}
    assert sites["b"].parts == {"mixing": "CategoricalProbs", "component": "Normal"}
    assert set(sites["a"].arguments) == {"gate", "base mean", "base concentration"}
    assert set(sites["b"].arguments) == {"mixing probs", "component loc", "component scale"}
    loc = sites["b"].arguments["component loc"]
    assert np.broadcast_to(loc, (2, 3, 2, 4)).shape == (2, 3, 2, 4)
    np.testing.assert_array_equal(sites["b"].arguments["mixing probs"][0, 0], [0.25, 0.75])


def test_values_are_never_rounded_and_types_are_the_programs():
    def model(x):
        z = numpyro.sample("z", dist.Normal(jnp.zeros((), jnp.float32), 1.0))
        numpyro.deterministic("single", z.astype(jnp.float32))
        numpyro.sample("y", dist.Normal(0.0, 1.0), obs=x[0].astype(jnp.float32))

    sites = ran(model, Given({"z": np.array([0.1])}), X).model
    assert [site.dtype for site in sites.values()] == ["float64", "float32", "float32"]
    assert sites["z"].value == 0.1
    assert sites["single"].value == np.float32(0.1)
