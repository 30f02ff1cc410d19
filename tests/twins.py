"""The two twins behind one small interface, so that one test body serves both.

Frameworks are imported when a twin is made, not here: collecting tests needs neither.
"""

from __future__ import annotations

import importlib
from contextlib import nullcontext

import numpy as np
import pytest


class Twin:
    """What both have."""

    name = ""

    def module(self, name):
        """A module of the implementation; `impl.posterior` itself is the function of that name."""
        return importlib.import_module(f"{self.name}_impl.{name}")


class PyroTwin(Twin):
    """`pyro_impl`, called with and answering in NumPy arrays where the frameworks' ways differ."""

    name = "pyro"

    def __init__(self):
        import pyro
        import torch

        import pyro_impl

        self.framework, self.dist, self.impl, self.torch = (
            pyro,
            pyro.distributions,
            pyro_impl,
            torch,
        )
        self.biject_to = torch.distributions.biject_to
        pyro.clear_param_store()

    def using(self, precision):
        return nullcontext()

    def array(self, values, precision="float64"):
        return self.torch.tensor(np.asarray(values), dtype=getattr(self.torch, precision))

    def numpy(self, values):
        return values.detach().double().numpy()

    def draw(self, fn, sample_shape=(), seed=0):
        """A native draw and the density it says that draw has."""
        self.torch.manual_seed(seed)
        value = fn.rsample(sample_shape)
        return value, fn.log_prob(value)

    def drawn_from(self, fn, noise):
        """The draw that belongs to `noise`, and the density `fn` says it has."""
        value = fn.from_noise(noise)
        return value, fn.log_prob(value)

    def gradients(self, function, *arrays):
        arrays = [a.clone().requires_grad_() for a in arrays]
        found = self.torch.autograd.grad(function(*arrays), arrays, materialize_grads=True)
        return [self.numpy(g) for g in found]

    def trace(self, program, *args, seed=0, **kwargs):
        """(value, elementwise log density, distribution) of every sample site of a native program."""
        self.framework.set_rng_seed(seed)
        trace = self.framework.poutine.trace(program).get_trace(*args, **kwargs)
        trace.compute_log_prob()
        return {
            name: (self.numpy(node["value"]), self.numpy(node["unscaled_log_prob"]), node["fn"])
            for name, node in trace.nodes.items()
            if node["type"] == "sample" and not self.framework.poutine.util.site_is_subsample(node)
        }

    def encode(self, program, params, x):
        """The encoder's answer as a dictionary; what it does not give is left out."""
        encoder = self.impl.build(program, params, self.torch.float64).encoder
        return self.given(encoder(self.array(x)))

    def given(self, encoded):
        return {n: self.numpy(v) for n, v in vars(encoded).items() if v is not None}

    def loss(self, program, params, training, num_items, x, a=None, noise=None):
        with self.framework.get_param_store().scope():
            pair = self.impl.build(program, params, self.torch.float64)
            loss = self.module("objectives.losses").make_loss(pair, training, num_items)
            noise = {name: self.array(v) for name, v in (noise or {}).items()}
            return loss(self.array(x), None if a is None else self.array(a), noise).item()


class NumpyroTwin(Twin):
    """`numpyro_impl`, called with and answering in NumPy arrays where the frameworks' ways differ."""

    name = "numpyro"

    def __init__(self):
        import jax
        import numpyro

        import numpyro_impl

        self.framework, self.dist, self.impl, self.jax = (
            numpyro,
            numpyro.distributions,
            numpyro_impl,
            jax,
        )
        self.biject_to = numpyro.distributions.biject_to

    def using(self, precision):
        return self.jax.enable_x64(precision == "float64")

    def array(self, values, precision="float64"):
        return self.jax.numpy.array(values, dtype=precision)

    def numpy(self, values):
        return np.asarray(values, np.float64)

    def draw(self, fn, sample_shape=(), seed=0):
        """A native draw and the density it says that draw has."""

        @self.jax.jit  # one compilation instead of one for every operation
        def draw(fn, key):
            value, noise = fn.sample_with_intermediates(key, sample_shape)
            return value, fn.log_prob(value, noise)

        return draw(fn, self.jax.random.key(seed))

    def drawn_from(self, fn, noise):
        """The draw that belongs to `noise`, and the density `fn` says it has."""
        value = fn.from_noise(noise)
        return value, fn.log_prob(value, [noise])

    def gradients(self, function, *arrays):
        gradient = self.jax.jit(self.jax.grad(function, tuple(range(len(arrays)))))
        found = gradient(*arrays)
        return [self.numpy(g) for g in found]

    def trace(self, program, *args, seed=0, **kwargs):
        """(value, elementwise log density, distribution) of every sample site of a native program."""
        from numpyro.infer.util import compute_log_probs

        seeded = self.framework.handlers.seed(program, self.jax.random.key(seed))
        densities, trace = compute_log_probs(seeded, args, kwargs, {}, sum_log_prob=False)
        return {
            name: (
                self.numpy(trace[name]["value"]),
                self.numpy(log_prob) / (trace[name]["scale"] or 1.0),
                trace[name]["fn"],
            )
            for name, log_prob in densities.items()
        }

    def encode(self, program, params, x):
        """The encoder's answer as a dictionary; what it does not give is left out."""
        from numpyro.contrib.module import nnx_module

        pair = self.impl.build(program, params, self.jax.numpy.float64)

        @self.jax.jit  # as in `draw`
        def encode(params, x):
            with self.framework.handlers.substitute(data=params):
                return nnx_module("encoder", pair.encoder)(x)

        return self.given(encode(pair.params, self.array(x)))

    def given(self, encoded):
        return {n: self.numpy(v) for n, v in encoded._asdict().items() if v is not None}

    def loss(self, program, params, training, num_items, x, a=None, noise=None):
        pair = self.impl.build(program, params, self.jax.numpy.float64)
        loss = self.module("objectives.losses").make_loss(pair, training, num_items)
        noise = {name: self.array(v) for name, v in (noise or {}).items()}
        a = None if a is None else self.array(a)
        return float(loss(pair.params, self.jax.random.key(0), self.array(x), a, noise))


TWINS = {"pyro": PyroTwin, "numpyro": NumpyroTwin}


def both_twins(names, cases, quick):
    """Parametrise by `twin` and `names`. Pyro takes all cases by default, NumPyro only the `quick` ones:
    it compiles each of them anew."""
    cases = [*cases]
    assert all(case in cases for case in quick), (quick, cases)

    def case_of(twin, case):
        values = case if isinstance(case, tuple) else (case,)
        slow = twin == "numpyro" and case not in quick
        return pytest.param(twin, *values, marks=pytest.mark.slow if slow else ())

    params = [case_of(twin, case) for case in cases for twin in sorted(TWINS)]
    return pytest.mark.parametrize(f"twin, {names}", params, indirect=["twin"])
