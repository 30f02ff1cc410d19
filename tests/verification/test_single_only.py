"""Programs that fix a type of 32 bits run in single precision only: the verdict says so, and where."""

from __future__ import annotations

import numpy as np
import pytest

from twinplate import verify

X = np.array([0.5, -1.0])


def pyro_program():
    pyro = pytest.importorskip("pyro")
    import torch

    from pyro_impl import Program

    def model(x):
        loc = torch.eye(2, dtype=torch.float32) @ x
        pyro.sample("x", pyro.distributions.Normal(loc, 1.0).to_event(1), obs=x)

    return Program(model)


def numpyro_program():
    numpyro = pytest.importorskip("numpyro")
    import jax.numpy as jnp
    from jax import lax

    from numpyro_impl import Program

    def model(x):
        loc, _ = lax.scan(lambda total, x: (total + x, None), jnp.zeros((), jnp.float32), x)
        numpyro.sample("x", numpyro.distributions.Normal(loc * jnp.ones(2), 1.0).to_event(1), obs=x)

    return Program(model)


@pytest.mark.parametrize(
    ("program", "line", "mends"),
    [(pyro_program, 7, "torch.get_default_dtype()"), (numpyro_program, 8, "dtype=float")],
)
def test_it_is_said_with_the_line_and_what_mends_it(program, line, mends):
    report = verify(program(), program(), args=(X,))
    assert report.verdict == "could not run"
    said = report.findings[0].message
    assert "single precision only" in said and mends in said
    assert f"{__file__}:{program.__code__.co_firstlineno + line}" in said
    assert "Error: " in said  # the framework's own words, too
