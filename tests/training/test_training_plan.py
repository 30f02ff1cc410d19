"""What both twins are told to do at each step: every step once, whatever the chunks."""

import numpy as np
import pytest

from twinplate.errors import InputError
from twinplate.programs.config import ProgramConfig, TrainingConfig
from twinplate.programs.parameters import noise_shapes, prior_noise_shapes
from twinplate.seeds import base_noise
from twinplate.training.checks import check_pairs
from twinplate.training.plan import CHUNK, Chunk, average_weight, chunks, cosine
from twinplate.training.state import Fit, TrainingState

PROGRAM = ProgramConfig(5, 3, "event", covariance="low-rank", rank=2, amplitude_scale=0.5)


def plan(steps: int, first: int = 0, matched: bool = True, **training) -> list[Chunk]:
    values = {"batch_size": 4, "seed": 3, "learning_rate": 0.02, **training}
    return list(chunks(PROGRAM, TrainingConfig(steps=steps, **values), 10, matched, first))


def noise_numbers(objective: str) -> int:
    """Of one particle of a step."""
    shapes = (noise_shapes if objective == "elbo" else prior_noise_shapes)(PROGRAM, 4)
    return sum(int(np.prod(shape)) for shape in shapes.values())


def joined(parts: list[Chunk]) -> dict[str, np.ndarray]:
    """All steps of a plan in a row."""
    noise = {n: np.concatenate([part.noise[n] for part in parts]) for n in parts[0].noise}
    indices, rates = ([getattr(p, name) for p in parts] for name in ("indices", "rates"))
    return noise | {"indices": np.concatenate(indices), "rates": np.concatenate(rates)}


def test_cosine_from_the_first_rate_to_zero():
    assert cosine(0.3, 0, 100) == 0.3
    assert cosine(0.3, 50, 100) == pytest.approx(0.15, rel=1e-15)
    assert cosine(0.3, 100, 100) == 0
    assert cosine(0.3, 25, 100) == pytest.approx(0.15 * (1 + 0.5**0.5), rel=1e-15)
    rates = cosine(0.3, np.arange(100), 100)
    assert rates.shape == (100,)
    assert np.all(np.diff(rates) < 0) and 0 < rates[-1] < 0.001 * 0.3
    np.testing.assert_allclose(rates[1:] + rates[:0:-1], 0.3, rtol=1e-14)


@pytest.mark.parametrize("steps", [1, 99, 100, 101, 200, 250])
@pytest.mark.parametrize("first", [0, 1, 100, 150, 249])
def test_every_step_once(steps, first):
    parts = plan(steps, first)
    covered = [part.first + i for part in parts for i in range(len(part.rates))]
    assert covered == list(range(first, steps))
    for part in parts:
        assert 1 <= len(part.rates) <= CHUNK
        assert part.indices.shape == (len(part.rates), 4)


def test_batches_and_rates_are_those_of_their_steps():
    steps = joined(plan(250))
    np.testing.assert_array_equal(steps["rates"], cosine(0.02, np.arange(250), 250))
    # 250 batches of 4 are 100 epochs of 10
    epochs = steps["indices"].reshape(100, 10)
    np.testing.assert_array_equal(np.sort(epochs), np.tile(np.arange(10), (100, 1)))
    assert len({tuple(epoch) for epoch in epochs}) == 100
    assert not np.array_equal(steps["indices"], joined(plan(250, seed=4))["indices"])


@pytest.mark.parametrize("first", [1, 99, 100, 170, 249])
def test_going_on_gives_the_tail(first):
    whole, tail = joined(plan(250)), joined(plan(250, first))
    assert whole.keys() == tail.keys() == {"indices", "rates", "a", "amplitude"}
    for name in whole:
        np.testing.assert_array_equal(tail[name], whole[name][first:])


@pytest.mark.parametrize(
    ("steps", "landing"), [(1, 1), (130, 130), (200, 200), (201, 200), (250, 200), (300, 240)]
)
@pytest.mark.parametrize("first", [0, 50, 200, 230])
def test_sticking_the_landing_begins_after_four_fifths(steps, landing, first):
    """Never in the first 200 steps, and no chunk has two estimators."""
    parts = plan(steps, first, estimator="sticking-the-landing")
    estimators = [part.estimator for part in parts for _ in part.rates]
    wanted = ["base-noise"] * landing + ["sticking-the-landing"] * (steps - landing)
    assert estimators == wanted[first:]
    whole, usual = (
        joined(plan(steps, estimator=e)) if steps > first else {}
        for e in ("sticking-the-landing", "base-noise")
    )
    for name in whole:
        np.testing.assert_array_equal(whole[name], usual[name])


@pytest.mark.parametrize("estimator", ["base-noise", "analytic-kl"])
def test_other_estimators_are_those_of_all_steps(estimator):
    assert {part.estimator for part in plan(250, estimator=estimator)} == {estimator}


def test_nothing_is_left_after_the_last_step():
    assert plan(250, first=250) == []


