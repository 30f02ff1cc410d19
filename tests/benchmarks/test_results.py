"""What benchmarks of results swap in, judge and count is what they say."""

import json
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tiny_benchmarks import BACKENDS, SIZE, TINY, read, tiny_training

from twinplate.programs.config import ProgramConfig, TrainingConfig
from twinplate.training.plan import chunks, cosine

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import choosing
import divergence
import gaps
import matched
from problem import Size, make_problem
from recipes import Recipe, constant_rate, stock_normal


def test_the_problem_has_correlated_loadings_and_hides_at_random():
    wide = Size(num_items=2, num_features=100_000, num_components=3)
    covariance = np.cov(make_problem(wide).generative.loadings.T)
    np.testing.assert_allclose(covariance, 0.25 * (0.5 * np.eye(3) + 0.5), atol=0.005)
    full, holes = make_problem(Size()), make_problem(Size(), hidden=0.3)
    hidden = np.isnan(holes.x)
    assert not np.isnan(full.x).any()
    assert abs(hidden.mean() - 0.3) < 5 * np.sqrt(0.21 / hidden.size)
    np.testing.assert_array_equal(full.x[~hidden], holes.x[~hidden])


def test_the_gaps_are_those_of_the_guide(tmp_path, capsys):
    path = tmp_path / "gaps.json"
    recipes = ["full", "diagonal", "hidden-experts"]
    gaps.main([*TINY, "--seeds=1", "--steps=3", "--recipes", *recipes, f"--json={path}"])
    rows = read(path)
    assert [row["backend"] for row in rows] == ["numpyro", "pyro"] * 3
    for row in rows:
        # After 3 steps a guide is far from its family's optimum, the best of all diagonal ones included.
        assert row["missed"][0] > row["family_gap"] + gaps.BOUND
        assert row["met"] is False
    assert capsys.readouterr().out.count(" NO ") == len(rows)


def test_a_recipe_trains_by_its_estimator(monkeypatch):
    given = {}
    known = SimpleNamespace(fit=lambda x, program, training, state: given.update(vars(training)))
    monkeypatch.setattr("recipes.load_backend", lambda name: known)
    recipe = Recipe(estimator="analytic-kl")
    recipe.fit("numpyro", make_problem(SIZE), tiny_training())
    assert given["estimator"] == "analytic-kl" and recipe.title.endswith("mlp, analytic-kl")


def test_missed_is_the_difference_of_evidence_and_elbo():
    """By Monte Carlo: log evidence minus ELBO, from densities written out with NumPy."""
    problem, recipe = make_problem(SIZE), Recipe()
    fit = recipe.fit("pyro", problem, tiny_training(seed=1))
    guide = import_module("pyro_impl").posterior(problem.x, recipe.program(problem), fit.params)
    model = problem.generative
    noise = np.random.default_rng(0).standard_normal((40_000, SIZE.num_items, 2))
    a = guide.loc + np.einsum("nij,pnj->pni", guide.scale_tril, noise)
    misfit = (problem.x - a @ model.loadings.T - model.intercept) / model.noise_scale
    constant = np.log(2 * np.pi)
    likelihood = -0.5 * (misfit**2 + constant).sum(-1) - np.log(model.noise_scale).sum()
    prior = -0.5 * (a**2 + constant).sum(-1)
    log_det = np.log(np.diagonal(guide.scale_tril, axis1=1, axis2=2)).sum(-1)
    elbo = (likelihood + prior + 0.5 * (noise**2 + constant).sum(-1) + log_det).mean(1)
    error = elbo.std() / np.sqrt(len(elbo))
    missed = recipe.missed("pyro", problem, fit)
    assert abs(problem.log_evidence - elbo.mean() - missed) < 5 * error
    assert error < 0.01 * missed


def test_parameters_that_are_not_finite_miss_everything():
    problem, recipe = make_problem(SIZE), Recipe()
    fit = recipe.fit("pyro", problem, tiny_training())
    fit.params["encoder.out.bias"][0] = np.nan
    assert recipe.missed("pyro", problem, fit) == np.inf


