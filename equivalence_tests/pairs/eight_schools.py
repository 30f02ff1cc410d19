"""Eight schools: centred, non-centred by a handler in both, and fitted by an autoguide; no guide for MCMC."""

import numpy as np
import numpyro
import numpyro.distributions as ndist
import pyro
import pyro.distributions as pdist
import torch
from numpyro.infer import autoguide as numpyro_autoguide
from numpyro.infer.reparam import LocScaleReparam as NumpyroLocScaleReparam
from pyro.infer import autoguide as pyro_autoguide
from pyro.infer.reparam import LocScaleReparam as PyroLocScaleReparam

from numpyro_impl.recording.program import Program as NumpyroProgram
from pyro_impl.recording.program import Program as PyroProgram
from twinplate import Case

y = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
sigma = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])


def pyro_model(sigma, y):
    mu = pyro.sample("mu", pdist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", pdist.HalfCauchy(5.0))
    with pyro.plate("schools", len(y)):
        theta = pyro.sample("theta", pdist.Normal(mu, tau))
        pyro.sample("y", pdist.Normal(theta, sigma), obs=y)


def numpyro_model(sigma, y):
    mu = numpyro.sample("mu", ndist.Normal(0.0, 5.0))
    tau = numpyro.sample("tau", ndist.HalfCauchy(5.0))
    with numpyro.plate("schools", len(y)):
        theta = numpyro.sample("theta", ndist.Normal(mu, tau))
        numpyro.sample("y", ndist.Normal(theta, sigma), obs=y)


def pyro_noncentred(sigma, y):
    mu = pyro.sample("mu", pdist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", pdist.HalfCauchy(5.0))
    with pyro.plate("schools", len(y)):
        base = pyro.sample("base", pdist.Normal(torch.tensor(0.0), 1.0))
        theta = pyro.deterministic("theta", mu + tau * base)
        pyro.sample("y", pdist.Normal(theta, sigma), obs=y)


def numpyro_noncentred(sigma, y):
    mu = numpyro.sample("mu", ndist.Normal(0.0, 5.0))
    tau = numpyro.sample("tau", ndist.HalfCauchy(5.0))
    with numpyro.plate("schools", len(y)):
        base = numpyro.sample("base", ndist.Normal(0.0, 1.0))
        theta = numpyro.deterministic("theta", mu + tau * base)
        numpyro.sample("y", ndist.Normal(theta, sigma), obs=y)


def make_pyro_reparam():
    return pyro.poutine.reparam(pyro_model, config={"theta": PyroLocScaleReparam(centered=0.0)})


def make_numpyro_reparam():
    return numpyro.handlers.reparam(
        numpyro_model, config={"theta": NumpyroLocScaleReparam(centered=0.0)}
    )


def make_pyro_auto():
    init = pyro_autoguide.init_to_value(values={"mu": torch.tensor(1.0), "tau": torch.tensor(2.0)})
    return pyro_model, pyro_autoguide.AutoNormal(pyro_model, init_loc_fn=init, init_scale=0.2)


def make_numpyro_auto():
    guide = numpyro_autoguide.AutoNormal(numpyro_model, init_scale=0.2)
    return numpyro_model, guide


CASE = Case(PyroProgram(pyro_model), NumpyroProgram(numpyro_model), args=(sigma, y))
CASE_NONCENTRED = Case(
    PyroProgram(pyro_noncentred), NumpyroProgram(numpyro_noncentred), args=(sigma, y)
)
CASE_REPARAM = Case(
    PyroProgram.build(make_pyro_reparam),
    NumpyroProgram.build(make_numpyro_reparam),
    args=(sigma, y),
)
CASE_AUTO_NORMAL = Case(
    PyroProgram.build(make_pyro_auto), NumpyroProgram.build(make_numpyro_auto), args=(sigma, y)
)
