"""First values of parameters: a note where programs write other ones, none of what frameworks choose."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as numpyro_dist
import numpyro.infer.autoguide as numpyro_guides
import pyro
import pyro.distributions as dist
import pyro.infer.autoguide as pyro_guides
import pytest
import torch
from flax import linen
from numpyro.contrib.module import flax_module

from numpyro_impl import Program as NumpyroProgram
from pyro_impl import Program
from twinplate import Record, verify

POSITIVE = dist.constraints.positive


def pyro_program(start):
    def model():
        pyro.sample("z", dist.Normal(0.0, 1.0))

    def guide():
        width = pyro.param("width", start, constraint=POSITIVE)
        pyro.sample("z", dist.Normal(torch.zeros(()), width.mean()))

    return Program(model, guide)


def numpyro_program(start):
    def model():
        numpyro.sample("z", numpyro_dist.Normal(0.0, 1.0))

    def guide():
        width = numpyro.param("width", start, constraint=numpyro_dist.constraints.positive)
        numpyro.sample("z", numpyro_dist.Normal(0.0, width.mean()))

    return NumpyroProgram(model, guide)


def told(first, second, **options):
    report = verify(first, second, seeds=(0, 1), stress=False, **options)
    assert report.ok, report
    return [f.message for f in report.findings if "starts" in f.message]


def test_written_values_that_differ():
    for pair in (
        (pyro_program(torch.tensor(0.5)), numpyro_program(jnp.array(1.0))),
        (numpyro_program(jnp.array(0.5)), pyro_program(lambda: torch.ones(()))),
    ):
        (message,) = told(*pair)
        assert "starts from 0.5 in the first program and from 1 in the second" in message
    ones = jnp.array([0.5, 1.0])
    (message,) = told(pyro_program(torch.ones(2)), numpyro_program(ones))
    assert "from 1 in the first program and from 0.5" in message


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (lambda: torch.tensor(0.1), jnp.float32(0.1)),
        (torch.rand(3), lambda key: jax.random.uniform(key, (3,))),
        (torch.tensor(0.5), lambda key: jax.random.uniform(key)),
        (torch.tensor(0.123456), jnp.array(0.5)),
    ],
    ids=["equal", "both drawn", "one drawn", "computed"],
)
def test_equal_and_drawn_values_are_not_told(first, second):
    assert told(pyro_program(first), numpyro_program(second)) == []


def pyro_model(x):
    loc = pyro.sample("loc", dist.Normal(3.0, 1.0))
    pyro.sample("x", dist.Normal(loc, 1.0), obs=x)


def numpyro_model(x):
    loc = numpyro.sample("loc", numpyro_dist.Normal(3.0, 1.0))
    numpyro.sample("x", numpyro_dist.Normal(loc, 1.0), obs=x)


@pytest.mark.parametrize("guide", ["AutoNormal", "AutoMultivariateNormal", "AutoDelta"])
def test_automatic_guides_have_their_own(guide):
    first = Program.build(lambda: (pyro_model, getattr(pyro_guides, guide)(pyro_model)))
    second = NumpyroProgram.build(
        lambda: (numpyro_model, getattr(numpyro_guides, guide)(numpyro_model))
    )
    assert told(first, second, args=(np.array(0.5),)) == []


def test_layers_have_their_own():
    """torch draws a bias, flax has zeros."""
    net = torch.nn.Linear(2, 2)

    def model():
        pyro.module("net", net)
        pyro.sample("x", dist.Normal(net(torch.ones(2)), 1.0).to_event(1), obs=torch.ones(2))

    def ported():
        x = flax_module("net", linen.Dense(2), jnp.ones(2))(jnp.ones(2))
        numpyro.sample("x", numpyro_dist.Normal(x, 1.0).to_event(1), obs=jnp.ones(2))

    assert told(Program(model, lambda: None), NumpyroProgram(ported, lambda: None)) == []


def test_first_values_are_kept_in_the_file(tmp_path):
    pyro_program(torch.tensor(0.5)).record().save(tmp_path / "a.record")
    record = Record.load(tmp_path / "a.record")
    assert {name: float(value) for name, value in record.starts.items()} == {"width": 0.5}
