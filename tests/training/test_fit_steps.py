"""A step of training against its definition in NumPy: batches, losses, Adam, schedule, particles."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from fit_cases import PROGRAMS, N, config
from twins import both_twins

from twinplate import initial_params
from twinplate.programs.parameters import noise_shapes
from twinplate.seeds import base_noise, batch_indices

pyro_only = pytest.mark.parametrize("twin", ["pyro"], indirect=True)
jax_only = pytest.mark.parametrize("twin", ["numpyro"], indirect=True)


@both_twins(
    "name, particles, vectorize",
    [
        ("diagonal", 1, True),
        ("event full", 1, False),
        ("auxiliary low-rank", 3, False),
        ("learned, amplitude", 3, True),
        ("experts", 1, True),
    ],
    quick=[("event full", 1, False), ("learned, amplitude", 3, True)],
)
def test_steps_are_adam_on_the_evaluated_gradient(twin, problem, name, particles, vectorize):
    """Seven steps in NumPy (Kingma and Ba, 2015, algorithm 1; cosine) on the gradients of `evaluate`, cut.

    The average takes in the parameters of the first step and of the sixth (weight 5/6).
    """
    x, program, _ = problem(N, missing=0.2, **PROGRAMS[name])
    training = config(
        steps=7, particles=particles, vectorize_particles=vectorize, learning_rate=0.03, seed=3
    )
    fitted = twin.impl.fit(x, program, training, matched=True)
    params, losses, after = initial_params(program, 3), [], []
    mean = {n: np.zeros_like(v) for n, v in params.items()}
    variance = {n: np.zeros_like(v) for n, v in params.items()}
    for step, items in enumerate(batch_indices(3, 0, 7, N, 5)):
        noise = base_noise(3, step, noise_shapes(program.config, 5), particles)
        found = twin.impl.evaluate(x[items], program, params, noise, training, num_items=N)
        losses.append(found.loss / N)
        rate = 0.03 * 0.5 * (1 + np.cos(np.pi * step / 7))
        for n, gradient in found.gradient.items():
            if step and variance[n].any():  # at most five times the usual norm
                usual = np.sqrt(variance[n].sum() / (1 - 0.999**step))
                gradient = gradient * min(1, 5 * usual / np.linalg.norm(gradient))
            mean[n] = 0.9 * mean[n] + 0.1 * gradient
            variance[n] = 0.999 * variance[n] + 0.001 * gradient**2
            first, second = (
                mean[n] / (1 - 0.9 ** (step + 1)),
                variance[n] / (1 - 0.999 ** (step + 1)),
            )
            params[n] = params[n] - rate * first / (np.sqrt(second) + 1e-8)
        after.append(dict(params))
    np.testing.assert_allclose(fitted.losses, losses, rtol=1e-11)
    assert fitted.state.step == 7 and fitted.params.keys() == params.keys()
    for n in params:
        average = after[0][n] / 6 + after[5][n] * 5 / 6
        np.testing.assert_allclose(fitted.state.params[n], params[n], rtol=1e-8, atol=1e-9)
        np.testing.assert_allclose(fitted.params[n], average, rtol=1e-8, atol=1e-9, err_msg=n)
        np.testing.assert_allclose(fitted.state.mean[n], mean[n], rtol=1e-8, atol=1e-9)
        np.testing.assert_allclose(fitted.state.variance[n], variance[n], rtol=1e-8, atol=1e-9)


def test_steps_with_many_components_are_those_of_a_filled_matrix(twin, problem, monkeypatch):
    """66 of them, row by row; in Pyro replayed too, to the bit as eager steps are."""
    monkeypatch.setattr(twin.module("programs.triangle"), "ROWS_FROM", 1)
    x, program, _ = problem(N, num_components=66, guide="auxiliary", covariance="full")
    training, fit = config(steps=5), twin.impl.fit
    rows = fit(x, program, training, matched=True)
    if twin.name == "pyro":
        eager = fit(x, program, training, matched=True, compiled=False)
        np.testing.assert_array_equal(rows.losses, eager.losses)
    monkeypatch.setattr(twin.module("programs.triangle"), "ROWS_ABOVE", 1000)
    monkeypatch.setattr(twin.module("programs.triangle"), "PACKED_LIMIT", 0)
    filled = fit(x, program, training, matched=True)
    np.testing.assert_allclose(rows.losses, filled.losses, rtol=1e-12)
    for name, values in filled.params.items():
        np.testing.assert_allclose(rows.params[name], values, rtol=1e-9, atol=1e-11, err_msg=name)


@both_twins("name", ["diagonal", "auxiliary low-rank"], quick=["diagonal"])
def test_particles_one_after_the_other_or_all_at_once(twin, problem, name):
    x, program, _ = problem(N, missing=0.2, **PROGRAMS[name])
    fits = [
        twin.impl.fit(x, program, config(particles=3, vectorize_particles=v), matched=True)
        for v in (True, False)
    ]
    np.testing.assert_allclose(fits[0].losses, fits[1].losses, rtol=1e-12)
    for n, values in fits[0].params.items():
        np.testing.assert_allclose(values, fits[1].params[n], rtol=1e-9, atol=1e-11)


@both_twins(
    "objective, matched",
    product(["elbo", "simulated"], [False, True]),
    quick=[("elbo", True), ("simulated", False)],
)
def test_every_step_has_its_own_noise(twin, problem, monkeypatch, objective, matched):
    """One item and a learning rate of next to nothing: only the noise can make the losses differ."""
    monkeypatch.setattr("twinplate.training.plan.CHUNK", 3)
    x, program, _ = problem(1)
    program = replace(program, width=None)  # at the exact posterior every draw has the same loss
    training = config(steps=9, batch_size=1, learning_rate=1e-30, objective=objective)
    losses = twin.impl.fit(x, program, training, matched=matched).losses
    assert len(np.unique(losses)) == 9


@pytest.mark.parametrize(("vectorize", "calls"), [(True, 1), (False, 3)])
@pyro_only
def test_pyro_calls_the_guide_once_for_all_particles_or_once_for_each(
    twin, problem, monkeypatch, vectorize, calls
):
    """The two modes agree in value, so only the calls (in memory: one particle at a time) tell."""
    x, program, params = problem(5)
    called, guides = [], twin.module("programs.assembly").GUIDES
    original = guides["auxiliary"]

    def counted(*args, **kwargs):
        called.append(args)
        return original(*args, **kwargs)

    monkeypatch.setitem(guides, "auxiliary", counted)
    noise = base_noise(0, 0, noise_shapes(program.config, 5), 3)
    training = config(particles=3, vectorize_particles=vectorize)
    twin.loss(program, params, training, 5, x, noise=noise)
    assert len(called) == calls


@pytest.mark.parametrize("vectorize", [True, False])
@jax_only
def test_jax_loops_over_particles_only_when_told(twin, problem, vectorize):
    x, program, params = problem(5)
    noise = base_noise(0, 0, noise_shapes(program.config, 5), 3)
    training = config(particles=3, vectorize_particles=vectorize)
    pair = twin.impl.build(program, params, twin.jax.numpy.float64)
    losses = twin.module("objectives.losses").make_loss(pair, training, 5)
    given = {name: twin.array(values) for name, values in noise.items()}
    key = twin.jax.random.key(0)
    program_text = str(twin.jax.make_jaxpr(losses)(pair.params, key, twin.array(x), None, given))
    assert ("scan[" in program_text) == (not vectorize)


@both_twins("matched", [False, True], quick=[False])
def test_more_particles_are_other_draws(twin, problem, matched):
    """A mean over two draws, not twice the same one."""
    x, program, _ = problem(N)
    losses = {
        p: twin.impl.fit(x, program, config(steps=1, particles=p), matched=matched).losses[0]
        for p in (1, 2)
    }
    assert len(set(losses.values())) == 2
