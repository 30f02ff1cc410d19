"""The figures of a report, against SciPy, closed forms and data drawn from the model."""

from __future__ import annotations

import numpy as np
import pytest
from reported_runs import MODEL, B, D, K, N, data, noisier, reported, write_data, write_run
from scipy import stats

from twinplate import LinearGaussian, TrainingConfig
from twinplate.reporting.agreement import agreements
from twinplate.reporting.calibration import hide
from twinplate.reporting.gaps import GOOD, POOR, equivalent_shift, tone_of
from twinplate.reporting.latents import SHOWN_ITEMS
from twinplate.reporting.losses import Course, fall, missed_by_step, trend
from twinplate.reporting.runs import SAMPLED, read_report, sample

pytestmark = pytest.mark.usefixtures("own_folder")


def log_evidence(x: np.ndarray) -> np.ndarray:
    covariance = MODEL.loadings @ MODEL.loadings.T + np.diag(MODEL.noise_scale**2)
    found = []
    for item in x:
        seen = ~np.isnan(item)
        mean, part = MODEL.intercept[seen], covariance[np.ix_(seen, seen)]
        known = seen.any()
        found.append(stats.multivariate_normal(mean, part).logpdf(item[seen]) if known else 0.0)
    return np.array(found)


@pytest.mark.parametrize("guide", ["auxiliary", "diagonal"])
def test_gaps_are_the_closed_forms(guide: str) -> None:
    x = data()
    x[3] = np.nan
    write_run("run", table := write_data("x.csv", x), guide=guide)
    gaps = reported("run", table).gaps
    np.testing.assert_allclose(gaps.evidence, log_evidence(x), rtol=1e-9)
    whitened = MODEL.loadings / MODEL.noise_scale[:, None]
    precision = np.array([np.eye(K) + (whitened[s].T @ whitened[s]) for s in ~np.isnan(x)])
    diagonal = np.log(np.diagonal(precision, axis1=1, axis2=2)).sum(1)
    best = 0.5 * (diagonal - np.linalg.slogdet(precision)[1]) * (guide == "diagonal")
    np.testing.assert_allclose(gaps.family, best, atol=1e-9)
    np.testing.assert_allclose(gaps.missed, best, atol=1e-6)  # the guide is the best of its family
    assert gaps.amortisation_gap == pytest.approx(0, abs=1e-6)


def test_a_gap_is_good_by_the_shift_that_it_amounts_to() -> None:
    """KL of N(s, 1) from N(0, 1) is s² / 2 in each component: by quadrature."""
    z = np.linspace(-12, 12, 20_001)
    one, other = stats.norm(0.2, 1), stats.norm(0, 1)
    divergence = 3 * np.trapezoid(one.pdf(z) * (one.logpdf(z) - other.logpdf(z)), z)
    assert equivalent_shift(divergence, 3) == pytest.approx(0.2, rel=1e-6)
    shifts = (0.9 * GOOD, 1.1 * GOOD, 0.9 * POOR, 1.1 * POOR)
    tones = [tone_of(3 * s**2 / 2, 3) for s in shifts]
    assert tones == ["same", "undecided", "undecided", "difference"]


def test_a_step_is_held_against_its_own_items() -> None:
    evidence = np.random.default_rng(0).normal(size=N)
    epoch = N // B
    missed = missed_by_step(np.zeros(26 * epoch), evidence, TrainingConfig(steps=9, batch_size=B))
    by_epoch = missed.reshape(26, epoch).mean(1)  # in which every item comes once
    np.testing.assert_allclose(by_epoch, evidence.mean())
    assert np.ptp(missed) > 0.1
    write_run("run", table := write_data("x.csv", data()), losses=np.arange(80.0))
    run = reported("run", table)
    assert run.own_data and run.missed.mean() == pytest.approx(39.5 + log_evidence(table.x).mean())
    assert reported("run", write_data("new.csv", data(seed=1))).missed is None


def test_a_course_is_means_of_neighbouring_steps() -> None:
    course = Course.of(np.arange(100.0), first=50, points=10)
    np.testing.assert_allclose(course.steps, np.arange(55.5, 150, 10))
    np.testing.assert_allclose(course.mean, np.arange(4.5, 100, 10))
    assert (course.low < course.mean).all() and (course.mean < course.high).all()
    broken = Course.of(np.array([1.0, np.nan, np.inf, 3.0]), points=4)
    np.testing.assert_array_equal(broken.mean, [1, 3])
    assert len(Course.of(np.array([np.nan])).mean) == 0


