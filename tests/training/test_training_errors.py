"""Training that stops early: the step, the items and the norm are named, and nothing is lost."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest

from twinplate import cli
from twinplate.errors import InputError
from twinplate.programs.config import TrainingConfig
from twinplate.training.errors import (
    NonFiniteLossError,
    OutOfMemoryError,
    check_state,
    is_out_of_memory,
    non_finite_loss,
    out_of_memory,
    room_for,
)
from twinplate.training.loop import train
from twinplate.training.plan import Chunk
from twinplate.training.state import TrainingState

TRAINING = TrainingConfig(steps=40, batch_size=3, learning_rate=0.5)


def chunk(first=0, length=10, batch_size=3):
    items = np.arange(length * batch_size).reshape(length, batch_size) + 100 * first
    return Chunk(first, items, np.full(length, 0.5), {"a": np.arange(float(length))})


class Walker:
    """One parameter that grows by its step; `breaks` says from which step on what is not a number."""

    compile_seconds, program, notes = 0.0, None, ()

    def __init__(self, loss_breaks=1000, state_breaks=1000):
        self.loss_breaks, self.state_breaks = loss_breaks, state_breaks
        self.state = TrainingState.start({"w": np.zeros(4)})

    def walk(self, state, part):
        values, step = state.params["w"], state.step
        for _ in part.rates:
            values = values + (np.nan if step == self.state_breaks else step)
            step += 1
        return TrainingState({"w": values}, state.mean, state.variance, {"w": values}, step)

    def run(self, part):
        start = self.state
        self.state = self.walk(start, part)
        steps = np.arange(part.first, part.first + len(part.rates))
        broken = (steps >= self.loss_breaks) | (steps > self.state_breaks)
        losses = np.where(broken, np.nan, steps + 0.5)
        if broken.any() or np.isnan(self.state.params["w"]).any():
            raise non_finite_loss(TRAINING, part, losses, lambda head: self.walk(start, head))
        return losses


PLAN = [chunk(0), chunk(10), chunk(20, 3)]


def test_what_a_caller_catches_and_gets_is_at_the_top():
    import twinplate

    names = {"NonFiniteLossError", "OutOfMemoryError", "Restarts", "InputError", "Fit"}
    assert names <= set(twinplate.__all__) and all(hasattr(twinplate, name) for name in names)
    assert twinplate.NonFiniteLossError is NonFiniteLossError


def test_a_handler_of_bad_input_does_not_swallow_what_training_reached():
    with pytest.raises(NonFiniteLossError), suppress(InputError, ValueError):
        train(Walker(loss_breaks=3), PLAN)


def test_a_command_that_stops_early_says_so_in_one_sentence(monkeypatch, capsys):
    """Such as `demo`, which saves nothing: without a traceback, with the exit code of bad input."""

    def stops(**_):
        raise out_of_memory(TRAINING, TrainingState.start({"w": np.zeros(1)}))

    monkeypatch.setattr(cli, "app", stops)
    with pytest.raises(SystemExit) as left:
        cli.main()
    message = capsys.readouterr().err
    assert left.value.code == 2 and message.startswith("twinplate: out of memory with batch_size 3")
    assert message.count("\n") == 1


def test_training_that_goes_well_runs_all_chunks():
    told = []
    fit = train(Walker(), PLAN, lambda done, losses: told.append((done, len(losses))))
    np.testing.assert_array_equal(fit.losses, np.arange(23) + 0.5)
    assert fit.state.step == 23 and told == [(10, 10), (20, 10), (23, 3)]


@pytest.mark.parametrize("breaks", [0, 1, 9, 10, 14, 22])
@pytest.mark.parametrize("where", ["loss", "state"])
def test_the_last_good_state_is_that_before_the_bad_step(breaks, where):
    walker = Walker(**{f"{where}_breaks": breaks})
    with pytest.raises(NonFiniteLossError) as caught:
        train(walker, PLAN)
    fit, message = caught.value.fit, str(caught.value)
    assert fit.state.step == breaks
    np.testing.assert_array_equal(fit.losses, np.arange(breaks) + 0.5)
    np.testing.assert_array_equal(fit.params["w"], np.full(4, np.arange(breaks).sum()))
    items = next(p.indices[breaks - p.first] for p in PLAN if p.first <= breaks < p.first + 10)
    assert f"at step {breaks} of 40" in message
    assert f"items {', '.join(map(str, items))};" in message
    assert f"norm of the parameters is {2 * np.arange(breaks).sum():.3g};" in message
    assert ("the loss is nan" in message) == (where == "loss")
    assert "gradient" in message or where == "loss"
    assert "below 0.5" in message and "float64" in message


def test_double_precision_is_not_told_to_a_user_who_has_it():
    training = TrainingConfig(precision="float64")
    state = TrainingState.start({"w": np.ones(1)})
    error = non_finite_loss(training, chunk(), np.full(10, -np.inf), lambda head: state)
    assert "float64" not in str(error) and "the loss is -inf" in str(error)


def test_a_long_mini_batch_is_shortened():
    state = TrainingState.start({"w": np.ones(1)})
    error = non_finite_loss(TRAINING, chunk(0, 2, 256), np.full(2, np.nan), lambda head: state)
    assert "items 0, 1, 2, 3, 4, 5, 6, 7, … (256 in all);" in str(error)


def test_a_moment_that_overflowed_is_no_good_state():
    """Squared, a gradient of 1e20 is infinite in single precision; Adam would never move again."""
    good = TrainingState.start({"w": np.ones(1)})
    bad = replace(good, variance={"w": np.array([np.inf])}, step=2)
    error = non_finite_loss(
        TRAINING, chunk(0, 2), np.zeros(2), lambda head: bad if len(head.rates) == 2 else good
    )
    assert error.fit.state is good and "gradient" in str(error)


def test_a_state_that_training_can_start_from(problem):
    _, program, params = problem()
    good = TrainingState.start(params)
    check_state(good, program)
    bad = replace(good, variance={n: np.full_like(v, np.inf) for n, v in params.items()}, step=2)
    with pytest.raises(InputError, match="step 2, holds numbers that are not finite"):
        check_state(bad, program)


@pytest.mark.parametrize("part", ["params", "mean", "variance"])
@pytest.mark.parametrize("what", ["missing", "shape", "unknown"])
def test_a_state_of_another_program_is_refused(problem, part, what):
    _, program, params = problem()
    values, name = dict(params), "encoder.skip.weight"
    if what == "missing":
        del values[name]
    elif what == "shape":
        values[name] = np.zeros((2, 4))
    else:
        name = "raw_loadings"
        values[name] = np.zeros((4, 3))
    state = replace(TrainingState.start(params), **{part: values})
    with pytest.raises(InputError, match=f"the {part} of the state given.*{name} has shape"):
        check_state(state, program)


@pytest.mark.parametrize("length", [1, 2, 100])
def test_the_bad_step_is_found_by_halving(length):
    """Replays of whole chunks are the cost: of 100 steps no more than 9."""
    for breaks in range(length):
        walker, replayed = Walker(state_breaks=breaks), []

        def replay(head, walker=walker, replayed=replayed):
            replayed.append(len(head.rates))
            return walker.walk(walker.state, head)

        error = non_finite_loss(TRAINING, chunk(0, length), np.zeros(length), replay)
        assert error.fit.state.step == len(error.fit.losses) == breaks
        assert len(replayed) <= 2 + np.ceil(np.log2(length))


def test_the_head_of_a_chunk():
    head = chunk(10).head(4)
    assert head.first == 10 and head.indices.shape == (4, 3) and head.rates.shape == (4,)
    np.testing.assert_array_equal(head.noise["a"], np.arange(4.0))


def test_out_of_memory_in_blocks_proposes_less_than_a_block():
    error = out_of_memory(TrainingConfig(batch_size=256), TrainingState.start({}), 32)
    assert "batch_size 256, 32 items at once, after" in str(error)
    assert "Try batch_size 16" in str(error)


@pytest.mark.parametrize(
    ("error", "kind"),
    [(MemoryError(), InputError), (ValueError("other"), ValueError)],
)
def test_data_that_do_not_fit(error, kind):
    with pytest.raises(kind) as caught, room_for(np.zeros((3, 2))):
        raise error
    assert ("shape (3, 2)" in str(caught.value) and "mmap" in str(caught.value)) == (
        kind is InputError
    )


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"batch_size": 256}, ["batch_size 256 after", "Try batch_size 128"]),
        ({"batch_size": 1}, ["batch_size 1 after", "Try a smaller model"]),
        (
            {"batch_size": 7, "particles": 5},
            ["7 and 5 particles at once", "Try batch_size 3 or one particle after the other"],
        ),
        ({"batch_size": 8, "particles": 5, "vectorize_particles": False}, ["Try batch_size 4"]),
    ],
)
def test_out_of_memory_proposes_a_batch_size(changes, told):
    state = replace(TrainingState.start({"w": np.ones(1)}), step=300)
    error = out_of_memory(TrainingConfig(**changes), state)
    assert isinstance(error, OutOfMemoryError) and error.fit.state is state
    assert "after step 300 of 3000" in str(error)
    assert all(words in str(error) for words in told), str(error)
    assert "at once" in str(error) or "particles" not in changes or changes["batch_size"] == 8


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
            True,
        ),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8589934592 bytes."), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("Expected parameter scale"), False),
    ],
)
def test_what_the_allocators_say(error, expected):
    assert is_out_of_memory(error) == expected


def test_torch_says_so_in_earnest():
    import torch

    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert is_out_of_memory(caught.value)


def test_losses_of_earlier_chunks_are_kept_when_memory_runs_out():
    class Full(Walker):
        def run(self, part):
            if part.first == 20:
                raise out_of_memory(TRAINING, self.state)
            return super().run(part)

    with pytest.raises(OutOfMemoryError) as caught:
        train(Full(), PLAN)
    assert caught.value.fit.state.step == 20
    np.testing.assert_array_equal(caught.value.fit.losses, np.arange(20) + 0.5)
