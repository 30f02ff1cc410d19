"""Replayed steps are Pyro's to the bit: losses, parameters, random numbers; twenty programs."""

from __future__ import annotations

import sys
from pathlib import Path

import pyro
import pytest
import torch
from pyro.infer import SVI

from pyro_impl import CompiledSVI
from pyro_impl.compiled.agreement import same_bits

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from programs import NAMES, load

FAST = {"autoguide_hierarchical", "guide_enumerated", "missing_data", "renyi", "trace_graph", "vae"}

pytestmark = [
    pytest.mark.usefixtures("own_world"),
    pytest.mark.filterwarnings("ignore::twinplate.WrongLossWarning"),
]


def run(kind, name, steps):
    """(losses, parameters and averages of batches, state of the generator) of a run from one seed."""
    pyro.clear_param_store()
    pyro.set_rng_seed(1)
    program = load(name)
    svi = kind(program.model, program.guide, program.optim(), program.loss)
    losses = [svi.step(*program.arguments(step)) for step in range(steps)]
    store = pyro.get_param_store().named_parameters()
    return losses, {n: p.detach().clone() for n, p in store}, torch.get_rng_state(), svi


@pytest.mark.filterwarnings("error::pyro_impl.EagerWarning")
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in FAST else pytest.mark.slow) for n in NAMES]
)
def test_fifty_steps_are_pyros_to_the_bit(name):
    torch.set_default_dtype(torch.float32)
    expected, parameters, state, _ = run(SVI, name, 50)
    losses, found, end, svi = run(CompiledSVI, name, 50)
    assert losses == expected and len(set(losses)) == 50
    assert found.keys() == parameters.keys() and torch.equal(end, state)
    assert [n for n in found if not same_bits(found[n], parameters[n])] == []
    assert sum(step.taken for steps in svi._steps.values() for step in steps) >= 40


def test_there_are_twenty():
    assert len(NAMES) == 20 and set(NAMES) > FAST
