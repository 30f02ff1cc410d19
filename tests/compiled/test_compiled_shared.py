"""Parts of the SVI itself: its model or optimiser is replaced, or another one uses its optimiser as well."""

from __future__ import annotations

from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
from compiled_cases import ITEMS, batches
from compiled_runs import steps_of
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import AutoDelta, AutoNormal
from pyro.optim.clipped_adam import ClippedAdam

from pyro_impl import CompiledSVI
from pyro_impl.compiled.steps import TorchOptim

pytestmark = pytest.mark.usefixtures("own_world")


def two_sites(x, y):
    slope = pyro.sample("slope", dist.Normal(0.0, 1.0))
    scale = pyro.sample("scale", dist.LogNormal(0.0, 1.0))
    with pyro.plate("items", len(x)):
        pyro.sample("y", dist.Normal(slope * x[:, 0], scale), obs=y)


REPLACED = {
    "model": lambda svi: poutine.scale(svi.model, 0.1),
    "guide": lambda svi: AutoDelta(two_sites),
    "optim": lambda svi: pyro.optim.SGD({"lr": 1e-3}),
    "loss_and_grads": lambda svi: Trace_ELBO(num_particles=2).loss_and_grads,
}


@pytest.mark.parametrize("name", REPLACED)
@pytest.mark.parametrize("options", [{}, {"clip": 1e9, "net": True}], ids=["", "with a net"])
def test_what_the_svi_itself_holds_is_replaced(name, options):
    """Seven steps after the last comparison, which would have found it."""

    def run(kind, **options):
        pyro.clear_param_store()
        pyro.set_rng_seed(3)
        svi = kind(two_sites, AutoNormal(two_sites), pyro.optim.Adam({"lr": 0.02}), Trace_ELBO())
        found = [svi.step(*batches(ITEMS)[0]) for _ in range(12)]
        setattr(svi, name, REPLACED[name](svi))
        return found + [svi.step(*batches(ITEMS)[0]) for _ in range(12)], svi

    found, svi = run(partial(CompiledSVI, **options))
    assert found == run(SVI)[0]
    assert any(step.taken for step in steps_of(svi)) and svi.notes == []


@pytest.mark.parametrize("kind", ["Adam", "ClippedAdam"])
@pytest.mark.parametrize("of_torch", [False, True])
def test_an_optimiser_moves_one_parameter_in_between(kind, of_torch):
    """As where two SVIs share it: of the leaves that go together one has taken more steps."""

    def run(compiled):
        pyro.clear_param_store()
        pyro.set_rng_seed(3)
        guide = AutoNormal(two_sites)
        optim = getattr(pyro.optim, kind)({"lr": 0.02})
        if of_torch:
            guide(*batches(ITEMS)[0])
            inner = torch.optim.Adam if kind == "Adam" else ClippedAdam
            optim = inner(guide.parameters(), lr=0.02)
        if not compiled and of_torch:
            optim = TorchOptim(optim)
        svi = (CompiledSVI if compiled else SVI)(two_sites, guide, optim, Trace_ELBO())
        found = []
        for i in range(30):
            found.append(svi.step(*batches(ITEMS)[0]))
            if i > 10 and i % 2:
                for leaf in guide.parameters():
                    leaf.grad = None
                guide.locs.slope.grad = torch.tensor(0.1)
                svi.optim([guide.locs.slope])
                guide.locs.slope.grad = None
        return found, svi

    found, svi = run(compiled=True)
    assert found == run(compiled=False)[0]
    assert any(step.taken for step in steps_of(svi))


@pytest.mark.parametrize("kind", ["Adam", "SGD"])
@pytest.mark.parametrize("first", [1, 5])
def test_gradients_that_are_there_already_are_added_as_by_pyro(kind, first):
    """As where two mini-batches make one step; not one of them is recorded."""

    def run(make):
        pyro.clear_param_store()
        pyro.set_rng_seed(3)
        optim = getattr(pyro.optim, kind)({"lr": 0.01})
        svi = make(two_sites, AutoNormal(two_sites), optim, Trace_ELBO())
        found = []
        for i in range(24):
            if i >= first and i % 4 == 1:
                svi.loss_and_grads(svi.model, svi.guide, *batches(5)[0])
            found.append(svi.step(*batches(ITEMS)[0]))
        return found, svi

    found, svi = run(CompiledSVI)
    assert found == run(SVI)[0]
    (step,) = steps_of(svi)
    assert step.taken == 24 - 2 - len(range(first, 24, 4))
