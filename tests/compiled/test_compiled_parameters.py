"""Parameters and buffers of a compiled step: replaced, added later, left alone by capturing."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from compiled_cases import CASES, encoder_decoder, pyro_module
from compiled_runs import assert_replayed_equals, model_with, steps_of
from pyro.infer import SVI, Trace_ELBO
from pyro.nn import PyroSample
from torch import nn

from pyro_impl import CompiledSVI

pytestmark = pytest.mark.usefixtures("own_world")


@pytest.mark.parametrize("change", ["clear", "assign", "delete", "scope state"])
def test_parameters_replaced_in_the_store_are_captured_again(change):
    store = pyro.get_param_store()

    def each(i):
        if i != 3:
            return
        if change == "clear":
            pyro.clear_param_store()
        elif change == "assign":
            store["scale"] = torch.tensor(2.0)
        elif change == "delete":
            del store["loc"]
        else:
            state = store.get_state()
            new = {n: p.detach().clone().requires_grad_() for n, p in state["params"].items()}
            store.set_state({**state, "params": new})

    assert_replayed_equals(model_with(lambda *_: 1.0), 1, each=each, steps=8)


def test_a_parameter_that_appears_later_is_captured_again():
    held = {"late": False}

    def late_guide(x, y):
        loc = pyro.param("loc", torch.tensor(0.1))
        if held["late"]:
            loc = loc + pyro.param("shift", torch.tensor(0.0))
        pyro.sample("slope", dist.Normal(loc, 0.5))

    def each(i):
        held["late"] = i >= 3

    assert_replayed_equals(model_with(lambda *_: 1.0), 1, guide=late_guide, each=each, steps=8)


def test_a_module_whose_weights_are_replaced_is_captured_again():
    def run(kind):
        pyro.clear_param_store()
        pyro.set_rng_seed(3)
        model, guide, (batch, *_) = pyro_module()
        svi = kind(model, guide, pyro.optim.Adam({"lr": 0.02}), Trace_ELBO())
        found = []
        for i in range(8):
            if i == 4:
                guide.loc.data = guide.loc.data + 1.0  # another storage, the same leaf
            found.append(svi.step(*batch))
        return found

    assert run(CompiledSVI) == run(SVI)


def test_capturing_leaves_buffers_and_parameters_alone():
    """Batch norm counts its batches: as often compiled as eagerly, and the checks count for nothing."""

    def run(kind):
        pyro.clear_param_store()
        pyro.set_rng_seed(3)
        model, guide, (batch, *_) = encoder_decoder(lambda: nn.BatchNorm1d(3))()
        svi = kind(model, guide, pyro.optim.Adam({"lr": 0.02}), Trace_ELBO())
        for _ in range(9):
            svi.step(*batch)
        return next(
            c.cell_contents[0]
            for c in guide.__closure__
            if isinstance(c.cell_contents, nn.Sequential)
        )

    expected, found = run(SVI), run(CompiledSVI)
    assert found.num_batches_tracked == expected.num_batches_tracked == 9
    assert torch.equal(found.running_mean, expected.running_mean)
    assert torch.equal(found.running_var, expected.running_var)


def changing(name, change, kind, optim=lambda: pyro.optim.Adam({"lr": 0.02})):
    """(losses, svi) of a run of a case in which `change(model, guide, i)` comes before step i."""
    pyro.clear_param_store()
    pyro.set_rng_seed(3)
    model, guide, (batch, *_) = CASES[name]()
    svi = kind(model, guide, optim(), Trace_ELBO())
    found = []
    for i in range(14):
        change(model, guide, i)
        found.append(svi.step(*batch))
    return found, svi


def networks(model, guide):
    for function in (model, guide):
        if isinstance(function, nn.Module):
            yield function
        yield from (
            cell.cell_contents
            for cell in getattr(function, "__closure__", None) or ()
            if isinstance(cell.cell_contents, nn.Module)
        )


@pytest.mark.filterwarnings("ignore:.*was not registered in the param store")
@pytest.mark.parametrize("name", ["pyro.module", "PyroModule", "AutoNormal"])
@pytest.mark.parametrize("optim", [pyro.optim.Adam, pyro.optim.SGD])
@pytest.mark.parametrize("frozen", [range(4, 9), range(5)], ids=["frozen", "unfrozen"])
def test_freezing_and_unfreezing_are_seen(name, optim, frozen):
    def change(model, guide, i):
        first = next(networks(model, guide))
        (guide if name == "AutoNormal" else first).requires_grad_(i not in frozen)

    make = lambda: optim({"lr": 0.02 if optim is pyro.optim.Adam else 1e-4})
    expected, _ = changing(name, change, SVI, make)
    found, svi = changing(name, change, CompiledSVI, make)
    assert found == expected
    (step,) = steps_of(svi)
    assert step.taken >= 2


def test_a_prior_of_a_module_that_is_replaced_is_captured_again():
    def change(model, guide, i):
        if i == 3:
            model.linear.weight = PyroSample(dist.Normal(0.0, 0.1).expand([1, 3]).to_event(2))

    expected, _ = changing("PyroModule", change, SVI)
    found, svi = changing("PyroModule", change, CompiledSVI)
    assert found == expected
    assert len(svi._steps) == 1 and svi._changes == 1
