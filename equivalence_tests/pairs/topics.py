"""A topic model with simplex parameters, whose coordinates the frameworks choose differently."""

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

TOPICS, WORDS = 2, 5
rng = np.random.default_rng(21)
words = rng.integers(0, WORDS, size=(3, 6))  # documents × words


def pyro_model(words):
    topics = pyro.param(
        "topics",
        torch.tensor([[0.3, 0.2, 0.2, 0.2, 0.1], [0.1, 0.1, 0.2, 0.2, 0.4]]),
        constraint=pdist.constraints.simplex,
    )
    with pyro.plate("documents", len(words), dim=-2):
        shares = pyro.sample("shares", pdist.Dirichlet(torch.tensor([1.5, 2.5])))
        with pyro.plate("words", words.shape[1], dim=-1):
            pyro.sample("w", pdist.Categorical(probs=shares @ topics), obs=words)


def pyro_guide(words):
    gain = pyro.param(
        "gain", torch.ones(len(words), 1, TOPICS), constraint=pdist.constraints.positive
    )
    with pyro.plate("documents", len(words), dim=-2):
        pyro.sample("shares", pdist.Dirichlet(2.0 * gain))


def numpyro_model(words):
    topics = numpyro.param(
        "topics",
        jnp.array([[0.3, 0.2, 0.2, 0.2, 0.1], [0.1, 0.1, 0.2, 0.2, 0.4]]),
        constraint=ndist.constraints.simplex,
    )
    with numpyro.plate("documents", len(words), dim=-2):
        shares = numpyro.sample("shares", ndist.Dirichlet(jnp.array([1.5, 2.5])))
        with numpyro.plate("words", words.shape[1], dim=-1):
            numpyro.sample("w", ndist.Categorical(probs=shares @ topics), obs=words)


def numpyro_guide(words):
    gain = numpyro.param(
        "gain", jnp.ones((len(words), 1, TOPICS)), constraint=ndist.constraints.positive
    )
    with numpyro.plate("documents", len(words), dim=-2):
        numpyro.sample("shares", ndist.Dirichlet(2.0 * gain))


def numpyro_logits_model(words):
    topics = numpyro.param(
        "topics",
        jnp.array([[0.3, 0.2, 0.2, 0.2, 0.1], [0.1, 0.1, 0.2, 0.2, 0.4]]),
        constraint=ndist.constraints.simplex,
    )
    with numpyro.plate("documents", len(words), dim=-2):
        shares = numpyro.sample("shares", ndist.Dirichlet(jnp.array([1.5, 2.5])))
        with numpyro.plate("words", words.shape[1], dim=-1):
            logits = jnp.log(shares @ topics)
            numpyro.sample("w", ndist.Categorical(logits=logits), obs=words)


pyro_program = PyroProgram(pyro_model, pyro_guide)

CASE = Case(pyro_program, NumpyroProgram(numpyro_model, numpyro_guide), args=(words,))
CASE_LOGITS = Case(pyro_program, NumpyroProgram(numpyro_logits_model, numpyro_guide), args=(words,))
