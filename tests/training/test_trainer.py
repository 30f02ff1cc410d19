"""The trainer: complete data without masks, chunks, a loss that is not finite, memory that runs out."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from twins import both_twins

from twinplate import InputError, TrainingConfig
from twinplate.programs.config import COVARIANCES
from twinplate.programs.parameters import initial_params
from twinplate.training.errors import NonFiniteLossError, OutOfMemoryError
from twinplate.training.loop import train
from twinplate.training.plan import chunks
from twinplate.training.state import TrainingState

N = 12
ALL = ("loadings", "intercept", "noise_scale")


def config(**changes):
    return TrainingConfig(
        **{"steps": 9, "batch_size": 5, "precision": "float64", "device": "cpu", **changes}
    )


def make_trainer(twin, x, program, training, **given):
    if twin.name == "pyro":
        given["compiled"] = False
    return twin.module("training.trainer").Trainer(x, program, training, **given)


def small_chunks(monkeypatch, program, training, size=3, matched=False):
    monkeypatch.setattr("twinplate.training.plan.CHUNK", size)
    return list(chunks(program.config, training, N, matched))


@both_twins(
    "encoder, covariance",
    product(["mlp", "experts"], COVARIANCES),
    quick=[("mlp", "diagonal"), ("experts", "full")],
)
def test_complete_data_give_the_same_without_masks(twin, problem, encoder, covariance):
    """The promise changes the work, not the loss or any gradient: matched training to rounding."""
    x, program, _ = problem(N, encoder=encoder, covariance=covariance, learned=ALL)
    training = config(steps=20)
    promised = twin.impl.fit(x, program, training, matched=True)
    with pytest.MonkeyPatch.context() as patch:
        never = property(lambda encoder: False, lambda encoder, promised: None)
        patch.setattr(twin.module("programs.encoder").Encoder, "complete", never, raising=False)
        sample = twin.module("programs.models").sample_x
        patch.setattr(
            twin.module("programs.models"), "sample_x", lambda *args: sample(*args[:-1], False)
        )
        masked = twin.impl.fit(x, program, training, matched=True)
    np.testing.assert_allclose(promised.losses, masked.losses, rtol=1e-12)
    for name, values in masked.params.items():
        np.testing.assert_allclose(promised.params[name], values, rtol=0, atol=1e-11, err_msg=name)


def test_run_takes_the_steps_of_its_chunk(twin, problem, monkeypatch):
    x, program, _ = problem(N, missing=0.2)
    training = config()
    trainer = make_trainer(twin, x, program, training, matched=True)
    plan = small_chunks(monkeypatch, program, training, matched=True)
    losses = np.concatenate([trainer.run(chunk) for chunk in plan])
    whole = twin.impl.fit(x, program, training, matched=True)
    np.testing.assert_allclose(losses, whole.losses, rtol=1e-12)
    assert trainer.state.step == 9
    for name, values in whole.params.items():
        np.testing.assert_allclose(trainer.state.average[name], values, rtol=0, atol=1e-11)


def test_a_loss_that_is_not_finite_names_its_step_and_keeps_the_state_before(
    twin, problem, monkeypatch
):
    """One item far out: finite, but its square is not. The state is that of the steps before."""
    x, program, _ = problem(N)
    training = config(batch_size=2)
    plan = small_chunks(monkeypatch, program, training)
    seen = [set(row) for chunk in plan for row in chunk.indices]
    outlier = next(item for item in range(N) if item not in set.union(*seen[:4]))
    step = next(number for number, items in enumerate(seen) if outlier in items)
    x[outlier] = 1e200
    trainer = make_trainer(twin, x, program, training)
    with pytest.raises(NonFiniteLossError) as caught:
        train(trainer, plan)
    message = str(caught.value)
    assert f"step {step} of 9" in message and f"{outlier}" in message.split("item")[1]
    kept = caught.value.fit
    assert kept.state.step == step and step > 3
    before = make_trainer(twin, x, program, training)
    for chunk in plan:
        head = chunk.head(min(len(chunk.rates), step - chunk.first))
        if len(head.rates):
            before.run(head)
        if chunk.first + len(chunk.rates) >= step:
            break
    for name, values in before.state.params.items():
        np.testing.assert_array_equal(kept.state.params[name], values)
    assert all(np.isfinite(v).all() for v in kept.params.values())


def test_after_a_loss_that_is_not_finite_the_trainer_has_the_state_before_the_chunk(
    twin, problem, monkeypatch
):
    x, program, _ = problem(N)
    training = config()
    plan = small_chunks(monkeypatch, program, training, matched=True)
    trainer = make_trainer(twin, x, program, training, matched=True)
    trainer.run(plan[0])
    kept, good = trainer.state, plan[1].noise["a_aux"].copy()
    plan[1].noise["a_aux"][2] = np.nan
    with pytest.raises(NonFiniteLossError) as caught:
        trainer.run(plan[1])
    assert caught.value.fit.state.step == 5 and trainer.state.step == 3
    for name, values in kept.params.items():
        np.testing.assert_array_equal(trainer.state.params[name], values)
    plan[1].noise["a_aux"][:] = good
    losses = [trainer.run(chunk) for chunk in plan[1:]]
    whole = twin.impl.fit(x, program, training, matched=True)
    np.testing.assert_allclose(np.concatenate(losses), whole.losses[3:], rtol=1e-12)


def test_memory_that_runs_out_proposes_a_batch_size(twin, problem, monkeypatch):
    x, program, _ = problem(N)
    training = config(batch_size=8)
    plan = small_chunks(monkeypatch, program, training)
    trainer = make_trainer(twin, x, program, training)
    trainer.run(plan[0])
    kept = trainer.state

    def exhausted(*args, **kwargs):
        raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 99999999999 bytes.")

    if twin.name == "numpyro":
        monkeypatch.setattr(trainer, "_loop", exhausted)
    else:
        monkeypatch.setattr(type(trainer), "_advance", exhausted)
    with pytest.raises(OutOfMemoryError, match="Try batch_size 4") as caught:
        trainer.run(plan[1])
    assert caught.value.fit.state.step == 3
    for name, values in kept.params.items():
        np.testing.assert_array_equal(caught.value.fit.state.params[name], values)


@both_twins("kind", [RuntimeError, KeyboardInterrupt], quick=[KeyboardInterrupt])
def test_another_error_passes_and_the_state_is_that_before_the_chunk(
    twin, problem, monkeypatch, kind
):
    x, program, _ = problem(N)
    training = config()
    plan = small_chunks(monkeypatch, program, training)
    whole = twin.impl.fit(x, program, training)
    trainer = make_trainer(twin, x, program, training)
    losses = [trainer.run(plan[0])]
    kept = trainer.state

    def broken(work):
        def breaks(*arguments):
            work(*arguments)
            raise kind("something else")

        return breaks

    with pytest.MonkeyPatch.context() as patch:
        if twin.name == "numpyro":
            patch.setattr(trainer, "_loop", broken(trainer._loop))
        else:  # in the first of the chunk's steps
            known = trainer._stepping.known
            patch.setitem(known, "base-noise", broken(known["base-noise"]))
        with pytest.raises(kind):
            trainer.run(plan[1])
    assert trainer.state.step == kept.step == 3
    for name, values in kept.params.items():
        np.testing.assert_array_equal(trainer.state.params[name], values)
    losses += [trainer.run(chunk) for chunk in plan[1:]]
    np.testing.assert_array_equal(np.concatenate(losses), whole.losses)


def test_a_state_that_is_not_finite_is_refused(twin, problem):
    x, program, _ = problem(N)
    params = initial_params(program, 0)
    params["encoder.out.bias"][0] = np.nan
    with pytest.raises(InputError, match="not finite"):
        twin.impl.fit(x, program, config(), state=TrainingState.start(params))


@pytest.mark.parametrize("change", ["missing", "another K"])
def test_a_state_of_another_program_is_refused(twin, problem, change):
    x, program, params = problem(N)
    if change == "missing":
        del params["encoder.skip.weight"]
    else:
        params = problem(N, num_components=2)[2]
    state = TrainingState.start(params)
    with pytest.raises(InputError, match=r"the params of the state given: parameter encoder\."):
        twin.impl.fit(x, program, config(), state=state)


jax_only = pytest.mark.parametrize("twin", ["numpyro"], indirect=True)


@jax_only
def test_it_compiles_once_for_all_lengths_and_says_how_long_that_took(twin, problem, monkeypatch):
    x, program, _ = problem(N)
    training = config(steps=8)
    trainer = make_trainer(twin, x, program, training)
    assert trainer.compile_seconds == 0
    first, second, last = small_chunks(monkeypatch, program, training)
    trainer.run(first)
    once = trainer.compile_seconds
    assert once > 0
    trainer.run(second)
    assert len(last.rates) < len(second.rates)
    trainer.run(last)
    assert trainer.compile_seconds == once
    assert twin.impl.fit(x, program, training).compile_seconds > 0


@jax_only
def test_a_copy_of_the_state_is_given_away_to_the_loop(twin, problem, monkeypatch):
    """Donated: its buffers are gone after a chunk. Memory that runs out then leaves the state as it was."""
    x, program, _ = problem(N)
    training = config()
    whole = twin.impl.fit(x, program, training)
    trainer = make_trainer(twin, x, program, training)
    plan, loop, given = small_chunks(monkeypatch, program, training), trainer._loop, []

    def exhausted(chunk, carry, *rest):
        given.extend(twin.jax.tree.leaves(carry))
        loop(chunk, carry, *rest)
        raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 99999999999 bytes.")

    losses = [trainer.run(plan[0])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "_loop", exhausted)
        with pytest.raises(OutOfMemoryError) as caught:
            trainer.run(plan[1])
    assert all(leaf.is_deleted() for leaf in given)
    for name, values in caught.value.fit.params.items():
        np.testing.assert_array_equal(trainer.state.average[name], values)
    losses += [trainer.run(chunk) for chunk in plan[1:]]
    np.testing.assert_array_equal(np.concatenate(losses), whole.losses)
