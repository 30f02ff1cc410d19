"""Sticking the landing in compiled steps: those of stock SVI, whatever the guide runs twice."""

from __future__ import annotations

import numpy as np
import numpyro_cases
import numpyro_runs
import pyro
import pytest
from compiled_cases import CASES
from jax import random
from numpyro.infer import SVI
from pyro.infer import autoguide

import numpyro_impl
import pyro_impl
from twinplate import InputError


def steps(kind, name, ways={}, **options):  # noqa: B006
    pyro.clear_param_store()
    pyro.set_rng_seed(3)
    model, guide, batches = CASES[name]()
    loss = pyro_impl.StickingTheLandingELBO(**options)
    svi = kind(model, guide, pyro.optim.Adam({"lr": 0.02}), loss, **ways)
    return [svi.step(*batches[0]) for _ in range(6)], svi


@pytest.mark.usefixtures("own_world")
@pytest.mark.parametrize(
    ("name", "vectorize"),
    [
        ("subsampling", True),
        ("mask and scale", False),
        ("PyroModule", False),
        ("batch norm", False),
    ],
)
def test_pyros_steps_are_those_of_stock_svi(name, vectorize):
    options = {"num_particles": 2, "vectorize_particles": vectorize}
    expected, _ = steps(pyro.infer.SVI, name, **options)
    found, svi = steps(pyro_impl.CompiledSVI, name, **options)
    assert found == expected
    assert len(svi._steps) == 1


@pytest.mark.usefixtures("own_world")
@pytest.mark.parametrize("compiler", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_as_machine_code(compiler, request):
    if not compiler:
        request.getfixturevalue("interpreted")
    expected, _ = steps(pyro.infer.SVI, "AutoMultivariateNormal")
    found, svi = steps(pyro_impl.CompiledSVI, "AutoMultivariateNormal", ways={"machine_code": True})
    assert found == pytest.approx(expected, rel=1e-9)
    assert len(svi._steps) == 1


@pytest.mark.usefixtures("own_world")
def test_what_pyro_cannot_run_twice_is_refused_in_the_first_step():
    with pytest.raises(InputError, match="random numbers outside of its sample sites"):
        steps(pyro_impl.CompiledSVI, "dropout")
    model, _, batches = CASES["PyroModule"]()
    guide = autoguide.AutoNormalMessenger(model)
    svi = pyro.infer.SVI(
        model, guide, pyro.optim.Adam({"lr": 0.02}), pyro_impl.StickingTheLandingELBO()
    )
    with pytest.raises(InputError, match="AutoNormalMessenger is a guide that runs the model"):
        svi.step(*batches[0])


def with_path(name, **options):
    def make():
        model, guide, _ = numpyro_cases.CASES[name]()
        return model, guide, numpyro_impl.StickingTheLandingELBO(**options)

    return make


@pytest.mark.usefixtures("x64", "short_chunks")
@pytest.mark.parametrize(
    "name", ["newer flax", pytest.param("subsampling", marks=pytest.mark.slow)]
)
def test_numpyros_runs_are_those_of_stock_svi(name):
    make = with_path(name, num_particles=1 if name == "newer flax" else 2)
    _, expected = numpyro_runs.run(SVI, make)
    _, found = numpyro_runs.run(numpyro_impl.CompiledSVI, make)
    numpyro_runs.assert_same(found, expected)
    model, guide, loss = make()
    svi = numpyro_impl.CompiledSVI(model, guide, numpyro_runs.adam(), loss)
    many = svi.run_many(random.key(0)[None], 10, *numpyro_cases.data())
    np.testing.assert_allclose(many.losses[0], expected.losses, rtol=1e-9)
