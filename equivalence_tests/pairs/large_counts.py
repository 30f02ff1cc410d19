"""Counts up to millions: Poisson, binomial, negative binomial, multinomial, by rates and by logits."""

import numpy as np
import numpyro
import numpyro.distributions as ndist
import pyro
import pyro.distributions as pdist
import torch
from jax import numpy as jnp

from numpyro_impl.recording.program import Program as NumpyroProgram
from pyro_impl.recording.program import Program as PyroProgram
from twinplate import Case

rng = np.random.default_rng(16)
small = rng.poisson(3.0, size=6)
large = rng.poisson(2e6, size=6)
trials = np.array([10, 1000, 50, 100000, 7, 20])
wins = (0.3 * trials).astype(int)
votes = np.array([[120, 300, 80], [4000, 10000, 2500]])


def pyro_model(small, large, trials, wins, votes):
    rate = pyro.sample("rate", pdist.Gamma(3.0, 1.0))
    log_level = pyro.sample("log_level", pdist.Normal(14.5, 0.1))
    logit = pyro.sample("logit", pdist.Normal(-0.8, 0.5))
    shares = pyro.sample("shares", pdist.Dirichlet(torch.tensor([2.0, 4.0, 2.0])))
    with pyro.plate("weeks", 6):
        pyro.sample("small", pdist.Poisson(rate), obs=small)
        pyro.sample("large", pdist.Poisson(log_level.exp()), obs=large)
        pyro.sample("wins", pdist.Binomial(trials, logits=logit), obs=wins)
    with pyro.plate("polls", 2):
        # Pyro ignores total_count in the density
        pyro.sample("votes", pdist.Multinomial(int(votes.sum(-1).max()), shares), obs=votes)


def numpyro_model(small, large, trials, wins, votes):
    rate = numpyro.sample("rate", ndist.Gamma(3.0, 1.0))
    log_level = numpyro.sample("log_level", ndist.Normal(14.5, 0.1))
    logit = numpyro.sample("logit", ndist.Normal(-0.8, 0.5))
    shares = numpyro.sample("shares", ndist.Dirichlet(jnp.array([2.0, 4.0, 2.0])))
    with numpyro.plate("weeks", 6):
        numpyro.sample("small", ndist.Poisson(rate), obs=small)
        numpyro.sample("large", ndist.Poisson(jnp.exp(log_level)), obs=large)
        numpyro.sample("wins", ndist.Binomial(trials, logits=logit), obs=wins)
    with numpyro.plate("polls", 2):
        numpyro.sample("votes", ndist.Multinomial(votes.sum(-1), probs=shares), obs=votes)


def pyro_overdispersed(counts):
    concentration = pyro.sample("concentration", pdist.Gamma(2.0, 0.5))
    log_mean = pyro.sample("log_mean", pdist.Normal(6.0, 0.5))
    with pyro.plate("data", len(counts)):
        logits = log_mean - concentration.log()
        pyro.sample("counts", pdist.NegativeBinomial(concentration, logits=logits), obs=counts)


def numpyro_overdispersed(counts):
    concentration = numpyro.sample("concentration", ndist.Gamma(2.0, 0.5))
    log_mean = numpyro.sample("log_mean", ndist.Normal(6.0, 0.5))
    with numpyro.plate("data", len(counts)):
        mean = jnp.exp(log_mean)
        numpyro.sample("counts", ndist.NegativeBinomial2(mean, concentration), obs=counts)


args = (small, large, trials, wins, votes)
CASE = Case(PyroProgram(pyro_model), NumpyroProgram(numpyro_model), args=args)
CASE_OVERDISPERSED = Case(
    PyroProgram(pyro_overdispersed),
    NumpyroProgram(numpyro_overdispersed),
    args=(rng.negative_binomial(5, 0.01, size=8),),
)
