"""This project's own models and guides: built by each twin from one framework-free program."""

import numpy as np
import torch
from jax import numpy as jnp

import numpyro_impl
import pyro_impl
from numpyro_impl.recording.program import Program as NumpyroProgram
from pyro_impl.recording.program import Program as PyroProgram
from twinplate import Case
from twinplate.programs.config import ProgramConfig
from twinplate.programs.linear_gaussian import LinearGaussian
from twinplate.programs.parameters import initial_params
from twinplate.programs.program import make_program

BATCH, COMPONENTS, FEATURES = 4, 2, 3
rng = np.random.default_rng(28)
x = rng.normal(size=(BATCH, FEATURES))


def program(guide, covariance="diagonal", learned=(), amplitude_scale=None):
    generator = np.random.default_rng(29)
    config = ProgramConfig(
        FEATURES,
        COMPONENTS,
        guide=guide,
        covariance=covariance,
        rank=1,
        learned=learned,
        amplitude_scale=amplitude_scale,
        hidden_width=5,
    )
    generative = LinearGaussian(
        generator.normal(size=(FEATURES, COMPONENTS)),
        generator.normal(size=FEATURES),
        generator.uniform(0.3, 0.9, FEATURES),
        generator.normal(size=COMPONENTS),
        generator.uniform(0.5, 1.5, COMPONENTS),
    )
    return make_program(x, config, generative)


def case(num_items=None, **choices):
    made = program(**choices)
    params = initial_params(made, 0)

    def make_pyro():
        pair = pyro_impl.build(made, params, dtype=torch.get_default_dtype())
        return pair.model, pair.guide

    def make_numpyro():
        pair = numpyro_impl.build(made, params, dtype=jnp.zeros(()).dtype)
        return pair.model, pair.guide

    return Case(
        PyroProgram.build(make_pyro),
        NumpyroProgram.build(make_numpyro),
        args=(x,),
        kwargs={"num_items": num_items},
    )


CASE_DIAGONAL = case(guide="diagonal", num_items=20)
CASE_EVENT_FULL = case(guide="event", covariance="full", learned=("loadings", "noise_scale"))
CASE_EVENT_LOW_RANK = case(guide="event", covariance="low-rank", num_items=10)
CASE_AUXILIARY = case(guide="auxiliary", covariance="full", amplitude_scale=0.4)
