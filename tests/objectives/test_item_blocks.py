"""A mini-batch in blocks: the step of the whole mini-batch, the noise included, at less memory."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest
from twins import both_twins

import pyro_impl
from pyro_impl import EagerWarning
from twinplate.programs.config import ProgramConfig, TrainingConfig
from twinplate.training.memory import SHARE, item_axes, items_at_once

# what is fitted, how, on how many items, and whether the noise is given
CASES = {
    "auxiliary, amplitude, learned": (
        {"guide": "auxiliary", "amplitude_scale": 0.3, "learned": ("loadings",)},
        {},
        30,
        False,
    ),
    "all items, particles one by one": (
        {"guide": "event", "covariance": "low-rank"},
        {"particles": 3, "vectorize_particles": False},
        11,
        False,
    ),
    "given noise, particles at once": ({"guide": "diagonal"}, {"particles": 3}, 30, True),
    "simulated pairs": (
        {"guide": "event", "encoder": "experts", "amplitude_scale": 0.3},
        {"objective": "simulated"},
        30,
        False,
    ),
    "given pairs": ({}, {"objective": "pairs"}, 30, False),
}


@both_twins("name", CASES, quick=["given noise, particles at once", "given pairs"])
def test_a_step_in_blocks_is_the_step(twin, problem, monkeypatch, name):
    """A mini-batch of 11 items in blocks of 4, 4 and 3."""
    options, changes, num_items, matched = CASES[name]
    missing = 0.2 if "encoder" in options else 0
    x, program, _ = problem(num_items, missing=missing, **options)
    a = np.random.default_rng(0).normal(size=(3, 30)) if name == "given pairs" else None
    training = TrainingConfig(
        steps=2, batch_size=11, precision="float64", device="cpu", seed=1, **changes
    )
    whole = twin.impl.fit(x, program, training, matched=matched, a=a)
    monkeypatch.setattr("twinplate.training.memory.fitting", lambda *_: 4)
    blocks = twin.impl.fit(x, program, training, matched=matched, a=a)
    np.testing.assert_allclose(blocks.losses, whole.losses, rtol=1e-13)
    # after two steps the first moment is a sum of two gradients, one at the updated parameters
    for n, values in whole.state.mean.items():
        scale = np.abs(values).max()
        np.testing.assert_allclose(blocks.state.mean[n], values, atol=1e-12 * scale, err_msg=n)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_pyro_replays_blocks_to_the_bit(problem, monkeypatch, precision):
    """Of 4, 4 and 3 items: 4/11 is a share that rounds. A warning of eager steps is an error."""
    monkeypatch.setattr("twinplate.training.memory.fitting", lambda *_: 4)
    x, program, _ = problem(30)
    training = TrainingConfig(steps=9, batch_size=11, device="cpu", precision=precision)
    replayed = pyro_impl.fit(x, program, training)
    assert replayed.compile_seconds > 0
    eager = pyro_impl.fit(x, program, training, compiled=False)
    np.testing.assert_array_equal(replayed.losses, eager.losses)
    for name, values in eager.params.items():
        np.testing.assert_array_equal(replayed.params[name], values, err_msg=name)


@pytest.mark.parametrize("machine_code", [False, True])
def test_pyro_says_that_it_takes_many_blocks_eagerly(problem, monkeypatch, machine_code):
    """17 of 2 items; 16 are replayed without a word: a warning that is not expected is an error."""
    monkeypatch.setattr("twinplate.training.memory.fitting", lambda *_: 2)
    x, program, _ = problem(40)
    many, most = (TrainingConfig(steps=2, batch_size=n, device="cpu") for n in (33, 32))
    words = "holds 2 items at once of the mini-batches of 33.* more than 16 blocks, here 17,"
    with pytest.warns(EagerWarning, match=words) as told:
        eager = pyro_impl.fit(x, program, many, machine_code=machine_code)
    assert len(told) == 1 and eager.compile_seconds == 0
    silent = pyro_impl.fit(x, program, many, compiled=False)
    np.testing.assert_array_equal(silent.losses, eager.losses)
    assert pyro_impl.fit(x, program, most).compile_seconds > 0


def deep(problem, guide):
    x, program, _ = problem(40, num_components=16, guide=guide, covariance="full")
    return x, program, TrainingConfig(steps=4, batch_size=15, precision="float64", device="cpu")


# bytes in double precision of an item of `deep`: K = 16, D = 4, hidden width 5
ITEM = 8 * (8 * 16 * 16 + 8 * (16 + 4 + 5))


@pytest.fixture
def container(tmp_path, monkeypatch):
    """`container()`: from here on the machine is one with room for 11 items at once, so 8 are taken."""

    def start():
        group = tmp_path / "memory.max"
        group.write_text(f"{11 * ITEM * SHARE}\n")
        monkeypatch.setattr("twinplate.host.GROUPS", (str(group),))

    return start


@contextmanager
def sizes(twin):
    """How many items the loss is asked for at once."""
    module = twin.module({"pyro": "training.stepping", "numpyro": "training.loop"}[twin.name])
    found, make = set(), module.make_loss

    def make_loss(*arguments):
        loss = make(*arguments)

        def noted(*inputs):
            found.add(len(inputs[-3]))  # x, a, noise
            return loss(*inputs)

        return noted

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "make_loss", make_loss)
        yield found


@both_twins("guide", ["event", "auxiliary"], quick=["auxiliary"])
def test_a_container_with_little_memory_fits_the_same(twin, problem, container, guide):
    """From the container's file to the fit: 15 items as 8 and 7."""
    x, program, training = deep(problem, guide)
    with sizes(twin) as at_once:
        whole = twin.impl.fit(x, program, training, matched=True)
    assert at_once == {15}
    container()
    with sizes(twin) as at_once:
        blocks = twin.impl.fit(x, program, training, matched=True)
    assert at_once == {8, 7}
    check_same(blocks, whole)