def test_a_loss_has_settled_once_it_goes_up_and_down_by_chance_only() -> None:
    noise = 0.1 * np.random.default_rng(0).normal(size=1000)
    falling = np.linspace(5, 0, 1000)
    assert fall(falling)[0] == pytest.approx(0.5, rel=0.01)
    u_turn = 3 * np.linspace(-1, 1, 1000) ** 2
    slow = np.append(falling[:500], np.linspace(2.5, 2.6, 500))  # its last tenths are within chance
    for values, expected in (
        (noise, "settled"),
        (falling + noise, "falls"),
        (5 - falling + noise, "rises"),
        (u_turn + noise, "rises"),
        (slow + noise, "rises"),
        (50 * noise, "cannot tell"),
        (falling[:19], "cannot tell"),
        (np.full(20, 3.0), "settled"),
        (np.full(30, np.nan), "cannot tell"),
    ):
        assert trend(values) == expected
    assert (
        sum(trend(np.random.default_rng(n).normal(size=3000)) == "settled" for n in range(100)) > 97
    )


@pytest.mark.parametrize(
    ("factor", "verdict"), [(1.0, "calibrated"), (0.6, "too sure"), (1.7, "not sure enough")]
)
def test_coverage_says_whether_a_model_is_calibrated(factor: float, verdict: str) -> None:
    write_run("run", table := write_data("x.csv", data(num_items=1500)), noisier(factor))
    found = reported("run", table).calibration
    assert (found.verdict, found.by) == (verdict, "guide")
    if factor == 1:
        for level in (0.5, 0.9):
            share, error = found.coverage(level)
            binomial = np.sqrt(level * (1 - level) / len(found.z))
            assert abs(share - level) < 4 * error and error == pytest.approx(binomial, rel=0.2)
        assert stats.kstest(found.z, "norm").pvalue > 1e-3


def test_entries_are_hidden_among_those_that_are_there() -> None:
    x = np.where(np.random.default_rng(0).random((200, 30)) < 0.3, np.nan, 1.0)
    x[0], x[1] = np.nan, 1.0
    hidden = hide(x, 0)
    assert not (hidden & np.isnan(x)).any()
    np.testing.assert_array_equal(hidden.sum(1), np.ceil(0.1 * (~np.isnan(x)).sum(1)))
    assert hidden.any(axis=0).all()


def test_frameworks_agree_where_their_runs_do() -> None:
    table = write_data("x.csv", data())
    write_run("one", table, backend="pyro")
    write_run("two", table, backend="numpyro")
    write_run("three", table, noisier(1.5), backend="numpyro")
    write_run("four", table, backend="numpyro", hidden_width=4)
    found = agreements([reported(name, table) for name in ("one", "two", "three", "four")])
    assert [(f.first, f.second, f.ok) for f in found] == [
        ("one", "two", True),
        ("one", "three", False),
    ]
    assert found[0].evidence == found[0].covariance == found[0].predictions == 0
    blind = agreements([reported(name, None) for name in ("one", "two")])
    assert blind[0].ok and blind[0].evidence is None


def test_correlations_and_intervals_are_those_of_the_posterior() -> None:
    x = data()
    write_run("run", table := write_data("x.csv", x))
    run = reported("run", table)
    assert run.correlations.largest < 1e-6 and run.correlations.items == N
    n = int(run.correlations.item.removeprefix("item-"))
    whitened = (MODEL.loadings / MODEL.noise_scale[:, None])[~np.isnan(x[n])]
    covariance = np.linalg.inv(np.eye(K) + whitened.T @ whitened)
    sd = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose(run.correlations.exact, covariance / np.outer(sd, sd), atol=1e-9)
    total = (MODEL.loadings**2).sum(1) + MODEL.noise_scale**2
    k = int(np.argmax((MODEL.loadings**2 / total[:, None]).mean(0)))  # which explains most
    assert run.intervals.component == k
    low, middle, high = run.intervals.exact
    assert (np.diff(middle) > 0).all() and len(run.intervals.names) == 12
    for place, name in enumerate(run.intervals.names):
        item = x[int(name.removeprefix("item-"))]
        seen = ~np.isnan(item)
        part = (MODEL.loadings / MODEL.noise_scale[:, None])[seen]
        spread = np.sqrt(np.linalg.inv(np.eye(K) + part.T @ part)[k, k])
        half = stats.norm.ppf(0.95) * spread
        assert high[place] - middle[place] == pytest.approx(half) == middle[place] - low[place]


def test_runs_on_the_same_data_show_the_same_items() -> None:
    """Whichever component explains most in each, and whatever its sign."""
    turned = LinearGaussian(-MODEL.loadings[:, ::-1], MODEL.intercept, MODEL.noise_scale)
    table = write_data("data.csv", data(num_items=50))
    shown = []
    for name, model in (("A", MODEL), ("B", turned)):
        run = read_report(name, write_run(name, table, model), 0, table)
        shown.append(run.intervals.names)
    assert set(shown[0]) == set(shown[1]) and len(shown[0]) == SHOWN_ITEMS
    assert shown[0] != shown[1]  # each in the order of its own means


def test_the_sample_is_small_and_always_the_same() -> None:
    x = np.broadcast_to(0.0, (100_000, D))
    items = sample(x)
    assert len(np.unique(items)) == SAMPLED and (items == sample(x)).all()
    assert len(sample(np.broadcast_to(0.0, (100_000, 50_000)))) == 167
