"""Models whose items have several latents, each with an automatic guide that draws them jointly.

Vectors, matrices and simplices; a batch plate at dim=-2; plates at dim=-3; a series of each item; entries
that are missing; a latent that is known for some items; a site that is enumerated.
"""

import numpy as np
import numpyro
import numpyro.distributions as ndist
import pyro
import pyro.distributions as pdist
import torch
from jax import numpy as jnp

import numpyro_impl
import pyro_impl
from numpyro_impl.recording.program import Program as NumpyroProgram
from pyro_impl.recording.program import Program as PyroProgram
from twinplate import Case

N, D = 6, 3
rng = np.random.default_rng(4)
x = rng.normal(size=(N, D))
seen = rng.uniform(size=(N, D)) < 0.7
grid = rng.normal(size=(N, 2))


# -- supports: positive, an interval, a simplex, ordered, a Cholesky factor of a correlation -------------


def pyro_supports(x):
    with pyro.plate("items", len(x), dim=-1):
        pyro.sample("scale", pdist.HalfNormal(1.0))
        share = pyro.sample("share", pdist.Beta(2.0, 3.0))
        mix = pyro.sample("mix", pdist.Dirichlet(torch.ones(D)))
        factor = pyro.sample("factor", pdist.LKJCholesky(D, 2.0))
        pyro.sample("x", pdist.MultivariateNormal(mix * share[..., None], scale_tril=factor), obs=x)


def numpyro_supports(x):
    with numpyro.plate("items", len(x), dim=-1):
        numpyro.sample("scale", ndist.HalfNormal(1.0))
        share = numpyro.sample("share", ndist.Beta(2.0, 3.0))
        mix = numpyro.sample("mix", ndist.Dirichlet(jnp.ones(D)))
        factor = numpyro.sample("factor", ndist.LKJCholesky(D, 2.0))
        numpyro.sample(
            "x", ndist.MultivariateNormal(mix * share[..., None], scale_tril=factor), obs=x
        )


# -- two extra plates, at dims -2 and -3 -----------------------------------------------------------------


def pyro_deep(x):
    with pyro.plate("items", len(x), dim=-1):
        level = pyro.sample("level", pdist.Normal(0.0, 1.0))
        with pyro.plate("parts", 2, dim=-2), pyro.plate("layers", 3, dim=-3):
            a = pyro.sample("a", pdist.Normal(0.0, 1.0))
        mean = (a.sum((-3, -2)) if a.dim() == 3 else a.sum((-3, -2), keepdim=True)) + level
        pyro.sample("x", pdist.Normal(mean, 1.0), obs=x[:, 0])


def numpyro_deep(x):
    with numpyro.plate("items", len(x), dim=-1):
        level = numpyro.sample("level", ndist.Normal(0.0, 1.0))
        with numpyro.plate("parts", 2, dim=-2), numpyro.plate("layers", 3, dim=-3):
            a = numpyro.sample("a", ndist.Normal(0.0, 1.0))
        numpyro.sample("x", ndist.Normal(a.sum((-3, -2)) + level, 1.0), obs=x[:, 0])


# -- the plate of items at dim=-2, a plate of entries inside of it ---------------------------------------


def pyro_rows(grid):
    with pyro.plate("items", len(grid), dim=-2):
        level = pyro.sample("level", pdist.Normal(0.0, 1.0))
        with pyro.plate("entries", grid.shape[1], dim=-1):
            slope = pyro.sample("slope", pdist.Gamma(2.0, 2.0))
            pyro.sample("y", pdist.Normal(level * slope, 0.5), obs=grid)


def numpyro_rows(grid):
    with numpyro.plate("items", len(grid), dim=-2):
        level = numpyro.sample("level", ndist.Normal(0.0, 1.0))
        with numpyro.plate("entries", grid.shape[1], dim=-1):
            slope = numpyro.sample("slope", ndist.Gamma(2.0, 2.0))
            numpyro.sample("y", ndist.Normal(level * slope, 0.5), obs=grid)


# -- a series of each item: one latent a step, and a matrix of loadings of each item --------------------


def pyro_series(x):
    with pyro.plate("items", len(x), dim=-1):
        start = torch.zeros(D, 2)
        turn = pyro.sample("turn", pdist.Normal(start, 1.0).to_event(2))
        state = pyro.sample("state_0", pdist.Normal(0.0, 1.0))
        for t in range(D):
            if t:
                state = pyro.sample(f"state_{t}", pdist.Normal(0.8 * state, 0.5))
            pyro.sample(f"x_{t}", pdist.Normal(state + turn[..., t, 0], 0.3), obs=x[..., t])


def numpyro_series(x):
    with numpyro.plate("items", len(x), dim=-1):
        turn = numpyro.sample("turn", ndist.Normal(jnp.zeros((D, 2)), 1.0).to_event(2))
        state = numpyro.sample("state_0", ndist.Normal(0.0, 1.0))
        for t in range(D):
            if t:
                state = numpyro.sample(f"state_{t}", ndist.Normal(0.8 * state, 0.5))
            numpyro.sample(f"x_{t}", ndist.Normal(state + turn[..., t, 0], 0.3), obs=x[..., t])


# -- missing entries: filled in for the encoder, with the mask as an input of its own -------------------


