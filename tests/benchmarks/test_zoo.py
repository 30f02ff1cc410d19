"""The zoo runs on both twins and the stock recipe, goes on where it stopped, and judges as it says."""

import json
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import zoo
import zoo_judge
import zoo_stock
from zoo_problems import quick
from zoo_truth import maximum_likelihood

from twinplate.programs.config import TrainingConfig
from twinplate.programs.parameters import generative_of


def noisy(level, steps, seed=0):
    return level + np.random.default_rng(seed).normal(size=steps)


def test_an_excursion_is_counted_once_and_may_be_made_good():
    losses = noisy(50.0, 3000)
    assert zoo_judge.excursions(losses) == (0, 0)
    losses[1000:1100] += 100
    assert zoo_judge.excursions(losses) == (1, 0)
    losses[2000:] += 25
    assert zoo_judge.excursions(losses) == (2, 2)  # the end is worse than what was before either


def test_a_far_outlier_in_a_mini_batch_is_no_excursion():
    losses = noisy(50.0, 3000)
    losses[np.random.default_rng(1).random(3000) < 0.4] += 1000
    assert zoo_judge.excursions(losses) == (0, 0)


def test_what_no_density_can_reach_is_a_divergence():
    assert not zoo_judge.impossible(noisy(50.0, 1000), evidence=-50.5)
    assert zoo_judge.impossible(noisy(50.0, 1000), evidence=-52.0)


@pytest.fixture
def few():
    (problem,) = (p for p in quick() if p.kind == "few")
    return problem


def test_the_rows_are_those_of_the_fits(few, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(zoo, "STEPS", 20)
    path = tmp_path / "zoo.json"
    given = ["--quick", "--kinds", "few", "--workers=1", f"--json={path}"]
    zoo.main([*given, "--framework", "numpyro"])
    zoo.main(given)  # goes on
    rows = json.loads(path.read_text())["rows"]
    assert [row["framework"] for row in rows] == ["numpyro", "pyro"]
    x = few.data()
    best = maximum_likelihood(x, few.num_components).log_evidence(x).mean()
    for row in rows:
        module = import_module(f"{row['framework']}_impl")
        training = TrainingConfig(20, len(x))
        fit = module.fit(x, few.program(x), training)
        gap = best - fit.generative.log_evidence(x).mean()
        assert row["problem"] == few.name and row["steps"] == 20
        assert row["gap"] == pytest.approx(gap, abs=1e-9) and row["gap"] > 0
        assert row["missed"] > 0 and row["stock_missed"] > 0 and row["gap"] != row["stock_gap"]
        assert not row["diverged"] and not row["stock_diverged"] and row["excursions"] == 0
    assert "2 of 2: few-00-learned pyro 20" in capsys.readouterr().err
    image = import_module("matplotlib.image").imread(path.with_suffix(".png"))
    for colour in ([0x1F, 0x77, 0xB4], [0xFF, 0x7F, 0x0E]):  # ours and stock, drawn at 70 %
        shown = 1 - 0.7 * (1 - np.array(colour) / 255)
        assert (np.abs(image[..., :3] - shown).max(-1) < 0.02).any()
    # What an earlier run knows is not measured again.
    monkeypatch.setattr(zoo, "train_stock", None)
    task = (few.name, "numpyro", 20)
    again = zoo.measure(task, rows[0])
    assert {**again, "seconds": 0, "said": []} == {**rows[0], "seconds": 0, "said": []}


@pytest.mark.parametrize("framework", zoo.FRAMEWORKS)
def test_a_run_that_stops_has_diverged(few, framework):
    x = few.data()
    program, best = few.program(x), maximum_likelihood(x, few.num_components)
    wild = TrainingConfig(20, len(x), learning_rate=1e30)
    for train in (zoo.train_ours, zoo_stock.train_stock):
        found = zoo.run_judged(train, framework, x, program, best, wild)
        assert found.diverged and found.gap is None


def test_principal_components_are_the_closed_form_of_equal_correlations():
    """One component of features that are all correlated by ρ: loadings √ρ, noise √(1 - ρ)."""
    noise = np.random.default_rng(0).normal(size=(500, 8))
    noise -= noise.mean(axis=0)
    white = np.linalg.solve(np.linalg.cholesky(noise.T @ noise / 500), noise.T).T
    x = white @ np.linalg.cholesky(np.full((8, 8), 0.6) + 0.4 * np.eye(8)).T
    found = zoo_stock.principal_components(x, 1)
    np.testing.assert_allclose(np.abs(found.loadings[:, 0]), np.sqrt(0.6))
    np.testing.assert_allclose(found.noise_scale, np.sqrt(0.4))


@pytest.mark.parametrize("framework", zoo.FRAMEWORKS)
def test_the_stock_recipe_begins_at_the_principal_components(few, framework):
    x, k = few.data(), few.num_components
    training = TrainingConfig(2, len(x), 1e-9)
    program, params, losses = zoo_stock.train_stock(framework, x, few.program(x), training)
    found, known = generative_of(program, params), zoo_stock.principal_components(x, k)
    np.testing.assert_allclose(found.loadings, known.loadings, atol=1e-4)
    np.testing.assert_allclose(found.noise_scale, known.noise_scale, rtol=1e-4)
    assert losses.shape == (2,) and found.log_evidence(x).mean() > -losses.min()
