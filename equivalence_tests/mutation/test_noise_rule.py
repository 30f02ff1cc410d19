"""The two-precision rule on hard programs: little mistakes are found, casts are told from rounding.

The correct pairs (ill-conditioned, long, extreme) are in `pairs`; here they are spoilt by very little.
"""

from __future__ import annotations

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as ndist
import pyro
import pyro.distributions as pdist
import pytest
import torch

from equivalence_tests.mutation.mutants import executed, source
from equivalence_tests.pairs import gaussian_process
from numpyro_impl.recording.program import Program as NumpyroProgram
from pyro_impl.recording.program import Program as PyroProgram
from twinplate import Case, verify

# (pair, case, what stands in the NumPyro program, what the mistake makes of it)
LITTLE = [
    ("gaussian_process", "CASE", "jnp.exp(-0.5 * distance**2)", "jnp.exp(-0.5000001 * distance**2)"),
    ("gaussian_process", "CASE", "(noise**2 + jitter) * jnp.eye", "(noise**2 * 1.00001) * jnp.eye"),
    ("gaussian_process", "CASE_PRECISION", "jnp.linalg.inv(kernel +", "jnp.linalg.inv(1.000001 * kernel +"),
    ("long_recursion", "CASE", "phi * level + 0.1 * jnp", "phi * level + 0.1000001 * jnp"),
    ("long_recursion", "CASE_KALMAN", "spread = variance + r\n        density",
     "spread = variance + 1.000001 * r\n        density"),
    ("extreme_scales", "CASE", "ndist.Normal(a, s + 1e-9)", "ndist.Normal(a, s + 1.00001e-9)"),
    ("extreme_scales", "CASE", "ndist.Cauchy(b, 1e8)", "ndist.Cauchy(b, 1.00000001e8)"),
    ("extreme_scales", "CASE_FAR", "ndist.Normal(0.1 * (loc - 1e6), 1.0)",
     "ndist.Normal(0.1 * (loc - 1e6), 1.00001)"),
]  # fmt: skip
SINGLE = ".astype('float32').astype('float64')"


def spoilt(pair: str, name: str, old: str, new: str) -> str:
    """Verdict with a text of NumPyro's program replaced, where it first stands."""
    text = source(pair)
    place = text.index(old, text.index("def numpyro_"))
    assert text[text.rindex("\ndef ", 0, place) :].startswith("\ndef numpyro_")
    with executed(pair, text[:place] + new + text[place + len(old) :]) as module:
        return verify(replace(getattr(module, name), seeds=(0, 1))).verdict


@pytest.mark.parametrize(("pair", "name", "old", "new"), LITTLE)
def test_a_small_mistake_in_a_hard_program_differs(pair, name, old, new) -> None:
    assert spoilt(pair, name, old, new) == "differs"


@pytest.mark.parametrize(
    ("pair", "name", "old"),
    [
        ("gaussian_process", "CASE", "jnp.exp(-0.5 * distance**2)"),
        ("long_recursion", "CASE", "0.1 * jnp.tanh(y - level)"),
        ("extreme_scales", "CASE", "b * a"),
    ],
)
def test_a_hidden_cast_in_a_hard_program_differs(pair, name, old) -> None:
    """The same mathematics, rounded on the way."""
    assert spoilt(pair, name, old, f"({old}){SINGLE}") == "differs"


# -- a cast on one side, on both, and in what is observed -----------------------------------------------

x = np.random.default_rng(40).normal(size=6)


def pyro_model(x, cast):
    loc = pyro.sample("loc", pdist.Normal(0.0, 1.0))
    mean = torch.tanh(loc + x)
    mean = mean.float().double() if cast and mean.dtype == torch.float64 else mean
    with pyro.plate("n", len(x)):
        pyro.sample("y", pdist.Normal(mean, 0.5), obs=torch.ones(len(x)))


def numpyro_model(x, cast):
    loc = numpyro.sample("loc", ndist.Normal(0.0, 1.0))
    mean = jnp.tanh(loc + x)
    mean = mean.astype(jnp.float32).astype(mean.dtype) if cast else mean
    with numpyro.plate("n", len(x)):
        numpyro.sample("y", ndist.Normal(mean, 0.5), obs=jnp.ones(len(x)))


def cast_in(first: bool, second: bool, scale: float = 1.0) -> str:
    def one(x):
        return pyro_model(x, first)

    def two(x):
        return numpyro_model(scale * x, second)

    return verify(Case(PyroProgram(one), NumpyroProgram(two), args=(x,), seeds=(0,))).verdict


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [(False, False, "same"), (True, False, "differs"), (False, True, "differs")],
)
def test_a_cast_in_one_program_differs(first, second, expected) -> None:
    assert cast_in(first, second) == expected


def test_what_both_round_is_never_called_the_same_beyond_it() -> None:
    """Both cast: equal roundings may be the same; a mistake above single precision is none."""
    assert cast_in(True, True) in ("same", "undecided")
    assert cast_in(True, True, 1.001) == "differs"


@pytest.mark.parametrize("jitter", [3e-13, 1e-13, 5e-14, 3e-15])
def test_a_process_at_the_edge_of_what_can_be_judged_is_no_alarm(jitter: float) -> None:
    """Some of its numbers respond to their inputs just below the limit in Pyro, just above it in NumPyro."""
    case = gaussian_process.CASE_SINGULAR
    edge = replace(case, args=(*case.args[:2], jitter), seeds=tuple(range(10)))
    assert verify(edge).verdict in ("same", "undecided")