def pyro_missing(x, seen):
    with pyro.plate("items", len(x), dim=-1):
        contrast = pyro.sample("contrast", pdist.LogNormal(0.0, 0.5))
        z = pyro.sample("z", pdist.Normal(torch.zeros(D), 1.0).to_event(1))
        noise = pdist.Normal(contrast[..., None] * z, 0.5).mask(seen)
        pyro.sample("x", noise.to_event(1), obs=x)


def numpyro_missing(x, seen):
    with numpyro.plate("items", len(x), dim=-1):
        contrast = numpyro.sample("contrast", ndist.LogNormal(0.0, 0.5))
        z = numpyro.sample("z", ndist.Normal(jnp.zeros(D), 1.0).to_event(1))
        noise = ndist.Normal(contrast[..., None] * z, 0.5).mask(seen)
        numpyro.sample("x", noise.to_event(1), obs=x)


def pyro_missing_features(x, seen):
    return torch.where(seen, x, 0.0), seen.to(x)


def numpyro_missing_features(x, seen):
    return jnp.where(seen, x, 0.0), jnp.asarray(seen, x.dtype)


def pyro_both(x, seen):
    return torch.cat([x, seen], -1)


def numpyro_both(x, seen):
    return jnp.concatenate([x, seen], -1)


# -- a latent that is known for some of the items --------------------------------------------------------


def pyro_known(x, seen):
    with pyro.plate("items", len(x), dim=-1):
        level = pyro.sample("level", pdist.Normal(0.0, 1.0))
        with pyro.plate("columns", D, dim=-2):
            size = pdist.LogNormal(level, 0.5)
            size = pyro.sample("size", size, obs=x.mT.exp(), obs_mask=seen.mT)
        sizes = pyro_impl.items_first(size)
        pyro.sample("x", pdist.Normal(sizes.sum(-1), 0.5), obs=x[:, 0])


def numpyro_known(x, seen):
    with numpyro.plate("items", len(x), dim=-1):
        level = numpyro.sample("level", ndist.Normal(0.0, 1.0))
        with numpyro.plate("columns", D, dim=-2):
            size = ndist.LogNormal(level, 0.5)
            size = numpyro.sample("size", size, obs=jnp.exp(x.mT), obs_mask=seen.mT)
        sizes = numpyro_impl.items_first(size)
        numpyro.sample("x", ndist.Normal(sizes.sum(-1), 0.5), obs=x[:, 0])


# -- a class of each item, summed out, and two latents beside it ----------------------------------------


def pyro_classes(x):
    weights = pyro.sample("weights", pdist.Dirichlet(torch.ones(2)))
    with pyro.plate("items", len(x), dim=-1):
        level = pyro.sample("level", pdist.Normal(0.0, 1.0))
        spread = pyro.sample("spread", pdist.LogNormal(0.0, 0.3))
        kind = pyro.sample("kind", pdist.Categorical(weights), infer={"enumerate": "parallel"})
        pyro.sample("x", pdist.Normal(level + 2.0 * kind, spread), obs=x[:, 0])


def numpyro_classes(x):
    weights = numpyro.sample("weights", ndist.Dirichlet(jnp.ones(2)))
    with numpyro.plate("items", len(x), dim=-1):
        level = numpyro.sample("level", ndist.Normal(0.0, 1.0))
        spread = numpyro.sample("spread", ndist.LogNormal(0.0, 0.3))
        kind = numpyro.sample("kind", ndist.Categorical(weights), infer={"enumerate": "parallel"})
        numpyro.sample("x", ndist.Normal(level + 2.0 * kind, spread), obs=x[:, 0])


def _same(x):
    return x


def make_pyro_missing():
    guide = pyro_impl.AutoAmortizedNormal(
        pyro_missing, "items", pyro_both, features=pyro_missing_features
    )
    return pyro_missing, guide


def make_numpyro_missing():
    guide = numpyro_impl.AutoAmortizedNormal(
        numpyro_missing, "items", numpyro_both, features=numpyro_missing_features
    )
    return numpyro_missing, guide


def pyro_program(model):
    """With a guide made afresh for every run."""
    return PyroProgram.build(lambda: (model, pyro_impl.AutoAmortizedNormal(model, "items", _same)))


def numpyro_program(model):
    return NumpyroProgram.build(
        lambda: (model, numpyro_impl.AutoAmortizedNormal(model, "items", _same))
    )


CASE_SUPPORTS = Case(pyro_program(pyro_supports), numpyro_program(numpyro_supports), args=(x,))
CASE_DEEP = Case(pyro_program(pyro_deep), numpyro_program(numpyro_deep), args=(x,))
CASE_ROWS = Case(pyro_program(pyro_rows), numpyro_program(numpyro_rows), args=(grid,))
CASE_SERIES = Case(pyro_program(pyro_series), numpyro_program(numpyro_series), args=(x,))
CASE_MISSING = Case(
    PyroProgram.build(make_pyro_missing), NumpyroProgram.build(make_numpyro_missing), args=(x, seen)
)
CASE_KNOWN = Case(pyro_program(pyro_known), numpyro_program(numpyro_known), args=(x, seen))
CASE_ENUMERATED = Case(
    pyro_program(pyro_classes),
    numpyro_program(numpyro_classes),
    args=(x,),
    loss="TraceEnum_ELBO",
)
