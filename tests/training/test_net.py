"""The net beneath a run: steps that go wrong are taken again at half the rate, and nothing else changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fit_cases import N, assert_same_fit, config

from twinplate.training.net import HALVINGS, Attempt, Net, take
from twinplate.training.plan import Chunk
from twinplate.training.state import Limits, TrainingState
from twinplate.training.step_size import NOTED, Burst


def chunk(first=0, steps=40, rate=0.4):
    return Chunk(first, np.zeros((steps, 1), int), np.linspace(rate, rate / 2, steps), {})


class Descent:
    """Losses about `level`, by half a unit; not finite, or higher, at rates above a bound."""

    def __init__(self, breaks_above=np.inf, jumps_above=np.inf, by=50.0):
        self.breaks_above, self.jumps_above, self.by, self.tried = breaks_above, jumps_above, by, []

    def __call__(self, part):
        self.tried.append(part.rates.max())
        losses = 3.0 + 0.5 * np.random.default_rng(part.first).normal(size=len(part.rates))
        if part.rates.max() > self.breaks_above:
            losses[5:] = np.nan
        if part.rates.max() > self.jumps_above:
            losses[-25:] += self.by
        return Attempt(losses, bool(np.isfinite(losses).all()))


def test_a_chunk_that_breaks_is_taken_at_half_the_rate_until_it_does_not():
    net, steps = Net(Limits()), Descent(breaks_above=0.15)
    found = take(net, chunk(), steps)
    assert found.finite and steps.tried == [0.4, 0.2, 0.1] and net.limits.rate == 0.1
    take(net, chunk(40), steps)
    assert steps.tried == [0.4, 0.2, 0.1, 0.1]  # no later step has a higher one
    take(net, chunk(80, rate=0.06), steps)
    assert steps.tried[-1] == 0.06  # but a lower one, as its schedule has it
    (note,) = net.notes
    assert "steps 0 to 39 went wrong (the loss is nan at step 5)" in note
    assert "1/4 of their learning rate, 0.1;" in note


def test_where_the_rate_is_not_the_cause_the_steps_stand_as_they_were():
    net, steps = Net(Limits()), Descent(breaks_above=0.0)
    found = take(net, chunk(), steps)
    assert not found.finite and net.limits == Limits() and "did not help" in net.notes[0]
    assert steps.tried == [0.4 / 2**n for n in range(HALVINGS + 1)] + [0.4]
    np.testing.assert_array_equal(net.slowed(chunk()).rates, chunk().rates)


def test_a_jump_that_does_not_come_back_is_seen_by_the_end_of_the_chunk_before():
    steps = Descent()
    net = Net(Limits())
    take(net, chunk(), steps)
    steps.jumps_above = 0.3
    take(net, chunk(40), steps)
    assert steps.tried == [0.4, 0.4, 0.2] and "went wrong (the loss is 5" in net.notes[0]


@pytest.mark.parametrize("course", [lambda n: -50.0 * n, lambda n: 0.0, lambda n: n % 2])
def test_what_chance_explains_and_what_falls_is_no_jump(course):
    net, steps = Net(Limits()), Descent(jumps_above=0.0)
    for n in range(50):
        steps.by = course(n)
        take(net, chunk(40 * n), steps)
    assert not net.notes and len(steps.tried) == 50 and net.limits.rate == np.inf


def test_losses_of_fewer_steps_than_the_window_are_not_judged():
    net, steps = Net(Limits(loss=3.5)), Descent(jumps_above=0.0)
    take(net, chunk(steps=19), steps)
    assert len(steps.tried) == 1 and net.limits.loss == 3.5


def test_a_burst_is_told_once():
    net = Net(Limits())
    for times in (NOTED / 2, 31.0, 300.0):
        burst = Burst("encoder.hidden2.weight", times, 1458)
        net.accepts(chunk(), Attempt(np.ones(40), True, burst))
    (note,) = net.notes
    assert note.startswith("at step 1458 the gradient of encoder.hidden2.weight was 31 times its")


def breaking_once(trainer, monkeypatch, broken, seen):
    """The trainer, whose chunk that starts at `broken` is not finite at the rate of its plan."""
    advance = trainer._advance

    def breaks(part):
        found = advance(part)
        seen.append(part)
        is_first = part.first == broken and sum(one.first == broken for one in seen) == 1
        return replace(found, finite=False) if is_first else found

    monkeypatch.setattr(trainer, "_advance", breaks)


def make_trainer(twin, x, program, training, **given):
    if twin.name == "pyro":
        given["compiled"] = False
    return twin.module("training.trainer").Trainer(x, program, training, **given)


def test_a_chunk_that_broke_once_heals_at_half_the_rate_with_all_else_equal(
    twin, problem, monkeypatch
):
    """Beside a run without a net whose second chunk has half the rate; gone on from its state, too."""
    from twinplate.training.loop import train

    monkeypatch.setattr("twinplate.training.plan.CHUNK", 4)
    x, program, _ = problem(N, missing=0.2)
    training, seen = config(steps=12), []
    healed = make_trainer(twin, x, program, training)
    breaking_once(healed, monkeypatch, 4, seen)
    fit = train(healed, healed.plan())
    assert [part.first for part in seen] == [0, 4, 4, 8]
    assert "steps 4 to 7 went wrong" in fit.notes[0] and fit.notes[0] in repr(fit)
    highest = fit.state.limits.rate
    assert highest == seen[1].rates.max() / 2 and (seen[2].rates <= highest).all()

    plain = make_trainer(twin, x, program, training)
    slower = [replace(part, rates=np.minimum(part.rates, highest)) for part in plain.plan()]
    first = next(iter(plain.plan()))
    expected = train(plain, [first, *slower[1:]])
    limits = replace(expected.state, limits=fit.state.limits)
    assert_same_fit(fit, replace(expected, state=limits))

    again = make_trainer(twin, x, program, training)
    seen.clear()
    breaking_once(again, monkeypatch, 4, seen)
    half = train(again, [part for part in again.plan() if part.first < 8])
    rest = make_trainer(twin, x, program, training, state=half.state)
    gone_on = train(rest, rest.plan())
    assert_same_fit(replace(gone_on, losses=np.concatenate([half.losses, gone_on.losses])), fit)
    assert gone_on.state.limits == fit.state.limits


def test_a_run_that_needs_no_net_is_the_same_without_one(twin, problem, monkeypatch):
    x, program, _ = problem(N, missing=0.2)
    with_net = twin.impl.fit(x, program, config(steps=60))
    assert not with_net.notes and with_net.state.limits.rate == np.inf
    module = twin.module("training.trainer")
    monkeypatch.setattr(module, "take", lambda net, chunk, attempt: attempt(chunk))
    assert_same_fit(with_net, twin.impl.fit(x, program, config(steps=60)))


def test_of_several_fits_one_that_goes_wrong_heals_as_a_single_one_does(twin, problem, monkeypatch):
    """At rate 2 and 1 the steps end above what is allowed here, at 0.5 below. The other fit is untouched."""
    start = TrainingState.start
    monkeypatch.setattr(
        TrainingState, "start", lambda params: replace(start(params), limits=Limits(loss=50.0))
    )
    x, program, _ = problem(N)
    program = replace(program, width=None)  # from a guide that is far from the posterior
    rates = 0.01, 2.0
    many = twin.impl.fit_many(x, program, config(steps=30), seeds=(3,), learning_rates=rates)
    for rate, found in zip(rates, many.fits, strict=True):
        single = twin.impl.fit(x, program, config(steps=30, seed=3, learning_rate=rate))
        np.testing.assert_allclose(found.losses, single.losses, rtol=1e-10)
        assert found.notes == single.notes and found.state.limits.rate == single.state.limits.rate
    (note,) = many.fits[1].notes
    assert not many.fits[0].notes and "taken again at 1/4 of their learning rate, 0.5" in note


def test_one_of_several_fits_that_no_rate_helps_says_so(twin, problem):
    x, program, _ = problem(N)
    many = twin.impl.fit_many(x, program, config(steps=4), seeds=(3,), learning_rates=(1e60,))
    (note,) = many.fits[0].notes
    assert many.diverged.all() and "did not help" in note
