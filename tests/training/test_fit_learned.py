"""What training learns: what moves, what stays, how close it comes."""

from __future__ import annotations

import numpy as np
import pytest
from fit_cases import ALL, N, config, linear_gaussian

from twinplate import (
    Fit,
    InputError,
    LinearGaussian,
    ProgramConfig,
    TrainingState,
    initial_params,
    make_program,
)
from twinplate.programs.parameters import generative_of
from twinplate.programs.start import NOISE_FLOOR
from twinplate.training.plan import chunks


@pytest.mark.parametrize("learned", [(), ("loadings", "noise_scale"), ("intercept",)])
def test_what_is_learned_moves_and_what_is_fixed_stays(twin, problem, learned):
    x, program, _ = problem(N, learned=learned)
    first = initial_params(program, 0)
    done = twin.impl.fit(x, program, config(steps=30))
    assert {f"raw_{n}" for n in learned} == {n for n in done.params if n.startswith("raw_")}
    for name, values in done.params.items():
        assert not np.array_equal(values, first[name]), name
    after, before = generative_of(program, done.params), program.start
    for name in ALL:
        assert np.array_equal(getattr(after, name), getattr(before, name)) == (name not in learned)


def test_a_fit_has_what_it_learned_in_the_units_of_the_data(twin):
    """By default all is learned. The maximum of the likelihood has the data's mean and variances."""
    units, origin = np.array([1e-3, 1.0, 50.0, 1e4]), np.array([1.0, -2.0, 0.0, 1e5])
    truth = LinearGaussian([[1.0], [-1.0], [2.0], [0.5]], noise_scale=[0.2, 1.0, 2.0, 0.3])
    x = truth.simulate(256, np.random.default_rng(0))[0] * units + origin
    program = make_program(x, ProgramConfig(4, 1, hidden_width=16))
    assert program.learned == ALL
    done = twin.impl.fit(x, program, config(steps=400, batch_size=64, learning_rate=0.02))
    # it starts at the maximum, and stays there
    assert done.generative.log_evidence(x).mean() > program.start.log_evidence(x).mean() - 0.01
    assert np.abs((done.intercept - x.mean(0)) / x.std(0)).max() < 0.1
    variances = np.square(done.loadings).sum(1) + np.square(done.noise_scale)
    np.testing.assert_allclose(variances, x.var(0), rtol=0.15)
    assert done.loadings.shape == (4, 1)
    lines = repr(done).splitlines()
    assert lines[0].startswith("Fit of 400 steps: loss ") and len(lines) < 5
    assert "learned: loadings, intercept, noise_scale" in lines[1]


def test_what_is_given_is_not_learned_unless_said():
    x, given = linear_gaussian()[0], linear_gaussian()[1].start
    assert make_program(x, ProgramConfig(4, 2), given).learned == ()
    assert make_program(x, ProgramConfig(4, 2, learned=()), None).learned == ()
    some = ProgramConfig(4, 2, learned=("intercept",))
    assert make_program(x, some, given).learned == ("intercept",)
    with pytest.raises(InputError, match="does not say of which program"):
        print(Fit(TrainingState.start({}), np.zeros(0)).loadings)


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
    gap = program.start.kl_to_posterior(x, twin.impl.posterior(x, program, done.params))
    assert gap.min() >= 0 and gap.mean() < 0.02


def test_halfway_the_average_is_far_closer_than_the_last_parameters(twin):
    """While the learning rate is large the parameters move about the optimum, and their average does not."""
    x, program = linear_gaussian()
    training = config(steps=800, batch_size=64, learning_rate=0.02)
    trainer = twin.module("training.trainer").Trainer(
        x, program, training, **({"compiled": False} if twin.name == "pyro" else {})
    )
    gaps = []
    for chunk in chunks(program.config, training, len(x), matched=False):
        trainer.run(chunk)
        state = trainer.state
        gaps.append(
            [
                program.start.kl_to_posterior(x, twin.impl.posterior(x, program, p)).mean()
                for p in (state.average, state.params)
            ]
        )
    average, last = np.transpose(gaps)
    assert average[3] < 0.3 * last[3]  # of eight chunks
    assert average[-1] < last[-1]
