"""Pyro's trainer: compiled and eager are the same training, and a run that goes wrong loses nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import pyro_impl
from pyro_impl.compiled.steps import CompiledStep
from twinplate import TrainingConfig
from twinplate.errors import InputError
from twinplate.training.errors import NonFiniteLossError, OutOfMemoryError
from twinplate.training.loop import train
from twinplate.training.plan import chunks
from twinplate.training.state import TrainingState

N = 12


def config(**changes):
    return TrainingConfig(
        **{"steps": 30, "batch_size": 5, "precision": "float64", "device": "cpu", **changes}
    )


def fit(problem, training, compiled, state=None, **program):
    x, made, _ = problem(N, missing=0.2, **program)
    trainer = pyro_impl.Trainer(x, made, training, state=state, compiled=compiled)
    return train(trainer, chunks(made.config, training, N, False, trainer.state.step))


def assert_close(found, expected, rtol):
    np.testing.assert_allclose(found.losses, expected.losses, rtol=rtol)
    for part in ("params", "mean", "variance"):
        for name, values in getattr(expected.state, part).items():
            np.testing.assert_allclose(
                getattr(found.state, part)[name], values, rtol=rtol, atol=rtol, err_msg=name
            )


PROGRAMS = [
    {},
    {"guide": "diagonal", "learned": ("loadings", "noise_scale")},
    {"guide": "event", "covariance": "low-rank", "encoder": "experts"},
    {"amplitude_scale": 0.3, "learned": ("intercept",)},
]
TRAININGS = [
    {},
    {"particles": 3},
    {"particles": 2, "vectorize_particles": False},
    {"objective": "simulated"},
    {"estimator": "analytic-kl"},
    {"estimator": "sticking-the-landing"},
]


PAIRED = [
    pytest.param(program, training, marks=pytest.mark.slow if i and j else ())
    for i, program in enumerate(PROGRAMS)
    for j, training in enumerate(TRAININGS)
]


@pytest.mark.parametrize(("program", "training"), PAIRED)
def test_replayed_steps_are_the_eager_ones(problem, monkeypatch, program, training):
    """To the bit, with torch's own random numbers."""
    monkeypatch.setattr("twinplate.training.plan.WARM", 0)
    fits = [fit(problem, config(**training), compiled, **program) for compiled in (True, False)]
    assert_close(*fits, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "drift"), [("float32", 3e-5), ("float64", 1e-11)])
def test_drift_of_machine_code_over_500(problem, precision, drift):
    x, program, _ = problem(N, missing=0.2)
    ways = {"machine_code": True}, {"compiled": False}
    training = config(steps=500, precision=precision)
    assert_close(*(pyro_impl.fit(x, program, training, **way) for way in ways), rtol=drift)


@pytest.mark.parametrize("compiled", [True, False])
def test_going_on_is_the_same_to_the_bit(problem, monkeypatch, compiled):
    monkeypatch.setattr("twinplate.training.plan.CHUNK", 7)
    whole = fit(problem, config(steps=21), compiled)
    x, program, _ = problem(N, missing=0.2)
    trainer = pyro_impl.Trainer(x, program, config(steps=21), compiled=compiled)
    first = [trainer.run(c) for c in list(chunks(program.config, config(steps=21), N, False))[:2]]
    rest = fit(problem, config(steps=21), compiled, state=trainer.state)
    np.testing.assert_array_equal(np.concatenate([*first, rest.losses]), whole.losses)
    for name, values in whole.params.items():
        np.testing.assert_array_equal(rest.params[name], values)


@pytest.mark.parametrize(
    ("chunk", "bad", "compiled"),
    [
        *((100, 23, True), (7, 23, False), (7, 7, False), (7, 0, True)),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in ((100, 23, False), (7, 23, True), (7, 7, True), (7, 0, False))
        ),
    ],
)
def test_a_loss_that_is_not_finite(problem, monkeypatch, compiled, chunk, bad):
    """The noise of one step is not a number: the state before it is kept, and can be gone on from."""
    monkeypatch.setattr("twinplate.training.plan.CHUNK", chunk)
    x, program, _ = problem(N, missing=0.2)
    training = config(steps=30)
    plan = list(chunks(program.config, training, N, True))
    good = train(pyro_impl.Trainer(x, program, training, matched=True, compiled=compiled), plan)
    for part in plan:
        if part.first <= bad < part.first + len(part.rates):
            part.noise["a_aux"][bad - part.first] = np.nan
    trainer = pyro_impl.Trainer(x, program, training, matched=True, compiled=compiled)
    with pytest.raises(NonFiniteLossError) as caught:
        train(trainer, plan)
    error, message = caught.value, str(caught.value)
    items = next(p.indices[bad - p.first] for p in plan if p.first <= bad < p.first + len(p.rates))
    assert f"the loss is nan at step {bad} of 30" in message
    assert ", ".join(map(str, items)) in message
    np.testing.assert_allclose(error.fit.losses, good.losses[:bad], rtol=1e-12)
    assert error.fit.state.step == bad
    norm = np.sqrt(sum(np.square(v).sum() for v in error.fit.state.params.values()))
    assert f"{norm:.3g}" in message

    again = pyro_impl.Trainer(
        x, program, training, state=error.fit.state, matched=True, compiled=compiled
    )
    rest = train(again, chunks(program.config, training, N, True, bad))
    np.testing.assert_allclose(rest.losses, good.losses[bad:], rtol=1e-9)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_number_of_the_state_that_is_not_finite_is_seen(problem, bad, precision):
    """Wherever it is: in each tensor that a step changes, at either end of it."""
    x, program, _ = problem(N)
    training = config(precision=precision)
    trainer = pyro_impl.Trainer(x, program, training, compiled=False)
    no_steps = next(chunks(program.config, training, N, False)).head(0)
    tensors = trainer._carry.tensors
    assert len(tensors) > 30 and all(tensor.numel() for tensor in tensors)
    for tensor in tensors:
        for entry in {0, tensor.numel() - 1}:
            good = tensor.detach().clone()
            with torch.no_grad():
                tensor.view(-1)[entry] = bad
            assert not trainer._advance(no_steps).finite
            with torch.no_grad():
                tensor.copy_(good)
    assert trainer._advance(no_steps).finite


