"""Losses that a framework gets wrong in silence: each is told by a warning, and what is right is not.

docs/known-differences.md, whose code the tests run, measures the same faults against closed forms.
"""

from __future__ import annotations

import re
import warnings

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as ndist
import pyro
import pyro.distributions as pdist
import pytest
import torch
from numpyro import handlers
from numpyro.contrib.control_flow import scan
from pyro import poutine

import numpyro_impl
import pyro_impl
from twinplate import WrongLossWarning

ITEMS = 4
P, N = pyro.infer, numpyro.infer


def pyro_bijection(density=True):
    """A latent made of a normal one; its Delta knows the Jacobian or not."""

    def model():
        pyro.sample("z", pdist.LogNormal(0.0, 1.0))

    def guide():
        u = pyro.sample("u", pdist.Normal(0.0, scale()), infer={"is_auxiliary": True})
        pyro.sample("z", pdist.Delta(u.exp(), log_density=-u if density else 0.0))

    return model, guide


def scale():
    return pyro.param("scale", torch.tensor(1.0), constraint=pdist.constraints.positive)


def pyro_masked(model_mask=True, guide_mask=True, model_scale=1.0):
    def model():
        with poutine.mask(mask=torch.tensor(model_mask)), poutine.scale(scale=model_scale):
            pyro.sample("z", pdist.Normal(0.0, 1.0))

    def guide():
        with poutine.mask(mask=torch.tensor(guide_mask)):
            pyro.sample("z", pdist.Normal(1.0, scale()))

    return model, guide


def pyro_items(joint=False, batch=None):
    def model():
        with pyro.plate("items", ITEMS, subsample_size=batch):
            pyro.sample("z", pdist.Normal(0.0, 1.0))

    def guide():
        if joint:
            normal = pdist.Normal(torch.zeros(ITEMS), scale()).to_event(1)
            joined = pyro.sample("joined", normal, infer={"is_auxiliary": True})
        with pyro.plate("items", ITEMS, subsample_size=batch):
            pyro.sample("z", pdist.Delta(joined) if joint else pdist.Normal(0.0, scale()))

    return model, guide


def numpyro_items(joint=False, model_scale=1.0, in_plate=True):
    def model():
        with numpyro.plate("items", ITEMS), handlers.scale(scale=model_scale):
            numpyro.sample("z", ndist.Normal(0.0, 1.0))

    def guide():
        spread = numpyro.param("scale", 1.0, constraint=ndist.constraints.positive)
        if joint:
            normal = ndist.Normal(jnp.zeros(ITEMS), spread).to_event(1)
            joined = numpyro.sample("joined", normal, infer={"is_auxiliary": True})
        if not in_plate:
            numpyro.sample("z", ndist.Normal(0.0, spread))
            return
        with numpyro.plate("items", ITEMS):
            numpyro.sample("z", ndist.Delta(joined) if joint else ndist.Normal(0.0, spread))

    return model, guide


def numpyro_switches(batch=None):
    def model():
        with numpyro.plate("items", ITEMS, subsample_size=batch):
            numpyro.sample("z", ndist.Bernoulli(0.3))

    def guide():
        with numpyro.plate("items", ITEMS, subsample_size=batch):
            numpyro.sample("z", ndist.Bernoulli(logits=numpyro.param("logit", 0.5)))

    return model, guide


def numpyro_chain(unrolled=False):
    def model():
        def step(state, _):
            chance = jnp.where(state == 1, 0.9, 0.2)
            return numpyro.sample(
                "state", ndist.Bernoulli(chance), infer={"enumerate": "parallel"}
            ), None

        step(0, None) if unrolled else scan(step, 0, jnp.zeros(3))

    return model, lambda: numpyro.param("unused", 0.0)


def numpyro_batched(sites=2):
    def model():
        with numpyro.plate("items", ITEMS):
            for i in range(sites):
                numpyro.sample(f"z{i}", ndist.Normal(0.0, 1.0))

    return model, numpyro.infer.autoguide.AutoBatchedMultivariateNormal(model)


# Programs, loss, and what the warning has to say; None where nothing is wrong.
PYRO = {
    "bijection": (pyro_bijection(), P.TraceMeanField_ELBO(), "leaves out the log density.* 'z'"),
    "bijection, sampled": (pyro_bijection(), P.Trace_ELBO(), None),
    "no density": (pyro_bijection(False), P.TraceMeanField_ELBO(), None),
    "mask": (pyro_masked(model_mask=False), P.TraceMeanField_ELBO(), "from the guide alone"),
    "scale": (pyro_masked(model_scale=3.0), P.TraceMeanField_ELBO(), "from the guide alone"),
    "both masks": (pyro_masked(False, False), P.TraceMeanField_ELBO(), None),
    "joint": (pyro_items(joint=True), P.RenyiELBO(), "'joined' once for every item of plate 'items'"),
    "plated": (pyro_items(), P.RenyiELBO(), None),
    "batch": (pyro_items(batch=2), P.RenyiELBO(), "N/B of plate 'items' before it takes the log"),
}  # fmt: skip
NUMPYRO = {
    "scale": (numpyro_items(model_scale=3.0), N.TraceMeanField_ELBO(), "from the guide alone"),
    "joint": (numpyro_items(joint=True), N.RenyiELBO(), "'joined' once for every item of plate"),
    "plated": (numpyro_items(), N.RenyiELBO(), None),
    "score": (numpyro_switches(batch=2), N.TraceGraph_ELBO(), "by the square of its scale"),
    "all items": (numpyro_switches(), N.TraceGraph_ELBO(), None),
    "shapes": (numpyro_items(in_plate=False), N.TraceEnum_ELBO(), r"shape \(\), the model has \(4,\)"),
    "same shapes": (numpyro_items(), N.TraceEnum_ELBO(), None),
    "scan": (numpyro_chain(), N.TraceEnum_ELBO(), "wrong loss for an enumerated scan"),
    "step": (numpyro_chain(unrolled=True), N.TraceEnum_ELBO(), None),
    "two sites": (numpyro_batched(), N.Trace_ELBO(), "a row holds numbers of different items"),
    "one site": (numpyro_batched(sites=1), N.Trace_ELBO(), None),
}  # fmt: skip


def told(run) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run()
    assert all(w.filename == __file__ for w in caught)
    return [str(w.message) for w in caught if w.category is WrongLossWarning]


@pytest.mark.parametrize("name", PYRO)
def test_pyro(name, own_world):
    (model, guide), loss, expected = PYRO[name]
    losses = {}

    def first_step(kind):
        pyro.clear_param_store()
        pyro.set_rng_seed(0)
        svi = kind(model, guide, pyro.optim.Adam({"lr": 0.01}), loss)
        losses[kind] = svi.step()

    check(told(lambda: first_step(pyro_impl.CompiledSVI)), expected)
    first_step(pyro.infer.SVI)
    assert losses[pyro_impl.CompiledSVI] == losses[pyro.infer.SVI]
    assert "_get_trace" not in vars(loss)


@pytest.mark.parametrize("name", NUMPYRO)
def test_numpyro(name):
    (model, guide), loss, expected = NUMPYRO[name]
    svi = numpyro_impl.CompiledSVI(model, guide, numpyro.optim.Adam(0.01), loss)
    states = []
    check(told(lambda: states.extend(svi.init(jax.random.key(0)) for _ in range(2))), expected)
    assert (svi.model, svi.guide) == (model, guide)


def check(found, expected):
    assert len(found) == (expected is not None), found
    if expected is not None:
        assert re.search(expected, found[0])
