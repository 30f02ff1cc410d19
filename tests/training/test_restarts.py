"""Several fits at once: each is the single one; the best is found; what diverges is counted, not raised."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice, product

import numpy as np
import pytest
from fit_cases import assert_same_fit
from twins import TWINS, both_twins

from twinplate import InputError, TrainingConfig, TrainingInterrupted
from twinplate.programs.parameters import initial_params
from twinplate.training import preparation
from twinplate.training.memory import items_at_once
from twinplate.training.plan import chunks
from twinplate.training.preparation import prepare
from twinplate.training.restarts import make_restarts, restart_configs
from twinplate.training.state import Fit, TrainingState

N = 12
ENDED = {"steps": 12, "broken": (False,)}  # one fit, that took all its steps
PROGRAMS = {
    "full": {"guide": "auxiliary", "amplitude_scale": 0.3, "learned": ("loadings", "noise_scale")},
    "diagonal": {"guide": "diagonal"},
    "low-rank, experts": {"guide": "event", "covariance": "low-rank", "encoder": "experts"},
}


def config(**changes):
    return TrainingConfig(
        **{"steps": 12, "batch_size": 5, "precision": "float64", "device": "cpu", **changes}
    )


QUICK = {("pyro", "full"), ("numpyro", "diagonal")}


@pytest.mark.parametrize(
    ("twin", "name"),
    [
        pytest.param(*case, marks=() if case in QUICK else pytest.mark.slow)
        for case in product(TWINS, PROGRAMS)
    ],
    indirect=["twin"],
)
def test_each_is_the_fit_of_its_seed_and_rate(twin, problem, monkeypatch, name):
    monkeypatch.setattr("twinplate.training.plan.WARM", 0)
    x, program, _ = problem(N, missing=0.2, **PROGRAMS[name])
    training = config(estimator="sticking-the-landing", particles=2)
    many = twin.impl.fit_many(x, program, training, seeds=(0, 7), learning_rates=(0.01, 0.1))
    assert [(t.learning_rate, t.seed) for t in many.trainings] == [
        (0.01, 0), (0.01, 7), (0.1, 0), (0.1, 7),
    ]  # fmt: skip
    assert many.losses.shape == (4, 12) and len(np.unique(many.losses[:, 0])) == 2
    for one, found in zip(many.trainings, many.fits, strict=True):
        single = twin.impl.fit(x, program, one)
        np.testing.assert_allclose(found.losses, single.losses, rtol=1e-12)
        assert found.state.step == 12
        for part in ("params", "mean", "variance"):
            for parameter, values in getattr(single.state, part).items():
                given = getattr(found.state, part)[parameter]
                size = max(1, np.abs(values).max())
                np.testing.assert_allclose(given, values, rtol=0, atol=1e-12 * size)


def test_fits_go_on_from_their_states_to_the_bit(twin, problem, monkeypatch):
    monkeypatch.setattr("twinplate.training.plan.CHUNK", 7)
    x, program, _ = problem(N)
    given = {"seeds": (0, 7), "learning_rates": (0.01, 0.1)}
    whole, told = twin.impl.fit_many(x, program, config(), **given), []
    with monkeypatch.context() as patched:
        patched.setattr(preparation, "chunks", lambda *args: islice(chunks(*args), 1))
        half = twin.impl.fit_many(x, program, config(), **given)
    states = [fit.state for fit in half.fits]
    assert {state.step for state in states} == {7}
    rest = twin.impl.fit_many(
        x, program, config(), **given, states=states, progress=lambda step, _: told.append(step)
    )
    np.testing.assert_array_equal(np.hstack([half.losses[:, :7], rest.losses]), whole.losses)
    assert told[-1] == 4 * 5 and not rest.diverged.any()
    for one, other in zip(rest.fits, whole.fits, strict=True):
        assert_same_fit(replace(one, losses=other.losses), other)
    for bad, match in (
        (states[:3], "3 states and 4 fits"),
        ([whole.fits[0].state, *states[1:]], "of steps 7 to 12"),
        ([fit.state for fit in whole.fits], "expected more steps"),
    ):
        with pytest.raises(InputError, match=match):
            twin.impl.fit_many(x, program, config(), **given, states=bad)


def test_an_interrupt_keeps_what_all_fits_had_reached(twin, problem, monkeypatch):
    """Of the second of three chunks: side by side in NumPyro; in Pyro of the second of three fits."""
    monkeypatch.setattr("twinplate.training.plan.CHUNK", 5)
    x, program, _ = problem(N)
    whole = twin.impl.fit_many(x, program, config(), seeds=(0, 7, 1))
    told = []

    def ctrl_c(step, losses):
        told.append(step)
        if len(told) == (2 if twin.name == "numpyro" else 5):
            raise KeyboardInterrupt

    with pytest.raises(TrainingInterrupted, match="after step 10") as caught:
        twin.impl.fit_many(x, program, config(), seeds=(0, 7, 1), progress=ctrl_c)
    reached = caught.value.fit
    assert not reached.diverged.any() and "0 diverged" in repr(reached)
    if twin.name == "numpyro":
        assert [fit.state.step for fit in reached.fits] == [10, 10, 10]
        np.testing.assert_array_equal(reached.losses, whole.losses[:, :10])
        states = [fit.state for fit in reached.fits]
        rest = twin.impl.fit_many(x, program, config(), seeds=(0, 7, 1), states=states)
        np.testing.assert_array_equal(rest.losses, whole.losses[:, 10:])
    else:
        assert [fit.state.step for fit in reached.fits] == [12, 10]
        np.testing.assert_array_equal(reached.losses[0], whole.losses[0])
        np.testing.assert_array_equal(reached.losses[1], [*whole.losses[1, :10], np.nan, np.nan])
        assert reached.best == np.argmin([row[np.isfinite(row)].mean() for row in reached.losses])
        state = reached.fits[-1].state
        rest = twin.impl.fit(x, program, reached.trainings[-1], state=state)
        np.testing.assert_array_equal(rest.losses, whole.losses[1, 10:])


def test_pairs_and_progress(twin, problem):
    x, program, _ = problem(N)
    a, told = np.random.default_rng(0).normal(size=(3, N)), []
    many = twin.impl.fit_many(
        x, program, config(objective="pairs"), seeds=(3, 4), a=a,
        progress=lambda step, losses: told.append(step),
    )  # fmt: skip
    single = twin.impl.fit(x, program, config(objective="pairs", seed=4), a=a)
    np.testing.assert_allclose(many.losses[1], single.losses, rtol=1e-12)
    assert told[-1] == 24 and not many.diverged.any()


def test_a_rate_that_diverges_is_counted_and_not_chosen(twin, problem):
    """In double precision Adam survives much; a rate of 1e200 nothing."""
    x, program, _ = problem(N)
    many = twin.impl.fit_many(x, program, config(), seeds=(0, 1), learning_rates=(0.01, 1e200))
    np.testing.assert_array_equal(many.diverged, [False, False, True, True])
    assert many.divergence_rate == 0.5 and many.best < 2
    assert many.best_fit is many.fits[many.best]
    last = many.losses[:2].mean(1)
    np.testing.assert_array_equal(many.last_losses, [*last, np.inf, np.inf])
    assert many.best == np.argmin(last)
    assert repr(many).startswith("Restarts of 4 fits, 2 diverged; best loss ")
    assert many.best_fit.loadings.shape == program.start.loadings.shape
    hopeless = twin.impl.fit_many(x, program, config(learning_rate=1e200), seeds=(0,))
    with pytest.raises(InputError, match="the only fit diverged"):
        _ = hopeless.best


def test_a_fit_that_breaks_ends_before_its_chunk(twin, problem, monkeypatch):
    """The noise of one step of one of three fits is not a number; the twins keep the same of it."""
    monkeypatch.setattr("twinplate.training.plan.CHUNK", 4)

    def poisoned(program, training, *rest):
        for chunk in chunks(program, training, *rest):
            if training.seed == 7 and chunk.first == 4:
                chunk.noise["a_aux"][2] = np.nan
            yield chunk

    x, program, _ = problem(N)
    monkeypatch.setattr("twinplate.training.preparation.chunks", poisoned)
    many = twin.impl.fit_many(x, program, config(), seeds=(0, 7, 1), matched=True)
    np.testing.assert_array_equal(many.diverged, [False, True, False])
    assert [fit.state.step for fit in many.fits] == [12, 4, 12]
    assert [len(fit.losses) for fit in many.fits] == [12, 4, 12]
    assert np.isnan(many.losses[1, 4:]).all() and np.isfinite(many.losses[:, :4]).all()
    assert np.isfinite(many.losses[[0, 2]]).all()
    options = {"compiled": False} if twin.name == "pyro" else {}
    trainer = twin.impl.Trainer(x, program, config(seed=7), matched=True, **options)
    losses = trainer.run(next(chunks(program.config, config(seed=7), N, True)))
    np.testing.assert_allclose(many.losses[1, :4], losses, rtol=1e-12)
    for part in ("params", "mean", "variance"):
        for name, values in getattr(trainer.state, part).items():
            found = getattr(many.fits[1].state, part)[name]
            np.testing.assert_allclose(found, values, rtol=1e-9, atol=1e-12, err_msg=name)


@both_twins("options", [{}, {"guide": "event", "encoder": "experts"}], quick=[{}])
def test_a_fit_that_breaks_at_once_keeps_its_start(twin, problem, options):
    x, program, _ = problem(N, **options)
    many = twin.impl.fit_many(x, program, config(learning_rate=1e200), seeds=(0,))
    start = TrainingState.start(initial_params(program, 0))
    assert many.diverged.all() and many.fits[0].state.step == 0 and np.isnan(many.losses).all()
    for name, values in start.params.items():
        np.testing.assert_array_equal(many.fits[0].params[name], values)


@both_twins("precision", ["float32", "float64"], quick=["float64"])
def test_finite_numbers_that_make_no_distribution_count_as_diverged(twin, problem, precision):
    x, program, _ = problem(N, learned=("noise_scale",))
    training = config(steps=1, learning_rate=1e3, precision=precision)
    assert twin.impl.fit_many(x, program, training, seeds=(0,)).diverged.all()


@pytest.mark.parametrize("error", [InputError("no"), np.linalg.LinAlgError("no")], ids=repr)
def test_a_guide_that_cannot_be_made_counts_as_diverged(problem, error):
    x, program, params = problem(N)

    def fails(*_):
        raise error

    fits = [Fit(TrainingState.start(params), np.full(12, 1e9))]
    assert make_restarts(x, program, (config(),), fits, fails, 0.0, **ENDED).diverged[0]


@pytest.mark.parametrize("function", ["fit", "fit_many"])
def test_data_too_large_for_the_device_are_told_to_stay_on_disk(
    twin, problem, monkeypatch, function
):
    room = twin.module("training.trainer" if twin.name == "pyro" else "training.placement")
    name = "to_tensor" if twin.name == "pyro" else "to_array"
    convert = getattr(room, name)

    def full(values, *rest):
        if np.shape(values) == (N, 4):
            raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8589934592 bytes.")
        return convert(values, *rest)

    monkeypatch.setattr(room, name, full)
    x, program, _ = problem(N)
    more = {"seeds": (0,)} if function == "fit_many" else {}
    with pytest.raises(
        InputError, match=r"all of x, of shape \(12, 4\).*expected data that fit, or a mem"
    ):
        getattr(twin.impl, function)(x, program, config(), **more)


@pytest.mark.parametrize("twin", ["numpyro"], indirect=True)
def test_fits_at_once_share_the_memory(twin, problem, monkeypatch):
    x, program, _ = problem(N)
    training = config(batch_size=8)
    prepared, loop = prepare(x, program, training), twin.module("training.loop")
    most = next(m for m in range(2**20) if items_at_once(program.config, training, m) == 8)
    placement = twin.module("training.placement")
    monkeypatch.setattr(placement, "memory", lambda device: most)
    place = placement.OneDevice(prepared)
    found = [loop.CompiledLoop(prepared, place, fits=r).items_at_once for r in (1, 2, 4)]
    assert found == [8, 4, 2]
    assert loop.CompiledLoop(prepared, place).items_at_once == 8


def test_more_evidence_than_there_is_counts_as_diverged(problem):
    """A loss that reports it, and a guide that is not a distribution."""
    x, program, params = problem(N)
    exact = program.start.posterior(x)
    evidence = program.start.log_evidence(x).mean()
    state = TrainingState.start(params)

    def judged(losses, posterior):
        fits = [Fit(state, np.full(12, losses))]
        return make_restarts(x, program, (config(),), fits, posterior, 0.0, **ENDED).diverged[0]

    right = lambda *_: exact
    assert not judged(-evidence, right) and not judged(-evidence - 0.9, right)
    assert judged(-evidence - 1.1, right) and judged(np.nan, right)
    assert judged(0.0, lambda *_: replace(exact, loc=np.nan * exact.loc))
    broken = TrainingState.start({**params, "encoder.out.bias": np.full(9, np.inf)})
    fits = [Fit(broken, np.zeros(12))]
    assert make_restarts(x, program, (config(),), fits, right, 0.0, **ENDED).diverged[0]


def test_a_fit_is_judged_on_items_that_fit_into_memory(problem, monkeypatch):
    """Every other one of 12, where the limit is 6 matrices of 3 × 3 doubles."""
    x, program, params = problem(N)
    given = []

    def posterior(x, *_):
        given.append(x)
        return program.start.posterior(x)

    def judge():
        fits = [Fit(TrainingState.start(params), np.full(12, 1e9))]
        make_restarts(x, program, (config(),), fits, posterior, 0.0, **ENDED)

    judge()
    monkeypatch.setattr("twinplate.training.restarts.MATRIX_BYTES", 6 * 9 * 8)
    judge()
    np.testing.assert_array_equal(given[0], x)
    np.testing.assert_array_equal(given[1], x[::2])


@pytest.mark.parametrize(("seeds", "rates"), [((), None), ((0,), ())])
def test_no_fit_at_all_is_refused(seeds, rates):
    with pytest.raises(InputError, match="expected one of each or more"):
        restart_configs(config(), seeds, rates)


@pytest.mark.parametrize("given", ["012", 3])
def test_seeds_are_numbers_in_a_tuple(given):
    with pytest.raises(InputError, match=f"seeds is {given!r}; expected numbers in a tuple"):
        restart_configs(TrainingConfig(), given, None)


def test_a_seed_that_is_no_whole_number_is_refused():
    with pytest.raises(InputError, match=r"seed is 0\.5; expected a whole number"):
        restart_configs(config(), (0.5,), None)
    assert [one.seed for one in restart_configs(config(), np.arange(2), None)] == [0, 1]


@pytest.mark.parametrize("twin", ["numpyro"], indirect=True)
def test_all_are_one_compiled_program(twin, problem):
    """Compiled once, whatever their number; a single fit would be another program."""
    x, program, _ = problem(N)
    loop = twin.module("training.restarts").CompiledLoop
    made = []

    class Counted(loop):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            made.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(twin.module("training.restarts"), "CompiledLoop", Counted)
        many = twin.impl.fit_many(x, program, config(), seeds=range(5))
    assert len(made) == 1 and len(made[0]._compiled) == 1
    assert many.compile_seconds == made[0].compile_seconds > 0
