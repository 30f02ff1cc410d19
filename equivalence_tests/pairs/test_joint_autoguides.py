"""Mistakes in a joint guide are found though its numbers are packed in another order."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as ndist
import pytest
from jax.example_libraries import stax
from numpyro.infer.autoguide import AutoMultivariateNormal

from equivalence_tests.pairs import joint_autoguides
from equivalence_tests.pairs.joint_autoguides import from_pyro, numpyro_model, pyro_model, y
from numpyro_impl.recording.program import Program as NumpyroProgram
from twinplate import Case, verify


class WideGuide(AutoMultivariateNormal):
    """Its factor is 1 % too large."""

    def _get_posterior(self):
        right = super()._get_posterior()
        return ndist.MultivariateNormal(right.loc, scale_tril=1.01 * right.scale_tril)


class FixedRowGuide(AutoMultivariateNormal):
    """One row of its factor is not trained."""

    def _get_posterior(self):
        right = super()._get_posterior()
        fixed = jnp.arange(right.loc.size)[:, None] == 4
        tril = jnp.where(fixed, jax.lax.stop_gradient(right.scale_tril), right.scale_tril)
        return ndist.MultivariateNormal(right.loc, scale_tril=tril)


def model_of_another_prior(y):
    numpyro.deterministic("unused", jnp.zeros(()))
    with numpyro.handlers.scale(scale=1.001):
        numpyro_model(y)


@pytest.mark.parametrize(
    ("model", "guide", "stage", "site"),
    [
        (numpyro_model, WideGuide, "density", "_AutoMultivariateNormal_latent"),
        (numpyro_model, FixedRowGuide, "gradient", "AutoMultivariateNormal.scale_tril"),
        (model_of_another_prior, AutoMultivariateNormal, "density", "weights"),
    ],
)
def test_the_place_is_named(model, guide, stage, site) -> None:
    first = from_pyro(pyro_model, "AutoMultivariateNormal")
    second = NumpyroProgram.build(lambda: (model, guide(model)))
    report = verify(Case(first, second, args=(y,), seeds=(0,), stress=False))
    assert report.verdict == "differs"
    assert (report.findings[0].stage, report.findings[0].site) == (stage, site), report


def test_a_flow_over_sites_in_another_order_says_what_to_do() -> None:
    """A flow has no meaning in another order, so this is a difference."""

    def renamed(y):
        """`spread` comes before `centre` by name."""
        centre = numpyro.sample("z", ndist.Normal(jnp.zeros(3), 2.0).to_event(1))
        spread = numpyro.sample("spread", ndist.LogNormal(0.0, 0.5))
        with numpyro.plate("data", len(y)):
            numpyro.sample("y", ndist.Normal(centre, spread).to_event(1), obs=y)

    case = joint_autoguides.CASE_FLOW
    options = {"num_flows": 1, "hidden_dims": [6], "nonlinearity": stax.Elu}
    second = joint_autoguides.from_numpyro(renamed, "AutoIAFNormal", **options)
    rename = {**case.rename, "centre": "z"}
    report = verify(replace(case, second=second, rename=rename, seeds=(0,), stress=False))
    assert report.verdict == "differs"
    assert any("name the sites so that both orders" in f.message for f in report.findings), report
