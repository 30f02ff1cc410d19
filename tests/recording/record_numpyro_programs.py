"""NumPyro programs of several tests of records, and the sessions that run them."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.distributions import constraints

from numpyro_impl.recording.program import Program
from twinplate.records.record import Given, Settings


def session(model, guide=None, precision="float64", **settings):
    return Program(model, guide).session(precision, Settings(**settings))


def sampled(model, *args, guide=None, **settings):
    run = session(model, guide, **settings).sample(1, Given(), args, {})
    assert run.failure is None, run.failure
    return run


def ran(model, given, *args, guide=None, precision="float64", compiled=True, **settings):
    """A run; and that it was compiled, as nearly every program must be."""
    opened = session(model, guide, precision, **settings)
    run = opened.run(given, args, {})
    assert run.failure is None, run.failure
    assert opened._ways[0][1] == compiled
    return run


def gaussian(x):
    z = numpyro.sample("z", dist.Normal(0.0, 2.0))
    with numpyro.plate("data", 3):
        numpyro.sample("x", dist.Normal(z, 1.0), obs=x)


def gaussian_guide(x):
    loc = numpyro.param("loc", 0.5)
    scale = numpyro.param("scale", 0.7, constraint=constraints.positive)
    numpyro.sample("z", dist.Normal(loc, scale))


Z = np.array([0.9, -0.4])
GIVEN = Given({"z": Z}, {}, {"loc": np.array(0.2), "scale": np.array(0.6)})
PROBS = np.array([0.2, 0.3, 0.5])
LOCS = np.array([-1.0, 0.5, 2.0])


def mixture(x):
    with numpyro.plate("data", 3):
        k = numpyro.sample("k", dist.Categorical(jnp.array(PROBS)), infer={"enumerate": "parallel"})
        numpyro.sample("x", dist.Normal(jnp.array(LOCS)[k], 1.0), obs=x)


K = np.array([[0, 2, 1]])
