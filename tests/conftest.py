"""The two twins behind one small interface, so that one test body serves both; fixtures of several files.

Frameworks are imported by the fixtures, not here: collecting the other tests needs neither.
"""

from __future__ import annotations

import importlib
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from worker_memory import *  # noqa: F403, its fixtures and hooks are those of all tests

from twinplate import LinearGaussian, ProgramConfig, initial_params, make_program

# Helpers that assert: a failure there shows both values, as in a test.
pytest.register_assert_rewrite("compiled_runs", "data_files", "fit_cases", "numpyro_runs")


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
        with self.framework.handlers.substitute(data=pair.params):
            return self.given(nnx_module("encoder", pair.encoder)(self.array(x)))

    def given(self, encoded):
        return {n: self.numpy(v) for n, v in encoded._asdict().items() if v is not None}

    def loss(self, program, params, training, num_items, x, a=None, noise=None):
        pair = self.impl.build(program, params, self.jax.numpy.float64)
        loss = self.module("objectives.losses").make_loss(pair, training, num_items)
        noise = {name: self.array(v) for name, v in (noise or {}).items()}
        a = None if a is None else self.array(a)
        return float(loss(pair.params, self.jax.random.key(0), self.array(x), a, noise))


TWINS = {"pyro": PyroTwin, "numpyro": NumpyroTwin}


@pytest.fixture(params=sorted(TWINS))
def twin(request):
    """One twin after the other, in double precision."""
    twin = TWINS[request.param]()
    with twin.using("float64"):
        yield twin


@pytest.fixture
def problem():
    """`problem(**config) -> (x, program, params)`: a small correlated one with every number random.

    Parameters are perturbed, so that none of them is zero and a mistake in any of them shows.
    """

    def make(num_items=7, num_features=4, num_components=3, missing=0.0, seed=0, **config):
        rng = np.random.default_rng(seed)
        generative = LinearGaussian(
            rng.normal(size=(num_features, num_components)),
            rng.normal(size=num_features),
            rng.uniform(0.4, 1.2, num_features),
            rng.normal(size=num_components),
            rng.uniform(0.5, 1.5, num_components),
        )
        x, _ = generative.simulate(num_items, rng)
        x[rng.random(x.shape) < missing] = np.nan
        config = ProgramConfig(num_features, num_components, **{"hidden_width": 5, **config})
        program = make_program(x, config, generative)
        params = initial_params(program, seed)
        params = {n: v + 0.3 * rng.standard_normal(v.shape) for n, v in params.items()}
        return x, program, params

    return make


@pytest.fixture
def no_solve(twin, monkeypatch):
    """The stock densities are out of reach: what passes has used the base noise."""

    def refuse(*args, **kwargs):
        raise AssertionError("the stock density was used")

    for name in ("MultivariateNormal", "LowRankMultivariateNormal"):
        monkeypatch.setattr(getattr(twin.dist, name), "log_prob", refuse)


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, left without a trace."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


@pytest.fixture
def write(tmp_path: Path):
    """Write text or bytes to a file of the given name and return its path."""

    def write(content: str | bytes, name: str = "data.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


@pytest.fixture
def own_world():
    """Pyro's parameter store and torch's random numbers of the test's own, in double precision."""
    import pyro
    import torch

    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    with pyro.get_param_store().scope(), torch.random.fork_rng():
        yield
    torch.set_default_dtype(default)


@pytest.fixture
def x64():
    """JAX's types of 64 bits, where a test calls JAX itself."""
    import jax

    with jax.enable_x64(True):
        yield


@pytest.fixture
def short_chunks(monkeypatch):
    """Of 4 steps, so that 10 are three chunks, the last one shorter."""
    for module in ("svi", "steps"):
        monkeypatch.setattr(f"numpyro_impl.compiled.{module}.CHUNK", 4)


@pytest.fixture
def interpreted(monkeypatch):
    """Compiled steps run the graph as it was captured: it is the question, not the seconds of a compiler."""
    import torch

    def run(graph, arguments):
        def quiet(*inputs):
            with torch.no_grad():
                return graph.module(*inputs)

        return quiet

    monkeypatch.setattr("pyro_impl.compiled.building.compile_graph", run)
