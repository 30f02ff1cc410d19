"""`twinplate bench FILE.py`: how a user's own programs are run, and how what they raise is told."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from pyro_impl import Program
from twinplate import Case, bench
from twinplate.errors import InputError
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


def broken_model():
    raise ValueError("no such thing")


@pytest.mark.parametrize("backend", ["pyro", "numpyro"])
def test_an_error_in_a_users_program_names_its_line(rooms, backend):
    """It is the user's to mend: nothing is timed."""
    program = import_module(f"{backend}_impl").Program(broken_model, lambda: None)
    with pytest.raises(InputError) as stop:
        bench.measure_case("MINE", Case(program, program), rooms, "cpu")
    told = str(stop.value)
    line = broken_model.__code__.co_firstlineno + 1
    assert "MINE cannot be run" in told
    assert f'test_bench_cases.py", line {line}, in broken_model' in told
    assert "\nValueError: no such thing" in told
