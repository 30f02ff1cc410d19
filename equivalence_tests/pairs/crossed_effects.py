"""Item response: students and questions in crossed plates of equal size, a rectangle of answers."""

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

N = 4  # students, and as many questions
rng = np.random.default_rng(10)
answers = (rng.uniform(size=(N, N)) < 0.6).astype(float)


def pyro_model(answers):
    spread = pyro.sample("spread", pdist.HalfNormal(1.0))
    students = pyro.plate("students", N, dim=-2)
    questions = pyro.plate("questions", N, dim=-1)
    with students:
        ability = pyro.sample("ability", pdist.Normal(0.0, spread))
    with questions:
        difficulty = pyro.sample("difficulty", pdist.Normal(0.0, 1.0))
        slope = pyro.sample("slope", pdist.LogNormal(0.0, 0.3))
    with students, questions:
        pyro.sample("answers", pdist.Bernoulli(logits=slope * (ability - difficulty)), obs=answers)


def pyro_guide(answers):
    positive = pdist.constraints.positive
    pyro.sample("spread", pdist.LogNormal(pyro.param("s", torch.tensor(-0.2)), 0.3))
    with pyro.plate("students", N, dim=-2):
        loc = pyro.param("a_loc", torch.zeros(N, 1))
        scale = pyro.param("a_scale", torch.full((N, 1), 0.6), constraint=positive)
        pyro.sample("ability", pdist.Normal(loc, scale))
    with pyro.plate("questions", N, dim=-1):
        loc = pyro.param("d_loc", torch.zeros(N))
        pyro.sample("difficulty", pdist.Normal(loc, 0.5))
        pyro.sample("slope", pdist.LogNormal(pyro.param("k", torch.tensor(0.1)), 0.2))


def numpyro_model(answers):
    spread = numpyro.sample("spread", ndist.HalfNormal(1.0))
    students = numpyro.plate("students", N, dim=-2)
    questions = numpyro.plate("questions", N, dim=-1)
    with students:
        ability = numpyro.sample("ability", ndist.Normal(0.0, spread))
    with questions:
        difficulty = numpyro.sample("difficulty", ndist.Normal(0.0, 1.0))
        slope = numpyro.sample("slope", ndist.LogNormal(0.0, 0.3))
    with students, questions:
        numpyro.sample(
            "answers", ndist.Bernoulli(logits=slope * (ability - difficulty)), obs=answers
        )


def numpyro_guide(answers):
    positive = ndist.constraints.positive
    numpyro.sample("spread", ndist.LogNormal(numpyro.param("s", -0.2), 0.3))
    with numpyro.plate("students", N, dim=-2):
        loc = numpyro.param("a_loc", jnp.zeros((N, 1)))
        scale = numpyro.param("a_scale", jnp.full((N, 1), 0.6), constraint=positive)
        numpyro.sample("ability", ndist.Normal(loc, scale))
    with numpyro.plate("questions", N, dim=-1):
        loc = numpyro.param("d_loc", jnp.zeros(N))
        numpyro.sample("difficulty", ndist.Normal(loc, 0.5))
        numpyro.sample("slope", ndist.LogNormal(numpyro.param("k", 0.1), 0.2))


pyro_program = PyroProgram(pyro_model, pyro_guide)
numpyro_program = NumpyroProgram(numpyro_model, numpyro_guide)

CASE = Case(pyro_program, numpyro_program, args=(answers,))
CASE_VECTORISED = Case(
    pyro_program, numpyro_program, args=(answers,), particles=3, vectorize_particles=True
)
CASE_MCMC = Case(PyroProgram(pyro_model), NumpyroProgram(numpyro_model), args=(answers,))
