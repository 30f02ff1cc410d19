"""What a `Fit` says of items, seen or new: against closed forms by conditioning, and against both twins."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fit_cases import ALL, PROGRAMS, N, config
from scipy import stats

from twinplate import (
    Fit,
    InputError,
    LinearGaussian,
    ProgramConfig,
    TrainingState,
    load,
    make_program,
)
from twinplate.programs.closed_form import closed_form_params
from twinplate.training.run_directory import save_run, versions
from twinplate.training.run_format import SavedRun

NAN = float("nan")
D, K = 4, 2
NEW = np.array(
    [[0.3, -1.0, 2.0, 0.7], [NAN, 1.5, NAN, -2.0], [1.0, NAN, NAN, NAN], [NAN, NAN, NAN, NAN]]
)


def joint(model):
    """Mean and covariance of (a, x), as x = W a + b + noise says."""
    prior = np.diag(model.scale**2)
    cross = prior @ model.loadings.T
    of_x = model.loadings @ cross + np.diag(model.noise_scale**2)
    mean = np.concatenate([model.loc, model.loadings @ model.loc + model.intercept])
    return mean, np.block([[prior, cross], [cross.T, of_x]])


def conditioned(model, item):
    """Mean and covariance of (a, x), x measured anew, given the observed entries of `item`."""
    mean, covariance = joint(model)
    again = covariance.copy()
    again[K:, K:] -= np.diag(model.noise_scale**2)  # what x anew shares with x
    seen = K + np.flatnonzero(~np.isnan(item))
    gain = again[:, seen] @ np.linalg.inv(covariance[np.ix_(seen, seen)])
    return mean + gain @ (item[seen - K] - mean[seen]), covariance - gain @ again[seen]


@pytest.fixture(scope="module")
def exact():
    """A fit whose guide is the exact posterior, so that conditioning a joint normal says all there is."""
    rng = np.random.default_rng(0)
    positive = [rng.uniform(0.4, 1.5, size) for size in (D, K)]
    numbers = rng.normal(size=(D, K)), rng.normal(size=D), positive[0], rng.normal(size=K)
    model = LinearGaussian(*numbers, positive[1])
    x, _ = model.simulate(50, rng)
    program = make_program(x, ProgramConfig(D, K, encoder="experts", hidden_width=4), model)
    state = TrainingState.start(closed_form_params(program))
    return Fit(state, np.array([5.0, 4.0]), program=program)


def test_posterior_and_prediction_are_those_of_the_joint_normal(exact):
    q, found = exact.posterior(NEW), exact.predict(NEW)
    for values in ("mean", "scale"):  # of the model's posterior, which is the same here
        again = exact.predict(NEW, exact=True)
        np.testing.assert_allclose(getattr(again, values), getattr(found, values), atol=1e-9)
    for n, item in enumerate(NEW):
        mean, covariance = conditioned(exact.generative, item)
        np.testing.assert_allclose(q.loc[n], mean[:K], atol=1e-9)
        np.testing.assert_allclose(q.covariance[n], covariance[:K, :K], atol=1e-9)
        np.testing.assert_allclose(found.mean[n], mean[K:], atol=1e-9)
        np.testing.assert_allclose(found.scale[n] ** 2, np.diag(covariance)[K:], atol=1e-9)
        filled = np.where(np.isnan(item), mean[K:], item)
        np.testing.assert_allclose(found.imputed[n], filled, atol=1e-9)
    low, high = found.interval(0.8)
    np.testing.assert_allclose(low, stats.norm.ppf(0.1, found.mean, found.scale))
    np.testing.assert_allclose(high, stats.norm.ppf(0.9, found.mean, found.scale))
    packed = q.scale_tril[:, [0, 1, 1], [0, 0, 1]]
    np.testing.assert_array_equal(q.scale_tril_packed, packed)


def test_log_evidence_is_that_of_the_marginal(exact):
    mean, covariance = (values[..., K:] for values in joint(exact.generative))
    for item, found in zip(NEW, exact.log_evidence(NEW), strict=True):
        seen = ~np.isnan(item)
        block = covariance[K:][np.ix_(seen, seen)]
        expected = (
            stats.multivariate_normal.logpdf(item[seen], mean[seen], block) if seen.any() else 0
        )
        np.testing.assert_allclose(found, expected, atol=1e-9)


def test_the_elbo_is_the_expected_log_joint_and_the_entropy(problem):
    """Of a guide that is far from the posterior: both are in closed form for a normal."""
    x, program, params = problem(N, missing=0.3, encoder="experts", covariance="low-rank")
    fit = Fit(TrainingState.start(params), np.zeros(0), program=program)
    q, model = fit.posterior(x), fit.generative
    for n, item in enumerate(x):
        loc, covariance, seen = q.loc[n], q.covariance[n], ~np.isnan(item)
        w, noise = model.loadings[seen], model.noise_scale[seen]
        likelihood = stats.norm.logpdf(item[seen], w @ loc + model.intercept[seen], noise)
        likelihood -= np.diag(w @ covariance @ w.T) / (2 * noise**2)
        prior = stats.norm.logpdf(loc, model.loc, model.scale)
        prior -= np.diag(covariance) / (2 * model.scale**2)
        entropy = stats.multivariate_normal.entropy(cov=covariance)
        expected = likelihood.sum() + prior.sum() + entropy
        np.testing.assert_allclose(fit.elbo(x)[n], expected, rtol=1e-9)


def test_draws_have_the_moments_of_the_posterior(exact):
    draws = exact.sample(NEW, 20_000, seed=3)
    assert draws.shape == (20_000, len(NEW), K)
    np.testing.assert_array_equal(draws, exact.sample(NEW, 20_000, seed=3))
    for n, item in enumerate(NEW):
        mean, covariance = conditioned(exact.generative, item)
        loc, spread = mean[:K], covariance[:K, :K]
        near = 5 * np.sqrt(np.diag(spread) / len(draws))
        assert (np.abs(draws[:, n].mean(0) - loc) < near).all()
        np.testing.assert_allclose(
            np.cov(draws[:, n].T), spread, rtol=0.1, atol=0.05 * spread.max()
        )


def test_one_item_no_item_and_what_is_refused(exact):
    assert exact.predict(NEW[:1]).mean.shape == (1, D)
    none = np.zeros((0, D))
    assert exact.posterior(none).scale_tril.shape == (0, K, K)
    assert exact.predict(none).imputed.shape == (0, D)
    assert exact.sample(none, 3).shape == (3, 0, K)
    assert exact.log_evidence(none).shape == exact.elbo(none).shape == (0,)
    for x, words in (
        (NEW[0], r"x\[None\]"),
        (NEW.T[:, :3], r"expected \(batch_size, num_features\)"),
        (np.array([["a"] * D]), "real numbers"),
        (np.full((2, D), np.inf), "8 infinite entries"),
    ):
        for method in (exact.posterior, exact.predict, exact.log_evidence):
            with pytest.raises(InputError, match=words):
                method(x)
    for number in (0, 2.5):
        with pytest.raises(InputError, match=f"num_samples is {number}; expected a whole number"):
            exact.sample(NEW, number)
    for seed in (-1, 0.5):
        with pytest.raises(InputError, match=f"seed is {seed}; expected a whole number, 0 or more"):
            exact.sample(NEW, seed=seed)
    with pytest.raises(InputError, match=r"level is 1\.5"):
        exact.predict(NEW).interval(1.5)


@pytest.mark.parametrize("case", [*PROGRAMS, "experts, low-rank", "experts, diagonal"])
def test_the_posterior_is_that_of_both_twins(twin, problem, case):
    """Every number random, and the width of the posterior known or not."""
    settings = PROGRAMS.get(case, {"encoder": "experts", "covariance": case.split()[-1]})
    missing = 0.3 if settings.get("encoder") == "experts" else 0.0
    x, program, params = problem(N, missing=missing, **settings)
    x[0] = NAN  # the prior, whatever the encoder
    for known in (program, replace(program, width=None)):
        expected = twin.impl.posterior(x, known, params)
        found = Fit(TrainingState.start(params), np.zeros(0), program=known).posterior(x)
        np.testing.assert_allclose(found.loc, expected.loc, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(found.covariance, expected.covariance, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_a_guide_that_never_met_a_missing_entry_says_so(twin, problem, missing):
    """And one that did, with either encoder, does not; nor is an item without any entry one."""
    x, program, _ = problem(N, missing=missing, encoder="mlp")
    fit = twin.impl.fit(x, program, config())
    holes = x.copy()
    holes[3] = NAN
    holes[5] = [1.0, NAN, 2.0, NAN]
    assert np.isfinite(fit.posterior(np.where(np.isnan(x), 0.0, x)).loc).all()
    if missing:
        assert np.isfinite(fit.predict(holes).mean).all()
        return
    fit.posterior(holes[:4])
    assert np.isfinite(fit.predict(holes, exact=True).mean).all()
    for method in (fit.posterior, fit.sample, fit.predict):
        with pytest.raises(InputError, match="2 entries of x are missing"):
            method(holes)
    assert np.isfinite(fit.log_evidence(holes)).all()  # the model alone


def test_an_amplitude_has_posterior_and_evidence_and_no_other_closed_forms(problem):
    """Without any spread it is the model of an amplitude of 1."""
    x, program, params = problem(N, missing=0.2, encoder="experts", amplitude_scale=1e-8)
    fit = Fit(TrainingState.start(params), np.zeros(0), program=program)
    assert fit.sample(x, 2).shape == (2, N, 3)
    np.testing.assert_allclose(fit.log_evidence(x), fit.generative.log_evidence(x), rtol=1e-6)
    for method in (fit.predict, fit.elbo):
        with pytest.raises(InputError, match="amplitude"):
            method(x)


def test_a_run_directory_gives_the_same(twin, problem, tmp_path):
    x, program, _ = problem(N, missing=0.2, encoder="experts", learned=ALL)
    fit = twin.impl.fit(x, program, config())
    state, names = fit.state, ["a", "b", "<c>", "d/e"]
    saved = SavedRun(
        {"program": program.config.as_dict()},
        {"columns": names},
        versions(),
        fit.params,
        state.params,
        state.mean,
        state.variance,
        program.fixed,
        fit.losses,
        state.step,
        state.limits.as_dict(),
    )
    save_run(tmp_path / "run", saved)
    again = load(tmp_path / "run")
    np.testing.assert_array_equal(again.predict(x).mean, fit.predict(x).mean)
    np.testing.assert_array_equal(again.sample(x, 3), fit.sample(x, 3))
    np.testing.assert_array_equal(again.log_evidence(x), fit.log_evidence(x))
    assert again.features == tuple(names) and again.state.limits == state.limits
    longer = config(steps=8)
    on = [twin.impl.fit(x, program, longer, state=start.state).losses for start in (fit, again)]
    np.testing.assert_array_equal(*on)
    assert "&lt;c&gt;" in again._repr_html_() and "<c>" not in again._repr_html_()
    assert len(again._repr_html_()) < 2000
    places = {"columns": [f"column {j}" for j in range(1, 5)], "named": False}
    save_run(tmp_path / "bare", replace(saved, data=places))
    assert load(tmp_path / "bare").features == ()  # so that a frame is taken by place


def test_the_summary_shares_out_the_variance(exact):
    """Of every feature the components and the noise have all; the correlations are those of the joint."""
    model, summary = exact.generative, exact.summary()
    total = np.diag(joint(model)[1])[K:]
    shares = [c.share for c in summary.components]
    expected = np.mean((model.loadings * model.scale) ** 2 / total[:, None], axis=0)
    np.testing.assert_allclose(shares, expected)
    assert sum(shares) + summary.noise_share == pytest.approx(1)
    name, value = summary.components[0].features[0]
    d = int(name.removeprefix("column ")) - 1
    assert value == pytest.approx(model.loadings[d, 0] * model.scale[0] / total[d] ** 0.5)
    assert summary.as_dict()["first_loss"] == 5.0
    continued = replace(exact, state=replace(exact.state, step=len(exact.losses) + 7))
    assert continued.summary().as_dict()["first_loss"] is None  # another fit had it
    assert "at step 7, " in repr(continued)
    assert str(summary).splitlines()[0] == "features: 4"