def test_a_container_with_little_memory_fits_many_the_same(twin, problem, container):
    """NumPyro's two fits share the memory, 4 items each at once; Pyro's come one after the other."""
    x, program, training = deep(problem, "auxiliary")
    with sizes(twin) as at_once:
        whole = twin.impl.fit_many(x, program, training, seeds=(0, 1), matched=True)
    assert at_once == {15}
    container()
    with sizes(twin) as at_once:
        blocks = twin.impl.fit_many(x, program, training, seeds=(0, 1), matched=True)
    assert at_once == {"pyro": {8, 7}, "numpyro": {4, 3}}[twin.name]
    for few, all_items in zip(blocks.fits, whole.fits, strict=True):
        check_same(few, all_items)


def check_same(blocks, whole):
    np.testing.assert_allclose(blocks.losses, whole.losses, rtol=1e-12)
    assert blocks.params.keys() == whole.params.keys()
    for name, values in whole.params.items():
        scale = max(1, np.abs(values).max())
        found = blocks.params[name]
        np.testing.assert_allclose(found, values, rtol=0, atol=1e-12 * scale, err_msg=name)


# ------------------------------------------------------------------------------- the size of a block


def test_where_the_items_are_in_the_noise():
    axes = {
        (guide, objective): item_axes(
            ProgramConfig(5, 3, guide, amplitude_scale=0.5), TrainingConfig(objective=objective)
        )
        for guide in ("diagonal", "event", "auxiliary")
        for objective in ("elbo", "simulated", "pairs")
    }
    # base noise is (P, K, B) in the plates, (P, B, K) for a joint event, (P, B) for the amplitude
    assert axes["diagonal", "elbo"] == {"a": 2, "amplitude": 1}
    assert axes["event", "elbo"] == {"a": 1, "amplitude": 1}
    assert axes["auxiliary", "elbo"] == {"a_aux": 1, "amplitude": 1}
    assert axes["auxiliary", "simulated"] == {"a": 2, "x": 1, "amplitude": 1}
    assert axes["event", "simulated"] == {"a": 1, "x": 1, "amplitude": 1}
    assert axes["event", "pairs"] == {}


def at_once(memory, k=512, batch_size=1000, covariance="full", encoder="mlp", **training):
    program = ProgramConfig(8, k, covariance=covariance, encoder=encoder, hidden_width=8)
    return items_at_once(program, TrainingConfig(batch_size=batch_size, **training), memory)


def test_the_budget_decides():
    """Six K × K matrices of floats: 6 MiB for K = 512, and a quarter of the memory for all."""
    megabyte = 2**20
    assert at_once(SHARE * 6100 * megabyte) == 1000
    assert at_once(SHARE * 400 * megabyte) == 64  # 66 would fit; a power of two
    assert at_once(SHARE * 400 * megabyte, precision="float64") == 32
    assert at_once(SHARE * 400 * megabyte, particles=2) == 32
    assert at_once(SHARE * 400 * megabyte, particles=2, vectorize_particles=False) == 64
    assert at_once(SHARE * 400 * megabyte, encoder="experts") == 16
    assert at_once(SHARE * 400 * megabyte, covariance="low-rank") == 1000
    assert at_once(SHARE * 400 * megabyte, k=8, batch_size=65_536) == 65_536
    assert at_once(1) == 1


MEASURED = """
import json, sys
from importlib import import_module
import numpy as np
import twinplate.host, twinplate.training.memory
from twinplate import LinearGaussian, ProgramConfig, TrainingConfig, make_program

backend, batch_size, block = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
if block:
    twinplate.training.memory.fitting = lambda *_: block
x = np.random.default_rng(0).normal(size=(512, 4))
program = make_program(x, ProgramConfig(4, 256, hidden_width=4), LinearGaussian(np.ones((4, 256))))
training = TrainingConfig(steps=2, batch_size=batch_size, device="cpu")
import_module(f"{backend}_impl").fit(x, program, training)
print(json.dumps(twinplate.host.peak_memory() / 2**20))
"""


def peak_mb(*arguments):
    command = [sys.executable, "-c", MEASURED, *map(str, arguments)]
    return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["pyro", "numpyro"])
def test_blocks_bound_the_memory(backend):
    """K = 256: a triangle per item is 0.13 MB; 512 items in blocks of 16 need little more than 16 items."""
    few, whole, blocks = (peak_mb(backend, *sizes) for sizes in ((16, 0), (512, 0), (512, 16)))
    assert whole - few > 100
    assert blocks - few < 0.25 * (whole - few)
    # the estimate that the size of a block comes from is not too small
    item = (whole - few) / (512 - 16) / (256 * 256 * 4 / 2**20)
    assert item <= 8
