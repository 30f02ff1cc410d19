"""CompiledSVI over four devices beside one; run by `test_numpyro_compiled_devices.py`."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from flax import nnx
from numpyro.infer import Trace_ELBO
from numpyro.infer.autoguide import AutoMultivariateNormal, AutoNormal
from numpyro_cases import ITEMS, data, regression, subsampling

from numpyro_impl import AutoAmortizedNormal, CompiledSVI
from numpyro_impl.compiled.spreading import Spread
from numpyro_impl.constants import numbers_apart

KEY = 3


@pytest.fixture(autouse=True)
def in_double_precision(x64):
    """Where rounding is 1e-16."""


def amortised():
    """One normal per item over two latents of each, from an encoder; the plate draws 8 of 12 items."""

    def model(x, y):
        with numpyro.plate("items", ITEMS, subsample_size=8, dim=-1):
            rows = numpyro.subsample(x, event_dim=1)
            level = numpyro.sample("level", dist.Normal(0.0, 1.0))
            slope = numpyro.sample("slope", dist.Normal(0.0, 1.0))
            mean = level[..., None] + slope[..., None] * jnp.arange(3.0)
            numpyro.sample("x", dist.Normal(mean, 0.5).to_event(1), obs=rows)

    encoder = nnx.Linear(3, 8, param_dtype=jnp.float64, rngs=nnx.Rngs(0))
    return model, AutoAmortizedNormal(model, "items", encoder), Trace_ELBO()


def linear():
    """Quick to compile."""

    def model(x, y):
        with numpyro.plate("items", len(x)):
            numpyro.sample("y", dist.Normal(x @ numpyro.param("weights", jnp.ones(3)), 0.5), obs=y)

    return model, lambda x, y: None, Trace_ELBO()


PROGRAMS = {
    "linear": linear,
    "subsample": subsampling,
    "autoguide": lambda: (regression, AutoNormal(regression), Trace_ELBO()),
    "particles": lambda: (regression, AutoMultivariateNormal(regression), Trace_ELBO(3)),
    "amortised": amortised,
}


def svi(program, devices=None, **settings):
    model, guide, loss = PROGRAMS[program]()
    optim = numpyro.optim.Adam(0.01)
    return CompiledSVI(model, guide, optim, loss, devices=devices, **settings)


def assert_same(one, other):
    np.testing.assert_allclose(other.losses, one.losses, rtol=1e-12)
    assert one.params
    for name, value in jax.tree.leaves_with_path(one.params):
        found = dict(jax.tree.leaves_with_path(other.params))[name]
        np.testing.assert_allclose(found, value, rtol=1e-9, atol=1e-12, err_msg=str(name))


SLOW = ("linear", "autoguide", "particles", "amortised")


@pytest.mark.parametrize(
    "program", [pytest.param(p, marks=[pytest.mark.slow] * (p in SLOW)) for p in PROGRAMS]
)
def test_a_run_is_that_of_one_device(program):
    """With parts of the data on each device, or whole where the devices do not divide them."""
    x, y = data()
    given = {"progress_bar": False}
    one = svi(program).run(jax.random.key(KEY), 120, x, y, **given)
    four = svi(program, jax.devices()[: 3 if program == "amortised" else 4])
    assert_same(one, four.run(jax.random.key(KEY), 120, np.asarray(x), y, **given))


def batches():
    """Of 8 items, and a last one of 5."""
    x, y = data()
    for first in range(30):
        rows = (np.arange(8 if first < 29 else 5) + first) % ITEMS
        yield np.asarray(x)[rows], y[rows]


def test_mini_batches_are_those_of_one_device():
    """With the clip, and a last one that the devices do not divide."""
    given = {"progress_bar": False}
    one = svi("linear", clip=5.0).run_batches(jax.random.key(KEY), batches(), **given)
    four = svi("linear", jax.devices(), clip=5.0)
    assert_same(one, four.run_batches(jax.random.key(KEY), batches(), **given))


def test_what_lies_in_parts():
    place = Spread(jax.devices())
    mine = jax.device_put(np.zeros((8, 3)), place.everywhere)
    given = np.zeros((8, 3)), np.zeros((6, 2)), 2.5, jax.random.key(0), mine
    parts = [array.sharding.shard_shape(array.shape) for array in place.arrays(given)]
    assert parts == [(2, 3), (6, 2), (), (), (8, 3)]


@pytest.mark.parametrize("program", ["linear", pytest.param("amortised", marks=pytest.mark.slow)])
def test_each_device_computes_its_items_alone(program):
    """Gradients and the loss are all that moves: data are in parts, or whole where a plate draws.

    And one number of each item, by which the gradient of an outlier is cut.
    """
    spread = svi(program, jax.devices())
    x, y = data()
    if program == "amortised":
        x = jax.device_put(x, Spread(jax.devices()).everywhere)
    spread.run(jax.random.key(KEY), 2, x, y, progress_bar=False)
    (compiled,) = spread._loops.kept.values()
    text = compiled.as_text()
    gathered = {*re.findall(r"(\S+) all-gather\(", text)}
    assert " all-reduce(" in text
    assert gathered == ({"f64[8]{0}"} if program == "amortised" else set())


@pytest.mark.parametrize("where", ["anywhere", "in parts", "on one device"])
def test_an_array_that_a_model_holds_stays_in_its_parts(where):
    """No device has more of it, but where data that are bound to one device need the whole."""
    x, y = data()
    place = Spread(jax.devices())
    (mine,) = place.arrays((np.asarray(x),))
    places = {"anywhere": None, "in parts": mine.sharding, "on one device": jax.devices()[1]}
    y = y if where == "anywhere" else jax.device_put(y, places[where])
    _, (held,) = numbers_apart(lambda w, y: (mine @ w - y).sum(), jnp.ones(3), y)
    assert (held is mine) == (where != "on one device")
    np.testing.assert_array_equal(held, x)

    def run(x, y):
        def model(y):
            with numpyro.plate("items", len(x)):
                weights = numpyro.param("weights", jnp.ones(3))
                numpyro.sample("y", dist.Normal(x @ weights, 0.5), obs=y)

        optim = numpyro.optim.Adam(0.01)
        fitted = CompiledSVI(model, lambda y: None, optim, Trace_ELBO())
        first = fitted.run(jax.random.key(KEY), 20, y, progress_bar=False)
        start = {"init_state": first.state, "progress_bar": False}
        return fitted.run(jax.random.key(KEY), 20, y, **start)

    assert_same(run(x, np.asarray(y)), run(mine, y))
