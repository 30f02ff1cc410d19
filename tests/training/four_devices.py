"""Fits spread over four devices beside those on one; `test_fit_devices.py` runs this where JAX sees four."""

from __future__ import annotations

from dataclasses import replace

import jax
import numpy as np
import pytest
from fit_cases import ALL
from verify_files import twinplate

from numpyro_impl import Trainer, fit
from numpyro_impl.device import local_devices
from twinplate import TrainingConfig
from twinplate.errors import InputError
from twinplate.training.run_directory import load_run

N = 60
SMALL = ["--components", "2", "--batch-size", "10", "--device", "cpu"]
# program, training, and how it is given: every guide, objective, estimator, way of the noise and of the data
CASES = {
    "learned, uneven": ({"learned": ALL}, {"batch_size": 18}, ""),
    "low-rank, landing": (
        {"guide": "event", "covariance": "low-rank", "learned": ALL},
        {"estimator": "sticking-the-landing", "particles": 2, "batch_size": 18},
        "matched on disk",
    ),
    "diagonal, analytic": (
        {"guide": "diagonal"},
        {"estimator": "analytic-kl", "particles": 3, "vectorize_particles": False},
        "matched",
    ),
    "amplitude, simulated": (
        {"learned": ALL, "amplitude_scale": 0.3},
        {"objective": "simulated", "batch_size": 7},
        "",
    ),
    "pairs on disk": ({}, {"objective": "pairs", "batch_size": 7}, "on disk"),
    "fewer than devices": ({"guide": "event"}, {"batch_size": 3}, "on disk"),
}
QUICK = "low-rank, landing"


def steps(**changes):
    changes = {"steps": 200, "batch_size": 16, "precision": "float64", "device": "cpu"} | changes
    return TrainingConfig(**changes)


def distance(one, other):
    """Of losses relative to each, of parameters relative to the largest of each array."""
    pairs = [(one.losses, other.losses, np.abs(one.losses))]
    for name, values in one.params.items():
        pairs.append((values, other.params[name], np.abs(values).max() + 1e-3))
    return max(float(np.max(np.abs(a - b) / scale)) for a, b, scale in pairs)


@pytest.mark.parametrize(
    "name",
    [name if name == QUICK else pytest.param(name, marks=pytest.mark.slow) for name in CASES],
)
@pytest.mark.parametrize("precision", ["float64", pytest.param("float32", marks=pytest.mark.slow)])
def test_on_three_and_then_four_devices_the_numbers_are_those_of_one(
    problem, tmp_path, name, precision
):
    config, training, how = CASES[name]
    x, program, _ = problem(N, missing=0.2, encoder="experts", **config)
    training = steps(precision=precision, **training)
    rng = np.random.default_rng(1)
    a = rng.normal(size=(3, N)) if training.objective == "pairs" else None
    given = {"a": a, "matched": "matched" in how}
    one = fit(x, program, training, **given)
    if "on disk" in how:
        np.save(tmp_path / "x.npy", x)
        x = np.load(tmp_path / "x.npy", mmap_mode="r")
    begun = Trainer(x, program, training, devices=jax.devices()[:3], **given)
    losses = begun.run(next(begun.plan()))
    four = fit(x, program, training, state=begun.state, devices=jax.devices(), **given)
    four = replace(four, losses=np.concatenate([losses, four.losses]))
    losses = np.abs(four.losses / one.losses - 1).max()
    assert losses <= {"float64": 1e-12, "float32": 1e-6}[precision]
    assert distance(one, four) <= {"float64": 1e-9, "float32": 1e-3}[precision]


def test_items_and_noise_are_on_all_devices_and_gradients_are_all_that_moves(problem):
    """Also where the mini-batch does not divide: one all-reduce in a step, of gradients and the loss."""
    x, program, _ = problem(N, learned=ALL, encoder="experts", missing=0.2)
    trainer = Trainer(x, program, steps(steps=5, batch_size=18), devices=jax.devices())
    trainer.run(next(trainer.plan()))
    (compiled,) = trainer._loop._compiled.values()
    text = compiled.as_text()
    assert " all-reduce(" in text
    assert not [word for word in ("all-gather", "all-to-all", "collective-permute") if word in text]


def test_devices_that_cannot_be_used(problem):
    x, program, _ = problem(N)
    for devices in ([], jax.devices()[:1] * 2):
        with pytest.raises(InputError, match="expected one or more, each once"):
            fit(x, program, steps(), devices=devices)
    with pytest.raises(
        InputError, match=r"JAX has started in this process with 4.*NUM_CPU_DEVICES=5"
    ):
        local_devices("cpu", 5)


def test_the_command(own_folder):
    """Begun on four devices, gone on with on two."""
    np.save("x.npy", np.random.default_rng(0).normal(size=(30, 4)))
    assert twinplate("fit", "x.npy", *SMALL, "--steps", "3", "--devices", "4", "--out", "run") == 0
    assert twinplate("fit", "x.npy", "--resume", "run", "--steps", "5", "--devices", "2") == 0
    run = load_run(own_folder / "run")
    x = np.load("x.npy")
    begun = fit(x, run.program, replace(run.training, steps=3))
    rest = fit(x, run.program, run.training, state=begun.state)
    expected = np.concatenate([begun.losses, rest.losses])
    np.testing.assert_allclose(run.losses, expected, rtol=1e-6)
