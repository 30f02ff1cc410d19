"""The estimators of the ELBO, in value and gradient, against SciPy and exact posteriors."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import scipy.stats
from twins import both_twins

from twinplate import InputError, LinearGaussian, ProgramConfig, TrainingConfig, make_program
from twinplate.programs.closed_form import closed_form_params
from twinplate.programs.config import ESTIMATORS
from twinplate.programs.parameters import noise_shapes
from twinplate.seeds import base_noise

ALL = ("loadings", "intercept", "noise_scale")
PROGRAMS = {
    "diagonal": {"guide": "diagonal", "learned": ALL},
    "event full": {"guide": "event"},
    "event full, experts": {"guide": "event", "encoder": "experts"},
    "auxiliary full, amplitude": {"guide": "auxiliary", "amplitude_scale": 0.3},
    "auxiliary diagonal": {"guide": "auxiliary", "covariance": "diagonal"},
    "auxiliary low-rank, amplitude": {
        "guide": "auxiliary",
        "covariance": "low-rank",
        "amplitude_scale": 0.3,
    },
}
B, N = 4, 10


def config(estimator, **changes):
    return TrainingConfig(precision="float64", device="cpu", estimator=estimator, **changes)


def evaluated(twin, program, params, x, estimator, particles=1, vectorize=True):
    noise = base_noise(0, 0, noise_shapes(program.config, len(x)), particles)
    training = config(estimator, particles=particles, vectorize_particles=vectorize)
    return twin.impl.evaluate(x, program, params, noise, training, num_items=N)


def log_q(twin, program, params, x, guide):
    """log q of one draw: SciPy's densities at the guide's values, with the parameters' own encoding."""
    q = twin.impl.posterior(x, program, params)
    a = guide["a_aux" if "a_aux" in guide else "a"].value[0]
    a = a.T if program.config.guide == "diagonal" else a
    rows = zip(a, q.loc, q.covariance, strict=True)
    total = sum(scipy.stats.multivariate_normal.logpdf(*row) for row in rows)
    if "amplitude" in guide:
        encoded = twin.encode(program, params, x)
        scale = np.exp(encoded["amplitude_loc"])
        amplitude = scipy.stats.lognorm(encoded["amplitude_scale"], scale=scale)
        total += amplitude.logpdf(guide["amplitude"].value[0]).sum()
    return total


def slope(function, params, name, direction, h=1e-5):
    """Derivative along `direction` of parameter `name`, by central differences."""
    moved = [function({**params, name: params[name] + s * h * direction}) for s in (1, -1)]
    return (moved[0] - moved[1]) / (2 * h)


@both_twins("name", PROGRAMS, quick=["diagonal", "auxiliary full, amplitude"])
def test_sticking_the_landing_leaves_out_exactly_the_score(twin, problem, name):
    """The same loss; the gradients differ by that of log q at the draw held fixed."""
    x, program, params = problem(B, missing=0.2, **PROGRAMS[name])
    plain, sticking = (
        evaluated(twin, program, params, x, estimator) for estimator in ESTIMATORS[::2]
    )
    assert sticking.loss == pytest.approx(plain.loss, rel=1e-13)
    density = lambda moved: N / B * log_q(twin, program, moved, x, plain.guide)
    rng = np.random.default_rng(1)
    for parameter in ("encoder.out.bias", "encoder.out.weight", "encoder.hidden1.weight"):
        direction = rng.normal(size=params[parameter].shape)
        difference = plain.gradient[parameter] - sticking.gradient[parameter]
        score = slope(density, params, parameter, direction)
        assert (difference * direction).sum() == pytest.approx(score, rel=1e-5, abs=1e-5), parameter
    for parameter in params:
        if parameter.startswith("raw_"):
            np.testing.assert_array_equal(plain.gradient[parameter], sticking.gradient[parameter])


@pytest.mark.parametrize("guide", ["event", "auxiliary"])
def test_at_the_exact_posterior_sticking_the_landing_has_no_variance(twin, guide):
    """Its gradient is zero for every draw; that of the base noise is not."""
    rng = np.random.default_rng(0)
    generative = LinearGaussian(rng.normal(size=(5, 3)), rng.normal(size=5), rng.uniform(0.4, 1, 5))
    x, _ = generative.simulate(B, rng)
    program = make_program(x, ProgramConfig(5, 3, guide=guide, hidden_width=4), generative)
    params = closed_form_params(program)
    gradients = [
        np.concatenate(
            [g.ravel() for g in evaluated(twin, program, params, x, e).gradient.values()]
        )
        for e in ESTIMATORS[::2]
    ]
    assert np.abs(gradients[0]).max() > 1
    assert np.abs(gradients[1]).max() < 1e-11