def test_out_of_memory_keeps_the_state_before_the_chunk(problem, monkeypatch):
    monkeypatch.setattr("twinplate.training.plan.CHUNK", 10)
    x, program, _ = problem(N, missing=0.2)
    training = config(steps=30)
    good = fit(problem, config(steps=30), False)
    trainer = pyro_impl.Trainer(x, program, training, compiled=False)
    step, taken = trainer._stepping.of("base-noise"), []

    def full(*arguments):
        taken.append(1)
        if len(taken) == 15:
            raise RuntimeError(
                "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"
            )
        return step(*arguments)

    trainer._stepping.known["base-noise"] = full
    with pytest.raises(
        OutOfMemoryError, match=r"batch_size 5 after step 10 of 30.*Try batch_size 2"
    ) as caught:
        train(trainer, chunks(program.config, training, N, False))
    np.testing.assert_array_equal(caught.value.fit.losses, good.losses[:10])
    rest = fit(problem, training, False, state=caught.value.fit.state)
    np.testing.assert_array_equal(rest.losses, good.losses[10:])


def test_out_of_memory_in_a_compiled_step_rewinds_to_the_bit(problem, monkeypatch):
    """After the optimiser has counted the step: its counters go back too."""
    monkeypatch.setattr("twinplate.training.plan.CHUNK", 10)
    x, program, _ = problem(N, missing=0.2)
    training = config(steps=30)
    good = fit(problem, training, True)
    trainer = pyro_impl.Trainer(x, program, training, compiled=True)
    parts = list(chunks(program.config, training, N, False))
    first = trainer.run(parts[0])
    before = trainer.state
    (svi,) = trainer._stepping.svis
    ((step,),) = svi._steps.values()
    move, taken = step.update.take, []

    def full(gradients):
        taken.append(1)
        move(gradients)
        if len(taken) == 5:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")

    step.update.take = full
    with pytest.raises(OutOfMemoryError, match="after step 10 of 30"):
        trainer.run(parts[1])
    for part in ("params", "mean", "variance"):
        for name, values in getattr(before, part).items():
            np.testing.assert_array_equal(getattr(trainer.state, part)[name], values, name)
    assert trainer.state.step == 10
    rest = [trainer.run(part) for part in parts[1:]]
    np.testing.assert_array_equal(np.concatenate([first, *rest]), good.losses)


def test_other_errors_pass(problem):
    x, program, _ = problem(N)
    trainer = pyro_impl.Trainer(x, program, config(), compiled=False)
    trainer._stepping.known["base-noise"] = lambda *_: 1 / 0
    with pytest.raises(ZeroDivisionError):
        trainer.run(next(chunks(program.config, config(), N, False)))


def test_a_state_that_is_not_finite_is_refused(problem):
    x, program, params = problem(N)
    state = TrainingState.start({n: np.full_like(v, np.nan) for n, v in params.items()})
    with pytest.raises(InputError, match="not finite"):
        pyro_impl.Trainer(x, program, config(), state=state)


def test_the_callers_store_and_random_numbers_are_left_alone(problem):
    import pyro

    x, program, _ = problem(N)
    with pyro.get_param_store().scope():
        mine = pyro.param("encoder$$$out.bias", torch.ones(2))
        before = torch.get_rng_state()
        trainer = pyro_impl.Trainer(x, program, config())
        for part in chunks(program.config, config(), N, False):
            trainer.run(part)
        assert list(pyro.get_param_store()) == ["encoder$$$out.bias"]
        assert pyro.param("encoder$$$out.bias") is mine
        assert torch.equal(torch.get_rng_state(), before)


def test_runs_of_any_length_are_replayed_to_the_bit(problem):
    x, program, _ = problem(N)
    replayed, eager = (pyro_impl.fit(x, program, config(), compiled=flag) for flag in (True, False))
    np.testing.assert_array_equal(replayed.losses, eager.losses)
    for name, values in eager.state.params.items():
        np.testing.assert_array_equal(replayed.state.params[name], values, name)
    assert replayed.compile_seconds > 0 and eager.compile_seconds == 0


def test_machine_code_is_asked_for(problem, interpreted):
    x, program, _ = problem(N)
    trainer = pyro_impl.Trainer(x, program, config(steps=5), machine_code=True)
    train(trainer, trainer.plan())
    (svi,) = trainer._stepping.svis
    assert [type(step) for steps in svi._steps.values() for step in steps] == [CompiledStep]
