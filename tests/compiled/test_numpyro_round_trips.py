"""NumPyro's training makes no round trips: the steps of a chunk are one call, between calls the state stays.

What JAX guards on a CPU is the way to the device. The way back it guards on a GPU alone; here no program
has a way back but its results, whose number does not depend on the steps.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import product

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from jax import random
from numpyro.infer import Trace_ELBO
from numpyro_cases import CASES, data

import numpyro_impl
from numpyro_impl import CompiledSVI
from twinplate.programs.config import COVARIANCES, TrainingConfig

STEPS, CHUNKS = 10, 3  # in chunks of 4, 4 and 2
HOST = ("callback", "infeed", "outfeed", "stablehlo.send", "stablehlo.recv")


class Device:
    """Notes what is compiled ahead, and how it is called."""

    def __init__(self):
        self.texts, self.calls, self.fetched = [], 0, 0

    def compile(self, lowered, *args, **kwargs):
        self.texts.append(lowered.as_text())
        return partial(self.call, COMPILE(lowered, *args, **kwargs))

    def call(self, program, state, *rest):
        """Only here may arrays of the host go in, beside the state, which is given away."""
        self.calls += 1
        leaves = jax.tree.leaves(state)
        assert leaves and all(isinstance(leaf, jax.Array) for leaf in leaves)
        with jax.transfer_guard_host_to_device("allow"):
            found = program(state, *rest)
        assert all(leaf.is_deleted() for leaf in leaves)
        return found

    def fetch(self, values):
        self.fetched += 1
        return GET(values)

    def check(self):
        """One program without a way to the host, called once for every chunk; its results come in one."""
        (text,) = self.texts
        assert "stablehlo.while" in text
        assert not to_host(text)
        assert self.calls == self.fetched == CHUNKS


COMPILE, GET = jax.stages.Lowered.compile, jax.device_get


def to_host(text):
    return [word for word in HOST if word in text]


@pytest.fixture
def device(monkeypatch, short_chunks):
    device = Device()
    monkeypatch.setattr("twinplate.training.plan.CHUNK", 4)
    monkeypatch.setattr(
        jax.stages.Lowered, "compile", lambda *args, **kwargs: device.compile(*args, **kwargs)
    )
    monkeypatch.setattr(jax, "device_get", device.fetch)
    return device


@contextmanager
def guarded(steps=STEPS):
    """Progress that lets nothing pass between host and device unasked, from the first chunk to the last."""
    with ExitStack() as guards:
        told = []

        def progress(done, losses):
            if not told:
                guards.enter_context(jax.transfer_guard("disallow"))
            told.append(done)
            if done == steps:
                guards.close()

        yield progress
        assert len(told) == CHUNKS and told[-1] == steps


def config(**changes):
    options = {"steps": STEPS, "batch_size": 5, "precision": "float64", "device": "cpu"}
    return TrainingConfig(**options, **changes)


FAST = [("diagonal", True), ("low-rank", True), ("full", False)]


@pytest.mark.parametrize(
    ("covariance", "matched"),
    [
        pytest.param(*case, marks=() if case in FAST else pytest.mark.slow)
        for case in product(COVARIANCES, [False, True])
    ],
)
def test_fit(device, problem, covariance, matched):
    x, program, _ = problem(12, missing=0.2, amplitude_scale=0.3, covariance=covariance)
    with guarded() as progress:
        numpyro_impl.fit(x, program, config(), matched=matched, progress=progress)
    device.check()


@pytest.mark.parametrize("matched", [pytest.param(False, marks=pytest.mark.slow), True])
def test_fit_many(device, problem, matched):
    x, program, _ = problem(12, missing=0.2, amplitude_scale=0.3)
    with guarded(2 * STEPS) as progress:
        numpyro_impl.fit_many(
            x, program, config(), seeds=(0, 1), matched=matched, progress=progress
        )
    device.check()


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", ["AutoNormal", "subsampling"])
def test_compiled_svi(device, name):
    model, guide, loss = CASES[name]()
    svi = CompiledSVI(model, guide, numpyro.optim.Adam(0.05), loss)
    with guarded() as progress:
        svi.run(random.key(0), STEPS, *data(), progress_bar=False, progress=progress)
    device.check()


@pytest.mark.usefixtures("x64")
def test_compiled_svi_many(device):
    model, guide, loss = CASES["subsampling"]()
    svi = CompiledSVI(model, guide, numpyro.optim.Adam(0.05), loss)
    with guarded(2 * STEPS) as progress:
        svi.run_many(random.split(random.key(0)), STEPS, *data(), progress=progress)
    device.check()


def test_a_way_to_the_host_would_be_seen(device):
    """In a program of the user's who asks for one."""

    def model():
        z = numpyro.sample("z", dist.Normal(0, 1))
        jax.debug.callback(np.asarray, z)

    def guide():
        numpyro.sample("z", dist.Normal(numpyro.param("loc", 0.1), 1))

    svi = CompiledSVI(model, guide, numpyro.optim.Adam(0.05), Trace_ELBO())
    svi.run(random.key(0), STEPS, progress_bar=False)
    (text,) = device.texts
    assert to_host(text) == ["callback"]
