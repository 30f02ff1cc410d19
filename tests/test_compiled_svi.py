"""Compiled steps are the eager ones: the same losses, parameters and random numbers, case by case."""

from __future__ import annotations

import pyro
import pytest
import torch
from compiled_cases import CASES
from pyro.infer import SVI, Trace_ELBO

from pyro_impl import CompiledSVI

FAST = {"subsampling", "dropout", "partial batches", "AutoMultivariateNormal"}


@pytest.fixture(autouse=True)
def world():
    """A store and random numbers of the test's own, in double precision."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    with pyro.get_param_store().scope(), torch.random.fork_rng():
        yield
    torch.set_default_dtype(default)


def adam(lr=0.02):
    return pyro.optim.Adam({"lr": lr})


def run(kind, make, optim=adam, loss=Trace_ELBO, steps=12, hook=None):
    """(losses, parameters and buffers, svi) of a run from one seed."""
    pyro.clear_param_store()
    pyro.set_rng_seed(7)
    model, guide, batches = make()
    svi = kind(model, guide, optim(), loss())
    losses = []
    for i in range(steps):
        losses.append(svi.step(*batches[i % len(batches)]))
        if hook:
            hook(svi, i)
    state = {n: v.detach().clone() for n, v in pyro.get_param_store().named_parameters()}
    return losses, state, svi


def assert_same(make, rtol=1e-9, compiled_steps=1, **settings):
    expected, state, _ = run(SVI, make, **settings)
    losses, found, svi = run(CompiledSVI, make, **settings)
    assert sum(step.taken for step in svi._steps.values()) >= compiled_steps
    assert losses == pytest.approx(expected, rel=rtol)
    assert state.keys() == found.keys()
    for name in state:
        torch.testing.assert_close(found[name], state[name], rtol=rtol, atol=rtol, msg=name)
    return svi


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in FAST else pytest.mark.slow) for n in CASES]
)
def test_each_case_is_what_it_is_eagerly(name):
    assert_same(CASES[name], compiled_steps=10 if name != "partial batches" else 4)