@pytest.mark.parametrize(
    ("objective", "particles", "shapes"),
    [
        ("elbo", 1, noise_shapes(PROGRAM, 4)),
        ("elbo", 3, noise_shapes(PROGRAM, 4)),
        ("simulated", 1, prior_noise_shapes(PROGRAM, 4)),
        ("pairs", 1, {}),
    ],
)
def test_matched_noise(objective, particles, shapes):
    """The guide's noise for the ELBO, the model's for simulated pairs, none for given pairs."""
    for part in plan(120, objective=objective, particles=particles):
        assert part.noise.keys() == shapes.keys()
        for name, shape in shapes.items():
            assert part.noise[name].shape == (len(part.rates), particles, *shape)
        for i in range(len(part.rates)):
            for name, expected in base_noise(3, part.first + i, shapes, particles).items():
                np.testing.assert_array_equal(part.noise[name][i], expected)


@pytest.mark.parametrize(
    ("training", "numbers"),
    [
        ({}, 4 * 5 + noise_numbers("elbo")),
        ({"particles": 3}, 4 * 5 + 3 * noise_numbers("elbo")),
        ({"objective": "simulated"}, 4 * 5 + noise_numbers("simulated")),
        ({"objective": "pairs"}, 4 * 5),
    ],
)
def test_matched_noise_makes_for_shorter_chunks(monkeypatch, training, numbers):
    """As many steps as the bytes of batches and noise allow, and every step as in chunks of 100."""
    long = joined(plan(120, **training))
    monkeypatch.setattr("twinplate.training.plan.CHUNK_BYTES", 8 * numbers * 30)
    parts = plan(120, **training)
    assert [len(part.rates) for part in parts] == [30] * 4
    for part in parts:
        bytes_of_noise = sum(values.nbytes for values in part.noise.values())
        assert bytes_of_noise == 8 * (numbers - 20) * 30
    short = joined(parts)
    assert short.keys() == long.keys()
    for name in long:
        np.testing.assert_array_equal(short[name], long[name])
    own = plan(120, matched=False, **training)
    assert len(next(iter(own)).rates) == min(30 * numbers // 20, 100)
    monkeypatch.setattr("twinplate.training.plan.CHUNK_BYTES", 1)
    assert len(plan(120, **training)) == 120


@pytest.mark.parametrize("objective", ["elbo", "simulated", "pairs"])
def test_without_matching_the_frameworks_draw_their_own(objective):
    matched, own = (plan(120, matched=m, objective=objective) for m in (True, False))
    assert all(part.noise == {} for part in own)
    for name in ("indices", "rates"):
        np.testing.assert_array_equal(joined(own)[name], joined(matched)[name])


def test_a_start_has_moments_of_zero():
    params = {"w": np.array([[1.0, 2.0]]), "s": np.array(3.0)}
    state = TrainingState.start(params)
    assert state.params is params and state.step == 0
    for moments in (state.mean, state.variance):
        assert moments.keys() == params.keys()
        assert all(moments[n].shape == v.shape and not moments[n].any() for n, v in params.items())
    state.mean["w"][...] = 1
    assert not state.variance["w"].any() and params["w"].tolist() == [[1, 2]]
    state.average["w"][...] += 1
    assert params["w"].tolist() == [[1, 2]]
    assert Fit(state, np.zeros(0)).params is state.average


@pytest.mark.parametrize("taken", [1, 2, 3, 40])
def test_the_average_weighs_later_parameters_more(taken):
    """Of the i-th of n parameters: i (i + 1) (i + 2) (i + 3), brought to a sum of one (Shamir and Zhang)."""
    steps = np.arange(1, 5 * taken)
    weights = np.zeros(len(steps))
    for step in steps:
        weight = average_weight(step)
        weights *= 1 - weight
        weights[step - 1] += weight
    i = np.arange(1.0, taken + 1)
    expected = i * (i + 1) * (i + 2) * (i + 3)
    np.testing.assert_allclose(weights[::5], expected / expected.sum(), rtol=1e-12)
    assert np.count_nonzero(weights) == taken


@pytest.mark.parametrize("objective", ["elbo", "simulated"])
def test_pairs_belong_to_their_objective(objective):
    check_pairs(None, objective, 3, 10)
    with pytest.raises(InputError, match="expected objective 'pairs'") as caught:
        check_pairs(np.ones((3, 10)), objective, 3, 10)
    assert repr(objective) in str(caught.value)


def test_pairs_are_plated():
    check_pairs(np.ones((3, 10)), "pairs", 3, 10)
    check_pairs([[1.0, 2.0]], "pairs", 1, 2)
    for a, given in ((None, "nothing"), (np.ones((10, 3)), "(10, 3)"), (np.ones(30), "(30,)")):
        with pytest.raises(InputError) as caught:
            check_pairs(a, "pairs", 3, 10)
        message = str(caught.value)
        assert given in message and "(num_components, num_items) = (3, 10)" in message