@pytest.mark.parametrize("backend", BACKENDS)
def test_stock_is_the_frameworks_own_normal_and_nothing_else(backend):
    problem = make_problem(SIZE)
    training = TrainingConfig(60, SIZE.batch_size, 0.05, precision="float64", device="cpu")
    shipped, stock = (Recipe(stock=s).fit(backend, problem, training).losses for s in (False, True))
    # The same noise and the same mathematics by another route, so equal but for rounding.
    assert (shipped != stock).any()
    np.testing.assert_allclose(stock, shipped, rtol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("family", ["MultivariateNormal", "LowRankMultivariateNormal"])
def test_stock_classes_are_swapped_in_and_out(backend, family):
    dist = import_module(f"{backend}.distributions")
    guides = import_module(f"{backend}_impl.programs.guides")
    encoder = import_module(f"{backend}_impl.programs.encoder")
    array = import_module({"pyro": "torch", "numpyro": "jax.numpy"}[backend])
    rank = {"factor": array.ones((3, 2, 1))} if family.startswith("LowRank") else {}
    encoded = encoder.Encoded(array.zeros((3, 2)), scale=array.ones((3, 2)) * 2.0, **rank)
    with stock_normal(backend):
        stock = guides.joint_normal(encoded)
    shipped = guides.joint_normal(encoded)
    assert type(stock) is getattr(dist, family)
    ours = {"MultivariateNormal": "PackedMultivariateNormal"}.get(family, family)
    assert type(shipped) is getattr(guides, ours)
    covariances = [np.asarray(q.covariance_matrix) for q in (stock, shipped)]
    np.testing.assert_array_equal(*covariances)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_textbook_encoder_has_no_skip(backend):
    problem = make_problem(SIZE)
    textbook = Recipe(encoder="textbook").fit(backend, problem, tiny_training()).params
    shipped = Recipe().fit(backend, problem, tiny_training()).params
    assert not textbook["encoder.skip.weight"].any()
    assert shipped["encoder.skip.weight"].all()
    assert (
        np.abs(textbook["encoder.out.weight"]).max()
        > 10 * np.abs(shipped["encoder.out.weight"]).max()
    )


def test_the_constant_rate_lasts_as_long_as_its_block():
    program, training = ProgramConfig(6, 2), TrainingConfig(5, 8, learning_rate=0.25)
    with constant_rate():
        (chunk,) = chunks(program, training, 32, matched=False)
    np.testing.assert_array_equal(chunk.rates, np.full(5, 0.25))
    (chunk,) = chunks(program, training, 32, matched=False)
    np.testing.assert_array_equal(chunk.rates, cosine(0.25, np.arange(5), 5))


def test_matched_training_agrees(tmp_path):
    path = tmp_path / "matched.json"
    matched.main([*TINY, "--steps=20", "--guides=diagonal", "--encoders=mlp", f"--json={path}"])
    rows = read(path)
    assert len(rows) == 4
    assert all(max(row["losses"], row["parameters"]) <= matched.BOUND for row in rows)
    assert all(row["first_loss"] != row["last_loss"] for row in rows)


def test_the_matched_configurations_are_every_valid_pair():
    known = matched.programs(["diagonal", "event", "auxiliary"], ["mlp", "experts"])
    assert len(known) == len({str(config) for config in known}) == 7 * 2 * 2 * 2
    assert matched.relative(np.array([1.0, 4.0]), np.array([1.5, -5.0])) == 9 / 5
    assert matched.relative(np.zeros(2), np.zeros(2)) == 0


def test_a_reported_excess_is_a_mean_over_a_hundred_steps():
    losses = np.full(300, 70.0)
    assert divergence.reported_excess(losses, -70.0) == pytest.approx(0.0, abs=1e-9)
    losses[40] -= 90.0  # one lucky batch
    assert divergence.reported_excess(losses, -70.0) == pytest.approx(0.9)
    losses[150:250] -= 1.5
    assert divergence.reported_excess(losses, -70.0) == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("outcome", "diverged"),
    [
        ((True, 0.9, 5.0), False),
        ((True, 1.1, 5.0), True),
        ((True, -3.0, -1.1), True),
        ((False, -3.0, 5.0), True),
    ],
)
def test_each_sign_of_divergence_counts(outcome, diverged):
    assert divergence.Outcome(*outcome).diverged is diverged


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_overflow_is_counted(backend):
    training = tiny_training(learning_rate=1e30)
    outcome = divergence.start(Recipe(), backend, make_problem(SIZE), training)
    assert outcome.diverged and not outcome.finite


