"""The demo: its data, its dictionary, its numbers against formulas written out here, its pictures."""

import contextlib
import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch", reason="the demo needs both frameworks")
pytest.importorskip("jax", reason="the demo needs both frameworks")

from matplotlib.image import imread
from sklearn.datasets import load_digits as sklearn_digits

from twinplate import Gaussian, InputError, LinearGaussian, TrainingConfig, backends
from twinplate.demo import run
from twinplate.demo.digits import BLOCK, PARTS, SIDE, cosines, dictionary, load_digits
from twinplate.demo.pictures import missed_by_step, shown_items
from twinplate.demo.report import coverage, fill_in_sd, held_probability
from twinplate.seeds import batch_indices

pytestmark = pytest.mark.xdist_group("demo")  # one worker: the small demo runs once

PICTURES = ("correlation.png", "elbo.png", "inpainting.png")
PAIRS = [(g, b) for g in ("diagonal", "event", "auxiliary") for b in ("pyro", "numpyro")]


@pytest.fixture(scope="module")
def digits():
    return load_digits(0)


@pytest.fixture(scope="module")
def generative(digits):
    return dictionary(digits)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The demo run with 20 steps: its directory, what it printed, its results and its six fits."""
    out = tmp_path_factory.mktemp("demo") / "new" / "out"
    text, fits = io.StringIO(), []
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(text):
        patch.setenv("COLUMNS", "80")
        patch.setattr(run, "QUICK", run.Steps(fit=20, matched=5))
        results = run.results
        patch.setattr(run, "results", lambda *args: fits.extend(args[2]) or results(*args))
        run.run_demo(out, True)
    numbers = json.loads((out / "results.json").read_text(encoding="utf-8"))
    return SimpleNamespace(out=out, text=text.getvalue(), numbers=numbers, fits=fits)


# The data


def test_constant_pixels_are_dropped_and_stand_at_their_value_in_images(digits):
    images = sklearn_digits().images
    constant = [p for p in range(64) if len({image.flat[p] for image in images}) == 1]
    assert np.flatnonzero(~digits.kept).tolist() == constant == [0, 32, 39]
    np.testing.assert_array_equal(digits.image(digits.complete), images)


def test_one_square_block_is_hidden_in_every_image(digits):
    hidden = digits.image(digits.hidden.astype(float), fill=np.nan)
    assert set(np.nansum(hidden, axis=(1, 2))) == {15, 16}  # 15 where it covers a dropped pixel
    for image, (row, column) in zip(hidden, digits.corner, strict=True):
        assert np.nanmin(image[row : row + BLOCK, column : column + BLOCK]) == 1
    assert len(np.unique(digits.corner, axis=0)) == (SIDE - BLOCK + 1) ** 2  # everywhere
    np.testing.assert_array_equal(np.isnan(digits.x), digits.hidden)
    np.testing.assert_array_equal(digits.x[~digits.hidden], digits.complete[~digits.hidden])


def test_hidden_blocks_belong_to_the_seed(digits):
    np.testing.assert_array_equal(load_digits(0).hidden, digits.hidden)
    assert np.mean(np.any(load_digits(1).corner != digits.corner, axis=1)) > 0.9


def test_the_shown_images_are_one_of_each_digit_with_a_block_inside(digits):
    items = shown_items(digits)
    assert digits.label[items].tolist() == [0, 2, 3, 5, 8]
    assert digits.corner[items].min() >= 1 and digits.corner[items].max() <= 3


# The dictionary


def test_the_parts_overlap_so_that_a_diagonal_guide_misses_much(digits, generative):
    assert generative.loadings.shape == (61, PARTS)
    whitened = generative.loadings / generative.noise_scale[:, None]
    i, j = 0, 12
    angle = whitened[:, i] @ whitened[:, j] / np.linalg.norm(whitened[:, i])
    assert cosines(generative)[i, j] == pytest.approx(angle / np.linalg.norm(whitened[:, j]))
    assert np.abs(np.tril(cosines(generative), -1)).max() > 0.4
    strongest = np.abs(np.tril(generative.posterior(digits.x).correlation, -1)).max(axis=(1, 2))
    assert strongest.min() > 1 / 3
    assert generative.family_gap(digits.x, "diagonal").min() > 1


def test_the_dictionary_has_maximum_likelihood_and_a_standard_normal_prior(digits, generative):
    np.testing.assert_array_equal(generative.loc, 0)
    np.testing.assert_array_equal(generative.scale, 1)
    assert (generative.loadings**3).sum(axis=0).min() > 0  # most of a part is ink
    # At the maximum the model reproduces every pixel's variance, where the noise is above its floor.
    free = generative.noise_scale > 0.5
    variance = (generative.loadings**2).sum(axis=1) + generative.noise_scale**2
    assert free.sum() > 40
    np.testing.assert_allclose(variance[free], digits.complete.var(axis=0)[free], rtol=1e-3)


# The numbers, each against a formula written out here


def test_every_fit_has_a_row_with_its_gaps(tiny, digits, generative):
    rows = tiny.numbers["fits"]
    assert [(row["guide"], row["backend"]) for row in rows] == PAIRS
    evidence = exact_evidence(digits, generative)
    precision = [posterior_precision(generative, x) for x in digits.x]
    gap = np.mean([0.5 * (np.log(np.diag(p)).sum() - np.linalg.slogdet(p)[1]) for p in precision])
    for row, fit in zip(rows, tiny.fits, strict=True):
        assert (fit.guide, fit.backend) == (row["guide"], row["backend"])
        family = gap if fit.guide == "diagonal" else 0.0
        elbo = expected_elbo(digits, generative, fit.posterior)
        assert row["log_evidence"] == pytest.approx(evidence, rel=1e-10)
        assert row["elbo"] == pytest.approx(elbo, rel=1e-10)
        assert row["family_gap"] == pytest.approx(family, rel=1e-10)
        assert row["amortisation_gap"] == pytest.approx(evidence - elbo - family, abs=1e-8)
        assert row["amortisation_gap"] > 0
        assert 0 < row["first_seconds"] <= row["seconds"]
        assert len(fit.losses) == 20


def posterior_precision(model: LinearGaussian, x):
    seen = ~np.isnan(x)
    loadings, noise = model.loadings[seen], model.noise_scale[seen]
    return np.eye(PARTS) + loadings.T @ np.diag(noise**-2) @ loadings


def exact_evidence(digits, model: LinearGaussian) -> float:
    """Mean log density of the visible pixels under their marginal normal distribution."""
    marginal = model.loadings @ model.loadings.T + np.diag(model.noise_scale**2)
    total = 0.0
    for x in digits.x:
        seen = ~np.isnan(x)
        z, covariance = (x - model.intercept)[seen], marginal[np.ix_(seen, seen)]
        total -= 0.5 * (z @ np.linalg.solve(covariance, z) + seen.sum() * np.log(2 * np.pi))
        total -= 0.5 * np.linalg.slogdet(covariance)[1]
    return total / len(digits.x)


def expected_elbo(digits, model: LinearGaussian, q: Gaussian) -> float:
    """Mean of E_q[log p(x | a)] - KL(q ‖ prior)."""
    mean = q.loc @ model.loadings.T + model.intercept
    square = (digits.complete - mean) ** 2 + pixel_variance(model, q)
    likelihood = -0.5 * (square / model.noise_scale**2 + np.log(2 * np.pi * model.noise_scale**2))
    trace = np.trace(q.covariance, axis1=1, axis2=2)
    kl = 0.5 * (trace + (q.loc**2).sum(axis=1) - PARTS - np.linalg.slogdet(q.covariance)[1])
    return float(np.mean(np.where(digits.hidden, 0, likelihood).sum(axis=1) - kl))


def pixel_variance(model: LinearGaussian, q: Gaussian):
    return np.einsum("dk,nkl,dl->nd", model.loadings, q.covariance, model.loadings, optimize=True)


def test_uncertainty_of_the_hidden_pixels(tiny, digits, generative):
    exact = generative.posterior(digits.x)
    for row, q in [(tiny.numbers["exact"], exact)] + [
        (row, fit.posterior) for row, fit in zip(tiny.numbers["fits"], tiny.fits, strict=True)
    ]:
        mean, spread = q.loc @ generative.loadings.T, pixel_variance(generative, q)
        z = (digits.complete - generative.intercept - mean) / np.sqrt(
            spread + generative.noise_scale**2
        )
        assert row["coverage"] == np.mean(np.abs(z[digits.hidden]) <= 1.959963984540054)
        ratio = np.sqrt(spread / pixel_variance(generative, exact))[digits.hidden]
        assert row["fill_in_sd_ratio"][1] == pytest.approx(np.median(ratio), rel=1e-10)
    assert tiny.numbers["exact"]["held_probability"] == pytest.approx(0.95, abs=1e-12)
    assert 0.93 < tiny.numbers["exact"]["coverage"] < 0.96


def test_intervals_are_honest_where_the_model_is_true(tiny, digits):
    n = digits.hidden.sum()
    simulated = tiny.numbers["simulated"]
    # The pixels of one image share its 16 weights: allow for 10 of them to count as one draw.
    assert simulated["exact"] == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / (n / 10)))
    assert simulated["best_diagonal"] < simulated["exact"] - 0.01


def test_an_interval_of_half_the_width_and_one_at_the_wrong_place():
    exact = Gaussian(np.zeros((1, 2)), np.diag([2.0, 3.0])[None])
    narrow = Gaussian(np.zeros((1, 2)), np.diag([1.0, 1.5])[None])
    far = Gaussian(np.array([[200.0, 300.0]]), exact.scale_tril)
    assert held_probability(exact, narrow) == pytest.approx(0.6729, abs=1e-4)  # P(|z| < 0.98)
    assert held_probability(exact, far) == pytest.approx(0, abs=1e-12)


def test_the_frameworks_agree_over_the_matched_stretch(tiny):
    for row in tiny.numbers["fits"]:
        assert 0 <= row["matched_difference"]["losses"] <= 1e-12
        assert 0 < row["matched_difference"]["params"] <= 1e-12


def test_relative_difference_is_of_the_worst_array():
    one = {"small": np.array([0.5, 0.1]), "large": np.array([400.0, 1.0])}
    other = {"small": np.array([0.5, 0.0]), "large": np.array([400.0, 21.0])}
    assert run.relative_difference(one, other) == pytest.approx(0.1)  # 0.1 / 1 and 20 / 400


def test_results_say_what_was_run(tiny):
    numbers = tiny.numbers
    assert numbers["training"]["steps"] == 20 and numbers["matched_training"]["steps"] == 5
    assert numbers["training"]["seed"] == 0
    assert numbers["training"]["precision"] == "float32"
    assert numbers["matched_training"]["precision"] == "float64"
    assert numbers["data"]["dropped_pixels"] == [0, 32, 39]
    assert {"pyro-ppl", "numpyro", "torch", "jax", "numpy"} <= set(numbers["versions"])


# What is printed and drawn


def test_the_printed_tables_show_the_numbers_of_the_results(tiny):
    lines = tiny.text.splitlines()
    assert max(map(len, lines)) <= 80
    rows = [line.split() for line in lines if line.split()[1:2] in (["Pyro"], ["NumPyro"])]
    assert len(rows) == 12
    for row, fit in zip(rows[:6], tiny.numbers["fits"], strict=True):
        gaps = ("elbo", "log_evidence", "family_gap", "amortisation_gap")
        assert row[0] == fit["guide"] and row[1].lower() == fit["backend"]
        assert row[2:6] == [f"{fit[key]:.3f}" for key in gaps]
    for row, fit in zip(rows[6:], tiny.numbers["fits"], strict=True):
        assert row[2] == f"{fit['coverage']:.1%}"
    words = " ".join(tiny.text.split())
    for phrase in ("3 pixels are the same", "Matched stretch: 5 steps", "need not hold 95 %"):
        assert phrase in words


def test_pictures_are_images_with_something_on_them(tiny):
    assert sorted(p.name for p in tiny.out.iterdir()) == [*PICTURES, "results.json"]
    for name in PICTURES:
        assert (tiny.out / name).read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
        pixels = imread(tiny.out / name)
        assert pixels.shape[1] > 1500 and pixels.shape[0] > 600
        assert 0.1 < pixels[..., :3].std() < 0.5


def test_a_curve_is_held_against_the_evidence_of_its_own_mini_batches():
    training = TrainingConfig(steps=120, batch_size=7, seed=3)
    evidence = np.random.default_rng(0).normal(size=40)
    own = evidence[batch_indices(3, 0, 120, 40, 7)].mean(axis=1)
    step = np.arange(1, 121)
    steps, missed = missed_by_step(step - own, evidence, training)
    assert len(steps) == 120 - 50 + 1
    np.testing.assert_allclose(missed, steps)  # a straight line is its own running mean


def test_fill_in_sd_leaves_out_the_pixel_noise(generative):
    q = Gaussian(np.zeros((1, PARTS)), np.linalg.cholesky(np.eye(PARTS) + 0.3)[None])
    expected = np.sqrt(pixel_variance(generative, q))
    np.testing.assert_allclose(fill_in_sd(generative, q), expected)


def test_coverage_counts_hidden_pixels_only(digits, generative):
    nothing = Gaussian(np.zeros((1797, PARTS)), np.zeros((1797, PARTS, PARTS)))
    truth = np.where(digits.hidden, generative.intercept, generative.intercept + 100)
    assert coverage(digits, generative, nothing, truth) == 1
    truth = np.where(digits.hidden, generative.intercept + 1.97 * generative.noise_scale, 0)
    assert coverage(digits, generative, nothing, truth) == 0


# What goes wrong goes wrong early, in one sentence, and leaves nothing behind


@pytest.fixture
def no_training(monkeypatch):
    """Fail where a fit begins."""
    monkeypatch.setattr(run, "fit_guide", lambda *args: pytest.fail("training began"))


def test_an_existing_path_is_refused_before_anything_else(tmp_path, no_training):
    (tmp_path / "kept.txt").write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        run.run_demo(tmp_path, True)
    assert [p.name for p in tmp_path.iterdir()] == ["kept.txt"]


@pytest.mark.parametrize(
    ("module", "package"),
    [
        ("matplotlib.figure", "matplotlib"),
        ("sklearn.datasets", "scikit-learn"),
        ("threadpoolctl", "scikit-learn"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(
    tmp_path, monkeypatch, no_training, module, package
):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=rf"{package}.*twinplate\[all\]"):
        run.run_demo(tmp_path / "out", True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("module", "extra"), [("torch", "pyro"), ("flax", "numpyro")])
def test_both_frameworks_are_needed(tmp_path, monkeypatch, no_training, module, extra):
    found = backends._found
    monkeypatch.setattr(backends, "_found", lambda name: name != module and found(name))
    with pytest.raises(InputError, match=rf"twinplate\[{extra}\]"):
        run.run_demo(tmp_path / "out", True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_while_writing_leaves_nothing(
    tmp_path, monkeypatch, capsys, digits, generative, failure
):
    best = generative.best_diagonal(digits.x)

    def fit(implementation, backend, program, training, x):
        losses = np.full(training.steps, 100.0)
        return run.Fitted(program.config.guide, backend, losses, best, 2.0, 1.0)

    def fail(directory: Path, *args) -> None:
        (directory / "elbo.png").write_bytes(b"half")
        raise failure

    monkeypatch.setattr(run, "fit_guide", fit)
    monkeypatch.setattr(run, "matched_difference", lambda *args: run.Difference(0.0, 0.0))
    monkeypatch.setattr(run, "write_pictures", fail)
    expected = InputError if isinstance(failure, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        run.run_demo(tmp_path / "new" / "out", True)
    assert not list(tmp_path.iterdir())
    assert "Pictures" not in capsys.readouterr().out
