"""`twinplate bench FILE.py`: how a user's own programs are run, and how what they raise is told."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from pyro_impl import Program
from twinplate import Case
from twinplate.timing import Route
from twinplate.training import Chunk


@pytest.fixture(scope="module")
def rooms():
    return {name: import_module(f"{name}_impl.bench") for name in ("pyro", "numpyro")}


def routes(rooms, model) -> dict[str, Route]:
    """The ways to train `model` with a guide for its site "a"."""

    def guide():
        pyro.sample("a", dist.Normal(pyro.param("loc", torch.zeros(())), 1.0))

    program = Program(model, guide)
    return rooms["pyro"].program_routes(program, Case(program, program), "cpu")


def test_on_a_cpu_a_users_steps_pay_for_no_device_mode(rooms):
    modes = []

    def model():
        modes.append(torch.overrides._get_current_function_mode_stack())
        pyro.sample("a", dist.Normal(torch.zeros(()), 1.0))

    run = routes(rooms, model)["Pyro, SVI"].start()
    run(Chunk(0, np.zeros((2, 0), int), np.ones(2), {}))
    assert modes == [[], []]
