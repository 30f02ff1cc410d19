"""Latent values with ends that a framework does not know: affine maps of a Beta, angles, directions."""

from __future__ import annotations

import numpyro
import numpyro.distributions as ndist
import pyro
import pyro.distributions as pdist
import pytest
import torch
from jax import numpy as jnp
from numpyro.distributions import constraints, transforms
from torch.distributions import AffineTransform

from numpyro_impl.recording.program import Program as NumpyroProgram
from pyro_impl.recording.program import Program as PyroProgram
from twinplate import verify

FEW = {"seeds": (0,)}  # and the stress draw
ITEMS = 30  # of Beta(0.1, 0.1) some are at the ends


def pyro_scaled(focus=0.1):
    return pdist.TransformedDistribution(
        pdist.Beta(torch.as_tensor(focus), 0.1), [AffineTransform(2.0, -3.0)]
    )


def numpyro_scaled(focus=0.1, **domain):
    transform = transforms.AffineTransform(2.0, -3.0, **domain)
    return ndist.TransformedDistribution(ndist.Beta(focus, 0.1), transform)


def pyro_beta():
    with pyro.plate("items", ITEMS):
        z = pyro.sample("z", pyro_scaled())
        pyro.sample("y", pdist.Normal(z, 1.0), obs=torch.zeros(ITEMS))


def pyro_beta_guide():
    focus = pyro.param("focus", torch.tensor(0.2), constraint=pdist.constraints.positive)
    with pyro.plate("items", ITEMS):
        pyro.sample("z", pyro_scaled(focus))


def numpyro_beta(**domain):
    with numpyro.plate("items", ITEMS):
        z = numpyro.sample("z", numpyro_scaled(**domain))
        numpyro.sample("y", ndist.Normal(z, 1.0), obs=jnp.zeros(ITEMS))


def numpyro_beta_guide(**domain):
    focus = numpyro.param("focus", 0.2, constraint=constraints.positive)
    with numpyro.plate("items", ITEMS):
        numpyro.sample("z", numpyro_scaled(focus, **domain))


DOMAIN = {"domain": constraints.unit_interval}


def test_an_affine_map_of_a_beta_keeps_its_distance_from_the_ends():
    report = verify(NumpyroProgram(numpyro_beta), PyroProgram(pyro_beta), **FEW)
    assert report.verdict == "same", report
    guided = (
        NumpyroProgram(lambda: numpyro_beta(**DOMAIN), lambda: numpyro_beta_guide(**DOMAIN)),
        PyroProgram(pyro_beta, pyro_beta_guide),
    )
    for programs in (guided, guided[::-1]):
        report = verify(*programs, **FEW)
        assert report.verdict == "same" and report.findings[0].stage == "support", report


def test_ends_that_one_sampler_alone_knows_are_told():
    program = NumpyroProgram(lambda: numpyro_beta(**DOMAIN))
    report = verify(program, PyroProgram(pyro_beta), **FEW)
    assert report.verdict == "differs"
    assert "has no ends" in report.findings[0].message and "'z'" in report.findings[0].message


def pyro_angle(focus=2.0):
    north = pyro.sample("north", pdist.VonMises(torch.tensor(3.0), torch.tensor(focus)))
    with pyro.plate("data", 3):
        pyro.sample("y", pdist.VonMises(north, 5.0), obs=torch.tensor([1.0, 3.0, -3.0]))


def pyro_angle_guide():
    pyro.sample("north", pdist.VonMises(pyro.param("loc", torch.tensor(0.3)), 4.0))


def numpyro_angle():
    north = numpyro.sample("north", ndist.VonMises(3.0, 2.0))
    with numpyro.plate("data", 3):
        numpyro.sample("y", ndist.VonMises(north, 5.0), obs=jnp.array([1.0, 3.0, -3.0]))


def numpyro_angle_guide():
    numpyro.sample("north", ndist.VonMises(numpyro.param("loc", 0.3), 4.0))


def test_an_angle_without_a_guide_is_the_same():
    programs = PyroProgram(pyro_angle), NumpyroProgram(numpyro_angle)
    assert verify(*programs, **FEW).ok
    report = verify(PyroProgram(lambda: pyro_angle(2.1)), programs[1], **FEW)
    assert report.findings[0].message.endswith("Its concentration differs")


@pytest.mark.parametrize(
    ("loss", "verdict"), [("TraceGraph_ELBO", "same"), ("Trace_ELBO", "differs")]
)
def test_an_angle_of_a_guide_is_not_reparametrised(loss, verdict):
    programs = (
        PyroProgram(pyro_angle, pyro_angle_guide),
        NumpyroProgram(numpyro_angle, numpyro_angle_guide),
    )
    report = verify(*programs, loss=loss, **FEW)
    assert report.verdict == verdict, report
    assert ("score-function term" in report.findings[0].message) == (verdict == "differs")


@pytest.mark.parametrize("centre", [[0.1, 0.2], [50.0, -50.0, 3.0]])
def test_a_direction_as_a_latent_is_the_same(centre):
    def pyro_direction():
        z = pyro.sample("z", pdist.ProjectedNormal(torch.ones(len(centre))))
        pyro.sample("y", pdist.Normal(z[..., 0], 0.01), obs=torch.tensor(1.0))

    def pyro_guide():
        loc = pyro.param("centre", lambda: torch.tensor(centre))
        pyro.sample("z", pdist.ProjectedNormal(loc))

    def numpyro_direction():
        z = numpyro.sample("z", ndist.ProjectedNormal(jnp.ones(len(centre))))
        numpyro.sample("y", ndist.Normal(z[..., 0], 0.01), obs=1.0)

    def numpyro_guide():
        loc = numpyro.param("centre", jnp.array(centre))
        numpyro.sample("z", ndist.ProjectedNormal(loc))

    report = verify(
        NumpyroProgram(numpyro_direction, numpyro_guide),
        PyroProgram(pyro_direction, pyro_guide),
        **FEW,
    )
    assert report.verdict == "same", report
