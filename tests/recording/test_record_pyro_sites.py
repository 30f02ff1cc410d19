"""What a record says of the sites of a Pyro program: kinds, plates, masks, arguments, values."""

from __future__ import annotations

import numpy as np
import pytest
from record_numbers import NORMAL, X

torch = pytest.importorskip("torch")
pyro = pytest.importorskip("pyro")

import pyro.distributions as dist  # noqa: E402
from pyro import poutine  # noqa: E402
from record_pyro_programs import sampled  # noqa: E402

from pyro_impl.recording.sites import arguments  # noqa: E402
from twinplate.records.record import Plate  # noqa: E402


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


def test_a_plate_without_a_size_has_that_of_the_sites_inside():
    def model(x):
        with pyro.plate("data"):
            pyro.deterministic("wide", torch.zeros(5))
            pyro.sample("shared", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)

    sites = sampled(model, X).model
    assert {site.plates for site in sites.values()} == {(Plate("data", -1, 3, 3),)}
    assert (sites["shared"].batch_shape, sites["x"].batch_shape) == ((), (3,))


def test_a_scale_is_a_number_or_a_weight_of_each_element():
    def model(x):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        with pyro.plate("rows", 2, dim=-2), poutine.scale(scale=torch.tensor([[1.0], [4.0]])):
            with pyro.plate("data", 6, subsample_size=3, dim=-1), poutine.scale(scale=x):
                pyro.sample("a", dist.Normal(0.0, 1.0), obs=0 * x)
            pyro.sample("b", dist.Normal(0.0, 1.0), obs=torch.tensor([[0.0], [1.0]]))
        with poutine.scale(scale=torch.tensor([2.0, 3.0])):
            pyro.sample("counted for each", dist.Normal(0.0, 1.0), obs=0 * z)
        with pyro.plate("alike", 3), poutine.scale(scale=x * 0 + 2):
            pyro.sample("c", dist.Normal(0.0, 1.0))
        with poutine.scale(scale=1 + z**2):
            pyro.sample("d", dist.Normal(0.0, 1.0))

    sites = sampled(model, np.abs(X), particles=2).model
    expected = 2 * np.abs(X) * [[1], [4]]
    np.testing.assert_allclose(sites["a"].scale, [expected, expected])
    np.testing.assert_allclose(sites["a"].total, [(NORMAL(0) * expected).sum()] * 2)
    np.testing.assert_allclose(sites["b"].scale[0], [[1], [4]])
    assert (sites["c"].scale, sites["counted for each"].scale) == (2.0, 5.0)
    np.testing.assert_allclose(sites["d"].scale, 1 + sites["z"].value ** 2)


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


def test_distributions_inside_of_others_are_parts_and_their_arguments_bear_their_roles():
    def model():
        with pyro.plate("data", 3):
            base = dist.NegativeBinomial(torch.tensor(2.0), logits=torch.tensor(0.5)).expand([3])
            pyro.sample("a", dist.ZeroInflatedDistribution(base, gate=torch.tensor(0.1)))
            parts = dist.Normal(torch.zeros(2, 4), torch.ones(4)).to_event(1)
            choice = dist.Categorical(torch.tensor([0.25, 0.75]))
            pyro.sample("b", dist.MixtureSameFamily(choice, parts))

    sites = sampled(model, particles=2).model
    assert sites["a"].parts == {"base": "NegativeBinomial"}
    assert sites["b"].parts == {"mixing": "Categorical", "component": "Normal"}
    assert set(sites["a"].arguments) == {"gate", "base total_count", "base logits"}
    assert set(sites["b"].arguments) == {"mixing probs", "component loc", "component scale"}
    loc = sites["b"].arguments["component loc"]
    assert np.broadcast_to(loc, (2, 3, 2, 4)).shape == (2, 3, 2, 4)
    np.testing.assert_array_equal(sites["b"].arguments["mixing probs"][0, 0], [0.25, 0.75])


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
