"""Runs of a small program with `CompiledSVI`, to be compared with the eager ones.

`model_with(density)` and `guide` make the program; a test says what is dangerous about it.
"""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from compiled_cases import ITEMS, batches
from pyro.infer import SVI, Trace_ELBO

from pyro_impl import CompiledSVI, EagerWarning
from pyro_impl.compiled.capture import Recorder
from pyro_impl.compiled.lowering import lowered


def guide(x, y):
    loc = pyro.param("loc", torch.tensor(0.1))
    scale = pyro.param("scale", torch.tensor(0.5), constraint=dist.constraints.positive)
    pyro.sample("slope", dist.Normal(loc, scale))


def model_with(density):
    """`density(slope, x)` gives the scale of the observations."""

    def model(x, y):
        slope = pyro.sample("slope", dist.Normal(0.0, 1.0))
        scale = density(slope, x)
        with pyro.plate("items", len(x)):
            pyro.sample("y", dist.Normal(slope * x[:, 0], scale), obs=y)

    return model


def recorded(function, arguments):
    """The graph of `function(*arguments)`, which returns a tuple of tensors."""
    aliases = [tensor.detach() for tensor in arguments]
    with Recorder(aliases, []) as recorder:
        results = function(*aliases)
    return recorder.finish(results, [])


def traced(function, arguments):
    """The same for a compiler."""
    return lowered(recorded(function, arguments), None, None, arguments)


def losses(
    kind, model, steps=6, guide=guide, each=None, loss=Trace_ELBO, arguments=None, **options
):
    pyro.clear_param_store()
    pyro.set_rng_seed(3)
    svi = kind(model, guide, pyro.optim.Adam({"lr": 0.02}), loss(), **options)
    found = []
    for i in range(steps):
        if each:
            each(i)
        found.append(svi.step(*(arguments(i) if arguments else batches(ITEMS)[0])))
    return found, svi


def assert_eager_equals(model, reason, restart=lambda: None, for_good=True, **settings):
    """With one warning that says why, and the losses of the eager program."""
    restart()
    expected, _ = losses(SVI, model, **settings)
    restart()
    with pytest.warns(EagerWarning, match=reason) as caught:
        found, svi = losses(CompiledSVI, model, **settings)
    assert len([w for w in caught if w.category is EagerWarning]) == 1
    assert found == expected
    assert svi._eager == for_good and not svi._steps


def assert_replayed_equals(model, graphs, restart=lambda: None, **settings):
    """To the bit, and by so many records."""
    restart()
    expected, _ = losses(SVI, model, **settings)
    restart()
    found, svi = losses(CompiledSVI, model, **settings)
    assert found == expected
    assert len(steps_of(svi)) == graphs and any(step.taken for step in steps_of(svi))
    return svi


def steps_of(svi):
    """Its records."""
    return [step for steps in svi._steps.values() for step in steps]
