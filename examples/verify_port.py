"""Is this port right? A regression with unequal noise in Pyro, and in NumPyro with one mistake.

    twinplate verify examples/verify_port.py:RIGHT
    twinplate verify examples/verify_port.py:WRONG

or `python examples/verify_port.py` for both. The region between the marks is quoted in docs/verify.md.
"""

# --- begin
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as ndist
import pyro
import pyro.distributions as pdist
import torch

from numpyro_impl import Program as NumpyroProgram
from pyro_impl import Program as PyroProgram
from twinplate import Case, verify

rng = np.random.default_rng(0)
x = rng.normal(size=(40, 3))
y = x @ np.array([1.0, -2.0, 0.5]) + rng.normal(size=40)


def pyro_model(x, y):
    """Weights (3,), one variance, and 40 observations."""
    weights = pyro.sample("weights", pdist.Normal(torch.zeros(3), 1.0).to_event(1))
    variance = pyro.sample("variance", pdist.InverseGamma(2.0, 1.0))
    with pyro.plate("items", len(x)):
        pyro.sample("y", pdist.Normal((x * weights).sum(-1), variance.sqrt()), obs=y)


def pyro_guide(x, y):
    """A normal with learned location and scale, a log-normal with learned spread."""
    loc = pyro.param("loc", torch.zeros(3))
    scale = pyro.param("scale", torch.ones(3), constraint=pdist.constraints.positive)
    pyro.sample("weights", pdist.Normal(loc, scale).to_event(1))
    spread = pyro.param("spread", torch.tensor(0.5), constraint=pdist.constraints.positive)
    pyro.sample("variance", pdist.LogNormal(0.0, spread))


def numpyro_model(x, y):
    """The same in NumPyro."""
    weights = numpyro.sample("weights", ndist.Normal(jnp.zeros(3), 1.0).to_event(1))
    variance = numpyro.sample("variance", ndist.InverseGamma(2.0, 1.0))
    with numpyro.plate("items", len(x)):
        numpyro.sample("y", ndist.Normal((x * weights).sum(-1), jnp.sqrt(variance)), obs=y)


def numpyro_guide(x, y):
    """The same in NumPyro."""
    loc = numpyro.param("loc", jnp.zeros(3))
    scale = numpyro.param("scale", jnp.ones(3), constraint=ndist.constraints.positive)
    numpyro.sample("weights", ndist.Normal(loc, scale).to_event(1))
    spread = numpyro.param("spread", 0.5, constraint=ndist.constraints.positive)
    numpyro.sample("variance", ndist.LogNormal(0.0, spread))


def wrong_model(x, y):
    """As `numpyro_model`, but the normal is given its variance."""
    weights = numpyro.sample("weights", ndist.Normal(jnp.zeros(3), 1.0).to_event(1))
    variance = numpyro.sample("variance", ndist.InverseGamma(2.0, 1.0))
    with numpyro.plate("items", len(x)):
        numpyro.sample("y", ndist.Normal((x * weights).sum(-1), variance), obs=y)


pyro_program = PyroProgram(pyro_model, pyro_guide)
RIGHT = Case(pyro_program, NumpyroProgram(numpyro_model, numpyro_guide), args=(x, y))
WRONG = Case(pyro_program, NumpyroProgram(wrong_model, numpyro_guide), args=(x, y))
# --- end

if __name__ == "__main__":
    for case in (RIGHT, WRONG):
        print(verify(case))
