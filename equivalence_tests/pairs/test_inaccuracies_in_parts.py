"""Known inaccuracies inside of a mixture or a zero-inflated distribution, and mistakes beside them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as ndist
import pyro
import pyro.distributions as pdist
import pytest
import torch

from numpyro_impl.recording.program import Program as NumpyroProgram
from pyro_impl.recording.program import Program as PyroProgram
from twinplate import verify

visits = np.array([12.0, 0.0, 3.0])
PARTS = ["zero-inflated", "by NumPyro's own class", "mixture"]


def pyro_parts(kind):
    """Counts with large arguments of the beta function, inside of another distribution."""

    def model(visits):
        means = pyro.sample("means", pdist.LogNormal(torch.tensor([1.0, 3.0]), 0.5).to_event(1))
        size = pyro.sample("size", pdist.LogNormal(0.0, 0.5))
        if kind == "mixture":
            parts = pdist.GammaPoisson(size, size / means)
            fn = pdist.MixtureSameFamily(pdist.Categorical(torch.tensor([0.4, 0.6])), parts)
        else:
            logits = means[1].log() - size.log()
            gate = torch.tensor(0.2)
            fn = pdist.ZeroInflatedNegativeBinomial(size, logits=logits, gate=gate)
        with pyro.plate("items", len(visits)):
            pyro.sample("visits", fn, obs=visits)

    return PyroProgram(model)


def numpyro_parts(kind, size_by=1.0, share=0.6, gate=0.2, family=ndist.NegativeBinomial2):
    """The same, with all of it right by default."""

    def model(visits):
        means = numpyro.sample("means", ndist.LogNormal(jnp.array([1.0, 3.0]), 0.5).to_event(1))
        size = numpyro.sample("size", ndist.LogNormal(0.0, 0.5)) * size_by
        if kind == "mixture":
            parts = ndist.GammaPoisson(size, size / means)
            choice = ndist.Categorical(jnp.array([1.0 - share, share]))
            fn = ndist.MixtureSameFamily(choice, parts)
        elif kind == "zero-inflated":
            fn = ndist.ZeroInflatedDistribution(family(means[1], size), gate=gate)
        else:
            fn = ndist.ZeroInflatedNegativeBinomial2(means[1], size, gate=gate)
        with numpyro.plate("items", len(visits)):
            numpyro.sample("visits", fn, obs=visits)

    return NumpyroProgram(model)


@pytest.mark.parametrize("kind", PARTS)
def test_an_inaccuracy_inside_of_another_distribution_is_a_note(kind) -> None:
    report = verify(pyro_parts(kind), numpyro_parts(kind), args=(visits,), seeds=(0, 1))
    assert report.verdict == "same", report
    notes = [f.message for f in report.findings if f.stage == "density"]
    inside = "GammaPoisson" if kind == "mixture" else "NegativeBinomial2"
    assert notes and all(f"NumPyro's {inside} is inaccurate" in note for note in notes)


@pytest.mark.parametrize(
    ("kind", "spoilt"),
    [
        ("zero-inflated", {"size_by": 1 + 1e-8}),
        ("zero-inflated", {"gate": 0.2 + 1e-9}),
        ("by NumPyro's own class", {"size_by": 1 - 1e-8}),
        ("mixture", {"size_by": 1 + 1e-8}),
        ("mixture", {"share": 0.6 + 1e-9}),
    ],
)
def test_a_mistake_below_the_inaccuracy_is_found_inside_of_another_distribution(
    kind, spoilt
) -> None:
    second = numpyro_parts(kind, **spoilt)
    report = verify(pyro_parts(kind), second, args=(visits,), seeds=(0, 1))
    assert report.verdict == "differs"
    assert (report.findings[0].program, report.findings[0].site) == ("model", "visits")


def test_a_family_that_has_two_names_is_not_blamed_and_another_one_is() -> None:
    def told(family):
        second = numpyro_parts("zero-inflated", 1.5, family=family)
        return verify(pyro_parts("zero-inflated"), second, args=(visits,), seeds=(0,)).findings[0]

    assert "in the first program" not in told(ndist.NegativeBinomial2).message
    other = told(lambda mean, size: ndist.Poisson(mean)).message
    assert "Its base is NegativeBinomial in the first program, Poisson in the second" in other


def test_probabilities_that_a_mixture_chooses_by_are_clamped_as_others_are() -> None:
    """torch's Categorical clamps them at 2e-16, and its mixture asks it for their logits."""

    def pyro_model(x):
        gate = torch.sigmoid(pyro.sample("gate", pdist.Normal(0.0, 10.0)))
        choice = pdist.Categorical(torch.stack([gate, 1.0 - gate], -1))
        parts = pdist.Normal(torch.tensor([-9.0, 1.0]), 1.0)
        with pyro.plate("items", 1):
            pyro.sample("x", pdist.MixtureSameFamily(choice, parts), obs=x)

    def numpyro_model(x, at=-9.0):
        gate = jax.nn.sigmoid(numpyro.sample("gate", ndist.Normal(0.0, 10.0)))
        choice = ndist.Categorical(jnp.stack([gate, 1.0 - gate], -1))
        parts = ndist.Normal(jnp.array([at, 1.0]), 1.0)
        with numpyro.plate("items", 1):
            numpyro.sample("x", ndist.MixtureSameFamily(choice, parts), obs=x)

    def report_of(second):
        programs = PyroProgram(pyro_model), NumpyroProgram(second)
        draws = {"gate": np.array(-50.0)}
        return verify(*programs, args=(np.array([-9.0]),), seeds=(0,), draws=draws, stress=False)

    report = report_of(numpyro_model)
    assert {f.stage: f.level for f in report.findings} == {
        "support": "note", "density": "note", "loss": "note", "gradient": "undecided",
    }  # fmt: skip
    assert report_of(lambda x: numpyro_model(x, -9.001)).verdict == "differs"
