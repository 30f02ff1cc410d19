"""Training, against its own definition in NumPy: batches, losses, Adam, schedule, objectives."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from twinplate import LinearGaussian, ProgramConfig, TrainingConfig, initial_params, make_program
from twinplate.program import NOISE_FLOOR, generative_of, noise_shapes
from twinplate.seeds import base_noise, batch_indices
from twinplate.training import TrainingState

N = 12
ALL = ("loadings", "intercept", "noise_scale")
PROGRAMS = {
    "diagonal": {"guide": "diagonal"},
    "event full": {"guide": "event"},
    "auxiliary low-rank": {"guide": "auxiliary", "covariance": "low-rank"},
    "learned, amplitude": {"guide": "auxiliary", "learned": ALL, "amplitude_scale": 0.3},
    "experts": {"guide": "event", "encoder": "experts"},
}


pyro_only = pytest.mark.parametrize("twin", ["pyro"], indirect=True)
jax_only = pytest.mark.parametrize("twin", ["numpyro"], indirect=True)


def config(**changes):
    """Small, in double precision, on the CPU."""
    return TrainingConfig(
        **{"steps": 5, "batch_size": 5, "precision": "float64", "device": "cpu", **changes}
    )


def assert_same_fit(first, second):
    np.testing.assert_array_equal(first.losses, second.losses)
    assert first.state.step == second.state.step
    for part in ("params", "mean", "variance"):
        left, right = getattr(first.state, part), getattr(second.state, part)
        assert left.keys() == right.keys() and left
        for name in left:
            np.testing.assert_array_equal(left[name], right[name], err_msg=f"{part} {name}")


def linear_gaussian(num_items=256, **changes):
    rng = np.random.default_rng(1)
    generative = LinearGaussian(rng.normal(size=(4, 2)), rng.normal(size=4), 0.7, 0.5, 1.3)
    x, _ = generative.simulate(num_items, rng)
    return x, make_program(x, ProgramConfig(4, 2, hidden_width=16, **changes), generative)


# --- one step is what it says ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "particles", "vectorize"),
    [
        ("diagonal", 1, True),
        ("event full", 1, False),
        ("auxiliary low-rank", 3, False),
        ("learned, amplitude", 3, True),
        ("experts", 1, True),
    ],
)
def test_steps_are_adam_on_the_evaluated_gradient(twin, problem, name, particles, vectorize):
    """Three steps in NumPy (Kingma and Ba, 2015, algorithm 1; cosine) on the gradients of `evaluate`."""
    x, program, _ = problem(N, missing=0.2, **PROGRAMS[name])
    training = config(
        steps=3, particles=particles, vectorize_particles=vectorize, learning_rate=0.03, seed=3
    )
    fitted = twin.impl.fit(x, program, training, matched=True)
    params, losses = initial_params(program, 3), []
    mean = {n: np.zeros_like(v) for n, v in params.items()}
    variance = {n: np.zeros_like(v) for n, v in params.items()}
    for step, items in enumerate(batch_indices(3, 0, 3, N, 5)):
        noise = base_noise(3, step, noise_shapes(program.config, 5), particles)
        found = twin.impl.evaluate(x[items], program, params, noise, training, num_items=N)
        losses.append(found.loss / N)
        rate = 0.03 * 0.5 * (1 + np.cos(np.pi * step / 3))
        for n, gradient in found.gradient.items():
            mean[n] = 0.9 * mean[n] + 0.1 * gradient
            variance[n] = 0.999 * variance[n] + 0.001 * gradient**2
            first, second = (
                mean[n] / (1 - 0.9 ** (step + 1)),
                variance[n] / (1 - 0.999 ** (step + 1)),
            )
            params[n] = params[n] - rate * first / (np.sqrt(second) + 1e-8)
    np.testing.assert_allclose(fitted.losses, losses, rtol=1e-11)
    assert fitted.state.step == 3 and fitted.params.keys() == params.keys()
    for n in params:
        np.testing.assert_allclose(fitted.params[n], params[n], rtol=1e-8, atol=1e-10, err_msg=n)
        np.testing.assert_allclose(fitted.state.mean[n], mean[n], rtol=1e-8, atol=1e-9)
        np.testing.assert_allclose(fitted.state.variance[n], variance[n], rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("name", ["diagonal", "auxiliary low-rank"])
def test_particles_one_after_the_other_or_all_at_once(twin, problem, name):
    x, program, _ = problem(N, missing=0.2, **PROGRAMS[name])
    fits = [
        twin.impl.fit(x, program, config(particles=3, vectorize_particles=v), matched=True)
        for v in (True, False)
    ]
    np.testing.assert_allclose(fits[0].losses, fits[1].losses, rtol=1e-12)
    for n, values in fits[0].params.items():
        np.testing.assert_allclose(values, fits[1].params[n], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("objective", ["elbo", "simulated"])
@pytest.mark.parametrize("matched", [False, True])
def test_every_step_has_its_own_noise(twin, problem, monkeypatch, objective, matched):
    """One item and a learning rate of next to nothing: only the noise can make the losses differ."""
    monkeypatch.setattr("twinplate.training.CHUNK", 3)
    x, program, _ = problem(1)
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
    called, guides = [], twin.module("pairs").GUIDES
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
    losses = twin.module("objectives").make_loss(pair, training, 5)
    given = {name: twin.array(values) for name, values in noise.items()}
    key = twin.jax.random.key(0)
    program_text = str(twin.jax.make_jaxpr(losses)(pair.params, key, twin.array(x), None, given))
    assert ("scan[" in program_text) == (not vectorize)


@pytest.mark.parametrize("matched", [False, True])
def test_more_particles_are_other_draws(twin, problem, matched):
    """A mean over two draws, not twice the same one."""
    x, program, _ = problem(N)
    losses = {
        p: twin.impl.fit(x, program, config(steps=1, particles=p), matched=matched).losses[0]
        for p in (1, 2)
    }
    assert len(set(losses.values())) == 2


# --- the same again -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("objective", "matched"), [("elbo", False), ("elbo", True), ("simulated", False)]
)
def test_the_same_to_the_bit_when_run_again(twin, problem, objective, matched):
    x, program, _ = problem(N, missing=0.2, **PROGRAMS["learned, amplitude"])
    training = config(steps=100, objective=objective, precision="float32", seed=4)
    fits = [twin.impl.fit(x, program, training, matched=matched) for _ in range(2)]
    assert_same_fit(*fits)
    assert np.isfinite(fits[0].losses).all() and len(np.unique(fits[0].losses)) > 90


def test_another_seed_is_another_run(twin, problem):
    x, program, _ = problem(N)
    losses = [twin.impl.fit(x, program, config(seed=seed)).losses for seed in (0, 1)]
    assert (losses[0] != losses[1]).all()


@pytest.mark.parametrize(
    ("objective", "matched", "precision"),
    [
        ("elbo", False, "float32"),
        ("elbo", True, "float64"),
        ("simulated", False, "float32"),
        ("pairs", False, "float32"),
    ],
)
def test_going_on_from_the_middle_is_the_uninterrupted_run(
    twin, problem, monkeypatch, objective, matched, precision
):
    """Stopped after the first of two chunks, gone on from the state that it left, to the bit."""
    x, program, _ = problem(N, missing=0.2, **PROGRAMS["auxiliary low-rank"])
    a = np.random.default_rng(0).normal(size=(3, N)) if objective == "pairs" else None
    training = config(steps=200, objective=objective, precision=precision)
    whole = twin.impl.fit(x, program, training, a=a, matched=matched)
    module = twin.module("training")
    chunks = module.chunks
    with monkeypatch.context() as patched:
        patched.setattr(module, "chunks", lambda *args: islice(chunks(*args), 1))
        half = twin.impl.fit(x, program, training, a=a, matched=matched)
    assert len(half.losses) == 100
    state = replace(half.state, step=100)
    rest = twin.impl.fit(x, program, training, a=a, matched=matched, state=state)
    assert len(rest.losses) == 100 and rest.state.step == 200
    joined = np.concatenate([half.losses, rest.losses])
    assert_same_fit(replace(rest, losses=joined), whole)


def test_a_finished_run_has_nothing_left_to_do(twin, problem):
    x, program, _ = problem(N)
    done = twin.impl.fit(x, program, config())
    again = twin.impl.fit(x, program, config(), state=done.state)
    assert len(again.losses) == 0
    assert_same_fit(replace(again, losses=done.losses), done)


def test_a_state_that_is_given_is_where_it_starts(twin, problem):
    x, program, params = problem(N)
    kept = {n: v.copy() for n, v in params.items()}
    state = TrainingState.start(params)
    given = twin.impl.fit(x, program, config(steps=1), state=state, matched=True)
    noise = base_noise(0, 0, noise_shapes(program.config, 5))
    items = batch_indices(0, 0, 1, N, 5)[0]
    found = twin.impl.evaluate(x[items], program, params, noise, config(), num_items=N)
    assert given.losses[0] == pytest.approx(found.loss / N, rel=1e-12)
    for n, v in kept.items():
        np.testing.assert_array_equal(state.params[n], v)
        assert not state.mean[n].any() and not state.variance[n].any()


# --- precision ------------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", ["elbo", "simulated"])
def test_single_precision_is_single_and_double_is_double(twin, problem, objective):
    """Every number of the state, moments and losses included (a float32 survives the round trip)."""
    x, program, _ = problem(N, missing=0.2, **PROGRAMS["learned, amplitude"])

    def survives(values):
        return values == np.asarray(values, np.float32)

    for precision in ("float32", "float64"):
        # The caller's own setting does not matter.
        with twin.using("float32" if precision == "float64" else "float64"):
            done = twin.impl.fit(x, program, config(precision=precision, objective=objective))
        state = done.state
        for part in (state.params, state.mean, state.variance):
            numbers = np.concatenate([v[v != 0] for v in part.values()])
            assert numbers.dtype == np.float64
            if precision == "float32":
                assert survives(numbers).all()
            else:
                # Parameters that have no gradient stay what they were: count by array.
                assert all(not survives(v[v != 0]).all() for v in part.values() if v.any())
        totals = done.losses * N
        assert np.isclose(totals, np.float32(totals), rtol=1e-12, atol=0).all() == (
            precision == "float32"
        )


def test_both_precisions_begin_alike(twin, problem):
    x, program, _ = problem(N)
    losses = [
        twin.impl.fit(x, program, config(precision=p), matched=True).losses
        for p in ("float32", "float64")
    ]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
    assert (losses[0] != losses[1]).any()


# --- what is learned ------------------------------------------------------------------------------


@pytest.mark.parametrize("learned", [(), ("loadings", "noise_scale"), ("intercept",)])
def test_what_is_learned_moves_and_what_is_fixed_stays(twin, problem, learned):
    x, program, _ = problem(N, learned=learned)
    first = initial_params(program, 0)
    done = twin.impl.fit(x, program, config(steps=30))
    assert {f"raw_{n}" for n in learned} == {n for n in done.params if n.startswith("raw_")}
    for name, values in done.params.items():
        assert not np.array_equal(values, first[name]), name
    after, before = generative_of(program, done.params), program.generative
    for name in ALL:
        assert np.array_equal(getattr(after, name), getattr(before, name)) == (name not in learned)


def test_the_learned_noise_has_a_floor(twin):
    """Data without any noise: the likelihood would grow without bound."""
    rng = np.random.default_rng(0)
    exact = LinearGaussian(rng.normal(size=(4, 2)), noise_scale=1e-6)
    x, _ = exact.simulate(64, rng)
    settings = ProgramConfig(4, 2, learned=ALL, hidden_width=16)
    program = make_program(x, settings)
    training = config(steps=1500, batch_size=64, learning_rate=0.1)
    done = twin.impl.fit(x, program, training)
    noise = generative_of(program, done.params).noise_scale / program.spread
    assert np.isfinite(done.losses).all()
    assert (noise > NOISE_FLOOR).all() and noise.max() < 5 * NOISE_FLOOR


def test_the_elbo_comes_close_to_the_exact_evidence(twin):
    """Linear and Gaussian, no entry missing: the mlp guide can be exact, and 600 steps bring it near."""
    x, program = linear_gaussian()
    done = twin.impl.fit(x, program, config(steps=600, batch_size=64, learning_rate=0.02))
    gap = program.generative.kl_to_posterior(x, twin.impl.posterior(x, program, done.params))
    assert gap.min() >= 0 and gap.mean() < 0.02


# --- good manners ---------------------------------------------------------------------------------


def test_progress_is_told_after_every_chunk(twin, problem):
    x, program, _ = problem(N)
    told = []
    done = twin.impl.fit(
        x, program, config(steps=250), progress=lambda step, losses: told.append((step, losses))
    )
    assert [step for step, _ in told] == [100, 200, 250]
    np.testing.assert_array_equal(np.concatenate([losses for _, losses in told]), done.losses)
    assert done.losses.shape == (250,)


def test_arguments_are_not_written_to(twin, problem):
    x, program, _ = problem(N, missing=0.2)
    a = np.random.default_rng(0).normal(size=(3, N))
    kept = x.copy(), a.copy(), {n: v.copy() for n, v in program.fixed.items()}
    twin.impl.fit(x, program, config(objective="pairs"), a=a)
    np.testing.assert_array_equal(x, kept[0])
    np.testing.assert_array_equal(a, kept[1])
    for name, values in program.fixed.items():
        np.testing.assert_array_equal(values, kept[2][name])


@pytest.mark.parametrize("fails", [False, True])
def test_the_callers_world_is_as_it_was(twin, problem, fails):
    """Random generators, Pyro's parameter store and validation, JAX's precision: after an error too."""
    x, program, _ = problem(N, learned=ALL)
    twin.framework.set_rng_seed(99) if twin.name == "pyro" else np.random.seed(99)
    before = world(twin)

    def stop(*_):
        raise KeyboardInterrupt

    if fails:
        with pytest.raises(KeyboardInterrupt):
            twin.impl.fit(x, program, config(), progress=stop)
    else:
        twin.impl.fit(x, program, config())
    for name, value in world(twin).items():
        np.testing.assert_equal(value, before[name], err_msg=name)


def world(twin):
    found = {"python": random.getstate(), "numpy": np.random.get_state()}
    if twin.name == "numpyro":
        return {**found, "x64": twin.jax.config.jax_enable_x64}
    store = twin.framework.get_param_store()
    mine = twin.framework.param("raw_loadings", twin.torch.ones(2))
    return {
        **found,
        "torch": twin.torch.get_rng_state().numpy(),
        "names": sorted(store.keys()),
        "mine": mine.detach().numpy().copy(),
        "validation": twin.framework.infer.util.is_validation_enabled(),
        "dtype": twin.torch.get_default_dtype(),
        "threads": twin.torch.get_num_threads(),
    }
