"""Small files as a user writes them, for the tests of commands, records and the plugin.

One latent `mu` with a learned location, three observations: everything has a closed form.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from twinplate.cli import main

X = np.array([0.3, -1.2, 0.8])

PYRO = """
import numpy as np
import pyro
import pyro.distributions as pdist
import torch
from pyro_impl import Program as PyroProgram

X = np.array([0.3, -1.2, 0.8])
ARGS = (X,)
SEEDS = (0,)
STRESS = False


def pyro_model(x):
    mu = pyro.sample("mu", pdist.Normal(0.0, 1.0))
    with pyro.plate("n", 3):
        pyro.sample("x", pdist.Normal(mu, 0.5), obs=x)


def pyro_guide(x):
    loc = pyro.param("loc", torch.tensor(0.1))
    pyro.sample("mu", pdist.Normal(loc, 1.0))


FIRST = PyroProgram(pyro_model, pyro_guide)
"""

NUMPYRO = """
import numpy as np
import numpyro
import numpyro.distributions as ndist
from numpyro_impl import Program as NumpyroProgram

X = np.array([0.3, -1.2, 0.8])
ARGS = (X,)
SEEDS = (0,)
STRESS = False


def numpyro_model(x):
    mu = numpyro.sample("mu", ndist.Normal(0.0, 1.0))
    with numpyro.plate("n", 3):
        numpyro.sample("x", ndist.Normal(mu, 0.5), obs=x)


def numpyro_guide(x):
    loc = numpyro.param("loc", 0.1)
    numpyro.sample("mu", ndist.Normal(loc, 1.0))


SECOND = NumpyroProgram(numpyro_model, numpyro_guide)
"""

CASE = """
from twinplate import Case

CASE = Case(FIRST, SECOND, args=(X,), seeds=(0,), stress=False)
"""

BOTH = PYRO + NUMPYRO + CASE
WRONG = BOTH.replace("ndist.Normal(mu, 0.5)", "ndist.Normal(mu, 0.25)")


def file(text: str, name: str = "port.py") -> str:
    """Written to the working directory; its name."""
    Path(name).write_text(text)
    return name


def twinplate(*words: object) -> int:
    """The exit code of `twinplate words`."""
    sys.argv = ["twinplate", *map(str, words)]
    try:
        main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0
