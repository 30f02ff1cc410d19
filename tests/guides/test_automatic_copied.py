"""A copy of an automatic guide, as of the best fit so far: the one that is copied stays what it is."""

from __future__ import annotations

import copy
import pickle

import jax
import numpy as np
import numpyro
import numpyro.distributions as numpyro_dist
import pyro
import pyro.distributions as dist
import pytest
import torch
from numpyro.infer import SVI as NUMPYROS_SVI
from numpyro.infer import Trace_ELBO as NUMPYROS_ELBO
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import AutoNormal

import numpyro_impl
from pyro_impl import AutoAmortizedNormal, CompiledSVI

DATA = np.random.default_rng(0).normal(size=(20, 3))


def pickled(item):
    return pickle.loads(pickle.dumps(item))


def model(x):
    mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
    with pyro.plate("items", len(x)):
        z = pyro.sample("z", dist.Normal(mean, 1.0))
        pyro.sample("x", dist.Normal(z[:, None], 0.5).expand([len(z), 3]).to_event(1), obs=x)


def losses(kind, copied, global_guide):
    """Of steps before and after the guide is copied; and how far the copy's posterior is from its own."""
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    x = torch.tensor(DATA)
    encoder = torch.nn.Linear(3, 4)
    guide = AutoAmortizedNormal(model, "items", encoder, global_guide=global_guide)
    svi = kind(model, guide, pyro.optim.Adam({"lr": 0.01}), Trace_ELBO())
    found = [svi.step(x) for _ in range(4)]
    other = copied(guide)
    found += [svi.step(x) for _ in range(8)]
    if other is not None:
        apart = other.posterior(x).mean - guide.posterior(x).mean
        assert other.encoder is not encoder and apart.shape == (20, 1)
        assert set(other(x)) == set(guide(x))
    return found


@pytest.mark.usefixtures("own_world")
@pytest.mark.parametrize("copied", [copy.deepcopy, pickled])
@pytest.mark.parametrize("kind", [SVI, CompiledSVI])
def test_in_pyro_the_fit_goes_on(kind, copied):
    assert losses(kind, copied, AutoNormal) == losses(SVI, lambda guide: None, AutoNormal)


def numpyro_model(x):
    with numpyro.plate("items", len(x)):
        z = numpyro.sample("z", numpyro_dist.Normal(0.0, 1.0))
        normal = numpyro_dist.Normal(z[:, None], 0.5).expand([len(x), 3]).to_event(1)
        numpyro.sample("x", normal, obs=x)


@pytest.mark.usefixtures("x64")
def test_in_numpyro_it_is_the_same_guide():
    guide = numpyro_impl.AutoAmortizedNormal(numpyro_model, "items")
    svi = NUMPYROS_SVI(numpyro_model, guide, numpyro.optim.Adam(0.01), NUMPYROS_ELBO())
    fit = svi.run(jax.random.key(0), 5, DATA, progress_bar=False)
    for kept in (copy.deepcopy(guide), guide):
        np.testing.assert_array_equal(
            kept.posterior(fit.params, DATA).mean, guide.posterior(fit.params, DATA).mean
        )
