"""Modules of Linen and NNX: their parameters are recorded, they themselves stay as they are."""

from __future__ import annotations

import numpy as np
import pytest
from record_numbers import NORMAL, X, numeric

pytest.importorskip("jax")
numpyro = pytest.importorskip("numpyro")

import flax.linen as linen  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpyro.distributions as dist  # noqa: E402
from flax import nnx  # noqa: E402
from numpyro.contrib.module import (  # noqa: E402
    flax_module,
    nnx_module,
    random_flax_module,
    random_nnx_module,
)
from record_numpyro_programs import ran, sampled  # noqa: E402

from twinplate.records.record import Given  # noqa: E402


class Net(linen.Module):
    @linen.compact
    def __call__(self, x):
        hidden = jnp.tanh(linen.Dense(2)(x))
        return linen.Dense(1)(hidden)[..., 0]


class NnxNet(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(1, 2, rngs=rngs)
        self.norm = nnx.BatchNorm(2, rngs=rngs, use_running_average=True)
        self.second = nnx.Linear(2, 1, rngs=rngs)

    def __call__(self, x):
        return self.second(jnp.tanh(self.norm(self.first(x))))[..., 0]


def regression(net):
    with numpyro.plate("data", 3):
        numpyro.sample("y", dist.Normal(net, 1.0), obs=jnp.zeros(3))


WEIGHTS = {
    "net$params/Dense_0/kernel": np.array([[0.5, -1.0]]),
    "net$params/Dense_0/bias": np.array([0.1, 0.2]),
    "net$params/Dense_1/kernel": np.array([[1.0], [2.0]]),
    "net$params/Dense_1/bias": np.array([0.3]),
}


def network(first, shift, second, bias):
    return (np.tanh(X[:, None] @ first + shift) @ second + bias)[:, 0]


def test_a_linen_module():
    def model(x):
        regression(flax_module("net", Net(), input_shape=(1,))(x[:, None]))

    first = sampled(model, X, guide=lambda x: None)
    assert {n: p.value.shape for n, p in first.parameters.items()} == {
        n: w.shape for n, w in WEIGHTS.items()
    }
    run = ran(model, Given(parameters=WEIGHTS), X, guide=lambda x: None)
    np.testing.assert_allclose(run.loss, [-NORMAL(network(*WEIGHTS.values())).sum()], rtol=1e-12)
    slopes = numeric(lambda *w: -NORMAL(network(*w)).sum(), *WEIGHTS.values())
    for name, slope in zip(WEIGHTS, slopes, strict=True):
        np.testing.assert_allclose(run.parameters[name].gradient, slope, rtol=1e-6, atol=1e-8)
        assert run.parameters[name].constraint == "real"


def test_an_nnx_module_with_state():
    net = NnxNet(nnx.Rngs(0))

    def model(x):
        regression(nnx_module("net", net)(x[:, None]))

    weights = {
        "net$params/first/kernel": WEIGHTS["net$params/Dense_0/kernel"],
        "net$params/first/bias": WEIGHTS["net$params/Dense_0/bias"],
        "net$params/norm/bias": np.zeros(2),
        "net$params/norm/scale": np.sqrt(1 + np.full(2, 1e-5)),
        "net$params/second/kernel": WEIGHTS["net$params/Dense_1/kernel"],
        "net$params/second/bias": WEIGHTS["net$params/Dense_1/bias"],
    }
    run = ran(model, Given(parameters=weights), X, guide=lambda x: None)
    assert set(run.parameters) == set(weights)
    np.testing.assert_allclose(run.loss, [-NORMAL(network(*WEIGHTS.values())).sum()], rtol=1e-7)
    assert net(jnp.ones((1, 1))).dtype == jnp.float32  # the user's module is as it was


def test_a_module_with_running_statistics():
    def model(x):
        norm = linen.BatchNorm(use_running_average=True)
        net = flax_module("net", norm, input_shape=(3, 1), mutable=["batch_stats"])
        regression(net(x[:, None])[:, 0])

    run = ran(model, Given(), X, guide=lambda x: None)
    np.testing.assert_allclose(run.loss, [-NORMAL(X / np.sqrt(1 + 1e-5)).sum()], rtol=1e-7)


def test_modules_with_random_weights():
    def model(x):
        prior = dist.Normal(0.0, 1.0)
        net = random_flax_module("net", Net(), prior, input_shape=(1,))
        other = random_nnx_module("other", nnx.Linear(1, 1, rngs=nnx.Rngs(0)), prior)
        regression(net(x[:, None]) + other(x[:, None])[:, 0])

    layers = (name.removeprefix("net$params/").replace("/", ".") for name in WEIGHTS)
    weights = {f"net/{layer}": w for layer, w in zip(layers, WEIGHTS.values(), strict=True)}
    draws = weights | {"other/kernel": np.array([[2.0]]), "other/bias": np.array([1.0])}
    run = ran(model, Given({n: v[None] for n, v in draws.items()}), X)
    assert {n for n, s in run.model.items() if s.kind == "latent"} == set(draws)
    prior = sum(NORMAL(v).sum() for v in draws.values())
    output = network(*WEIGHTS.values()) + 2 * X + 1
    np.testing.assert_allclose(run.loss, [-prior - NORMAL(output).sum()], rtol=1e-12)
