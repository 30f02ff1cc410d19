"""Autoguides with one joint latent, whose sites the libraries pack in other orders: executed, and by name."""

import numpy as np
import numpyro
import numpyro.distributions as ndist
import pyro
import pyro.distributions as pdist
import torch
from jax import numpy as jnp
from jax.example_libraries import stax
from numpyro.infer import autoguide as numpyro_auto
from pyro.distributions.transforms import AffineAutoregressive
from pyro.infer import autoguide as pyro_auto
from pyro.nn import AutoRegressiveNN

from numpyro_impl.recording.program import Program as NumpyroProgram
from pyro_impl.recording.program import Program as PyroProgram
from twinplate import Case

rng = np.random.default_rng(31)
y = rng.normal(size=(4, 3))


def pyro_model(y):
    """By execution: weights, spread, noise, effects. By name: effects, noise, spread, weights."""
    weights = pyro.sample("weights", pdist.Dirichlet(torch.tensor([2.0, 1.0, 3.0])))
    spread = pyro.sample("spread", pdist.LogNormal(0.0, 0.5))
    noise = pyro.sample("noise", pdist.Beta(2.0, 3.0))
    with pyro.plate("columns", 2, dim=-2), pyro.plate("rows", len(y), dim=-1):
        effects = pyro.sample("effects", pdist.Normal(0.0, spread))
    mean = effects.sum(-2).unsqueeze(-1) * weights
    with pyro.plate("data", len(y)):
        pyro.sample("y", pdist.Normal(mean, noise).to_event(1), obs=y)


def numpyro_model(y):
    """The columns are an event of the rows: the latent's numbers move within a site, too."""
    weights = numpyro.sample("weights", ndist.Dirichlet(jnp.array([2.0, 1.0, 3.0])))
    spread = numpyro.sample("spread", ndist.LogNormal(0.0, 0.5))
    noise = numpyro.sample("noise", ndist.Beta(2.0, 3.0))
    with numpyro.plate("rows", len(y)):
        effects = numpyro.sample("effects", ndist.Normal(0.0, spread).expand([4, 2]).to_event(1))
    mean = effects.sum(-1)[:, None] * weights
    with numpyro.plate("data", len(y)):
        numpyro.sample("y", ndist.Normal(mean, noise).to_event(1), obs=y)


def numpyro_renamed_model(y):
    """Other names, so that another order is the alphabetical one."""
    a = numpyro.sample("a", ndist.Dirichlet(jnp.array([2.0, 1.0, 3.0])))
    d = numpyro.sample("d", ndist.LogNormal(0.0, 0.5))
    c = numpyro.sample("c", ndist.Beta(2.0, 3.0))
    with numpyro.plate("columns", 2, dim=-2), numpyro.plate("rows", len(y), dim=-1):
        b = numpyro.sample("b", ndist.Normal(0.0, d))
    mean = b.sum(-2)[:, None] * a
    with numpyro.plate("data", len(y)):
        numpyro.sample("y", ndist.Normal(mean, c).to_event(1), obs=y)


def pyro_reordered_model(y):
    noise = pyro.sample("noise", pdist.Beta(2.0, 3.0))
    spread = pyro.sample("spread", pdist.LogNormal(0.0, 0.5))
    with pyro.plate("columns", 2, dim=-2), pyro.plate("rows", len(y), dim=-1):
        effects = pyro.sample("effects", pdist.Normal(0.0, spread))
    weights = pyro.sample("weights", pdist.Dirichlet(torch.tensor([2.0, 1.0, 3.0])))
    mean = effects.sum(-2).unsqueeze(-1) * weights
    with pyro.plate("data", len(y)):
        pyro.sample("y", pdist.Normal(mean, noise).to_event(1), obs=y)


def pyro_small_model(y):
    centre = pyro.sample("centre", pdist.Normal(torch.zeros(3), 2.0).to_event(1))
    spread = pyro.sample("spread", pdist.LogNormal(0.0, 0.5))
    with pyro.plate("data", len(y)):
        pyro.sample("y", pdist.Normal(centre, spread).to_event(1), obs=y)


def numpyro_small_model(y):
    centre = numpyro.sample("centre", ndist.Normal(jnp.zeros(3), 2.0).to_event(1))
    spread = numpyro.sample("spread", ndist.LogNormal(0.0, 0.5))
    with numpyro.plate("data", len(y)):
        numpyro.sample("y", ndist.Normal(centre, spread).to_event(1), obs=y)


def pyro_flow(dim):
    """One inverse autoregressive flow, its variables in order."""
    net = AutoRegressiveNN(dim, [6], permutation=torch.arange(dim), nonlinearity=torch.nn.ELU())
    return AffineAutoregressive(net)


def from_pyro(model, guide, **options):
    """A program that makes an autoguide afresh."""
    return PyroProgram.build(lambda: (model, getattr(pyro_auto, guide)(model, **options)))


def from_numpyro(model, guide, **options):
    return NumpyroProgram.build(lambda: (model, getattr(numpyro_auto, guide)(model, **options)))


def case(guide, second=numpyro_model, rename=None, **options):
    return Case(
        from_pyro(pyro_model, guide, **options),
        from_numpyro(second, guide, **options),
        args=(y,),
        rename=rename or {},
    )


FLOW = "AutoNormalizingFlow.transform$$$arn.layers"
RENAMED = {"weights": "a", "spread": "d", "noise": "c", "effects": "b"}

CASE_NORMAL = case("AutoNormal")
CASE_NORMAL_RENAMED = case("AutoNormal", numpyro_renamed_model, RENAMED)
CASE_DIAGONAL = case("AutoDiagonalNormal")
CASE_MULTIVARIATE = case("AutoMultivariateNormal")
CASE_MULTIVARIATE_RENAMED = case("AutoMultivariateNormal", numpyro_renamed_model, RENAMED)
CASE_MULTIVARIATE_SWAPPED = Case(
    from_numpyro(numpyro_model, "AutoMultivariateNormal"),
    from_pyro(pyro_model, "AutoMultivariateNormal"),
    args=(y,),
)
CASE_MULTIVARIATE_REORDERED = Case(
    from_pyro(pyro_model, "AutoMultivariateNormal"),
    from_pyro(pyro_reordered_model, "AutoMultivariateNormal"),
    args=(y,),
)
CASE_LOW_RANK = case("AutoLowRankMultivariateNormal", rank=2)
CASE_LAPLACE = case("AutoLaplaceApproximation")
CASE_FLOW = Case(
    from_pyro(pyro_small_model, "AutoNormalizingFlow", init_transform_fn=pyro_flow),
    from_numpyro(
        numpyro_small_model, "AutoIAFNormal", num_flows=1, hidden_dims=[6], nonlinearity=stax.Elu
    ),
    args=(y,),
    rename={
        f"{FLOW}.{torch_layer}.{name}": (f"auto_arn__0$params/{stax_layer}/{i}", turn, turn)
        for torch_layer, stax_layer in ((0, 0), (1, 2))
        for i, (name, turn) in enumerate((("weight", np.transpose), ("bias", np.asarray)))
    },
)