def divergence(q, program):
    """KL(q ‖ p) of every item, from means, covariances and determinants."""
    prior = program.start
    precision = np.diag(prior.scale**-2.0)
    shift = q.loc - prior.loc
    trace = np.einsum("ij,nji->n", precision, q.covariance)
    mahalanobis = np.einsum("ni,ij,nj->n", shift, precision, shift)
    log_det = 2 * np.log(prior.scale).sum() - np.linalg.slogdet(q.covariance)[1]
    return 0.5 * (trace + mahalanobis - len(prior.loc) + log_det)


PARTICLES = [(1, True), (3, True), (3, False)]  # how many, and whether they are vectorised


@both_twins(
    "name, particles, vectorize",
    [(name, *particles) for name in PROGRAMS for particles in PARTICLES],
    quick=[  # without and with sites that are sampled
        *(("event full, experts", 1, True), ("auxiliary full, amplitude", 1, True)),
        *(("diagonal", 3, True), ("auxiliary low-rank, amplitude", 3, False)),
    ],
)
def test_the_analytic_loss_is_the_divergence_less_the_likelihood(
    twin, problem, name, particles, vectorize
):
    """An amplitude is still sampled."""
    x, program, params = problem(B, missing=0.2, **PROGRAMS[name])
    found = evaluated(twin, program, params, x, "analytic-kl", particles, vectorize)
    expected = N / B * divergence(twin.impl.posterior(x, program, params), program).sum()
    expected -= found.model["x"].total.mean()
    if "amplitude" in found.guide:
        expected += (found.guide["amplitude"].total - found.model["amplitude"].total).mean()
    assert found.loss == pytest.approx(expected, rel=1e-12)


@both_twins("name", PROGRAMS, quick=["diagonal", "auxiliary full, amplitude"])
def test_the_analytic_gradient_is_the_slope_of_that_loss(twin, problem, name):
    x, program, params = problem(B, missing=0.2, **PROGRAMS[name])
    found = evaluated(twin, program, params, x, "analytic-kl")
    rng = np.random.default_rng(1)

    def loss(moved):
        other = evaluated(twin, program, moved, x, "base-noise")
        q = twin.impl.posterior(x, program, moved)
        total = N / B * divergence(q, program).sum() - other.model["x"].total[0]
        if "amplitude" in other.guide:
            total += (other.guide["amplitude"].total - other.model["amplitude"].total)[0]
        return total

    direction = rng.normal(size=params["encoder.out.bias"].shape)
    wanted = slope(loss, params, "encoder.out.bias", direction)
    assert (found.gradient["encoder.out.bias"] * direction).sum() == pytest.approx(wanted, rel=1e-6)


@both_twins(
    "name, estimator",
    product(["diagonal", "auxiliary low-rank, amplitude"], ESTIMATORS),
    quick=[
        *(("diagonal", "base-noise"), ("diagonal", "sticking-the-landing")),
        ("auxiliary low-rank, amplitude", "analytic-kl"),
    ],
)
def test_particles_in_one_batch_or_one_after_the_other(twin, problem, name, estimator):
    x, program, params = problem(B, missing=0.2, **PROGRAMS[name])
    found = [evaluated(twin, program, params, x, estimator, 3, v) for v in (True, False)]
    assert found[0].loss == pytest.approx(found[1].loss, rel=1e-12)
    for parameter, gradient in found[0].gradient.items():
        np.testing.assert_allclose(gradient, found[1].gradient[parameter], rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_an_observed_a_is_scored_the_same_by_all(twin, problem, estimator):
    x, program, params = problem(B, guide="event")
    a = np.random.default_rng(0).normal(size=(3, B))
    plain, other = (
        twin.impl.evaluate(x, program, params, {}, config(name), a=a, num_items=N)
        for name in ("base-noise", estimator)
    )
    assert other.loss == pytest.approx(plain.loss, rel=1e-13)
    for parameter, gradient in plain.gradient.items():
        np.testing.assert_allclose(other.gradient[parameter], gradient, rtol=1e-12, atol=1e-12)


def test_training_changes_to_sticking_the_landing_for_the_last_fifth(twin, problem, monkeypatch):
    """Until then it is the base-noise run to the bit."""
    monkeypatch.setattr("twinplate.training.plan.WARM", 0)
    x, program, _ = problem(N)
    training = config("base-noise", steps=20, batch_size=4)
    plain, sticking = (
        twin.impl.fit(x, program, replace(training, estimator=estimator), matched=True)
        for estimator in ESTIMATORS[::2]
    )
    np.testing.assert_array_equal(plain.losses[:16], sticking.losses[:16])
    assert plain.losses[16] == pytest.approx(sticking.losses[16], rel=1e-12)  # not yet felt
    assert (np.abs(plain.losses[17:] - sticking.losses[17:]) > 1e-9).all()


def test_what_has_no_elbo_has_no_estimator():
    with pytest.raises(InputError, match="estimator is 'analytic-kl' with objective 'simulated'"):
        TrainingConfig(objective="simulated", estimator="analytic-kl")
    with pytest.raises(InputError, match="estimator is 'exact'; expected 'base-noise' or"):
        TrainingConfig(estimator="exact")