def test_a_loss_that_is_not_finite_counts_though_the_parameters_are(monkeypatch):
    problem, fit = make_problem(SIZE), Recipe().fit("pyro", make_problem(SIZE), tiny_training())
    monkeypatch.setattr(Recipe, "fit", lambda *_: fit)
    assert not divergence.start(Recipe(), "pyro", problem, tiny_training()).diverged
    fit.losses[1] = np.inf
    assert divergence.start(Recipe(), "pyro", problem, tiny_training()).diverged


def test_divergence_counts_and_takes_up_where_it_stopped(tmp_path, monkeypatch):
    path = tmp_path / "divergence.json"
    few = ["--starts=2", "--steps=3", "--recipes=shipped", "--schedules=constant"]
    few += ["--backends=pyro", f"--json={path}"]
    divergence.main([*TINY, *few, "--covariances=full"])
    (row,) = first = read(path)
    assert (row["starts"], row["diverged"], row["diverged_seeds"]) == (2, 0, [])
    divergence.main([*TINY, *few, "--covariances", "full", "low-rank"])
    rows = read(path)
    assert rows[:1] == first
    assert [row["covariance"] for row in rows] == ["full", "low-rank"]
    monkeypatch.setattr(divergence, "measure", None)
    divergence.main([*TINY, *few, "--covariances", "full", "low-rank"])
    with pytest.raises(SystemExit, match="another size"):
        divergence.main([*TINY, *few[1:], "--starts=3"])


def test_choices_of_counts_are_counted_too(tmp_path, monkeypatch):
    monkeypatch.setattr(choosing, "TRUE_OF_COUNTS", (1,))
    monkeypatch.setattr(choosing, "TRIED_OF_COUNTS", (1,))
    monkeypatch.setattr(choosing, "QUICK", ((20, 0.0),))
    path = tmp_path / "choosing.json"
    choosing.main(["--quick", "--likelihood", "poisson", f"--json={path}"])
    (row,) = json.loads(path.read_text())["rows"]
    assert [(one["true"], one["chosen"]) for one in row["found"]] == [(1, 1)]


def test_choices_are_counted_against_the_truth(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(choosing, "TRUE", (1, 2))
    monkeypatch.setattr(choosing, "usual_components", lambda features: (1, 2, 3))
    path = tmp_path / "choosing.json"
    choosing.main(["--quick", f"--json={path}"])
    (row,) = json.loads(path.read_text())["rows"]
    assert [one["true"] for one in row["found"]] == [1, 2]
    assert {one["chosen"] for one in row["found"]} <= {1, 2, 3}
    made_up = [(1, 1, 1, 0.99), (2, 1, 2, 0.99), (3, 4, 3, 0.5), (4, 4, 5, 0.5)]
    names = ("true", "chosen", "best", "certainty")
    row["found"] = [dict(zip(names, values, strict=True)) for values in made_up]
    assert choosing.cells(row)[1:] == ["2 of 4", "1", "1", "3 of 4", "1 of 2"]
    assert np.isnan(choosing.simulate(400, 0.2, 2, 0)).mean() == pytest.approx(0.2, abs=0.03)
