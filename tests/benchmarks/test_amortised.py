"""The comparison of guides: its truths are those of quadrature, and its rows say what was asked for."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from numpyro import handlers
from scipy import stats
from scipy.special import logsumexp

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import amortised
import amortised_numpyro
import amortised_problems
import amortised_pyro
import joint_step


def test_the_evidence_of_counts_is_the_integral():
    """By the trapezoidal rule on a grid that nothing centres."""
    problem, axis = amortised_problems.make_problem("counts", 2), np.linspace(-7, 7, 281)
    a = np.stack(np.meshgrid(axis, axis), -1)
    rate = np.exp(a @ problem.loadings.T + problem.intercept)
    found = []
    for x, library in zip(problem.x, problem.library, strict=True):
        log = stats.poisson.logpmf(x, library * rate).sum(-1) + stats.norm.logpdf(a).sum(-1)
        found.append(logsumexp(log) + 2 * np.log(axis[1] - axis[0]))
    assert problem.truth == pytest.approx(np.mean(found), abs=1e-6)


def test_models_of_one_event_have_the_evidence_of_two_plates():
    one, other = (amortised_problems.make_problem(m, 5) for m in ("linear", "event"))
    assert one.truth == other.truth
    covariance = one.loadings @ one.loadings.T + 0.25 * np.eye(8)
    exact = stats.multivariate_normal(np.zeros(8), covariance).logpdf(one.x)
    assert one.truth == pytest.approx(exact.mean())


def test_an_elbo_above_the_truth_is_no_result():
    problem = amortised_problems.make_problem("linear", 5)
    assert amortised.ended([0.0, problem.truth - 2.0], problem) == problem.truth - 2.0
    for impossible in (problem.truth + 5.0, np.nan):
        assert amortised.ended([0.0, impossible], problem) == -np.inf


@pytest.mark.parametrize(
    ("framework", "model"),
    [
        ("pyro", "contrast"),
        pytest.param("numpyro", "event", marks=pytest.mark.slow),
        pytest.param("pyro", "counts", marks=pytest.mark.slow),
        pytest.param("numpyro", "contrast", marks=pytest.mark.slow),
    ],
)
def test_every_guide_is_measured(framework, model, tmp_path, monkeypatch):
    peers = {"pyro": amortised_pyro, "numpyro": amortised_numpyro}[framework].PEERS
    kept = {"AutoNormal", "AutoMultivariateNormal", *amortised.EVENT_ONLY}  # others are tried below
    for name in [n for n in peers if n not in kept]:
        monkeypatch.delitem(peers, name)
    for name, value in {
        "EVERY": 2,
        "PARTICLES": 2,
        "BATCH": 3,
        "TIMED_STEPS": 1,
        "ROUNDS": 2,
    }.items():
        monkeypatch.setattr(amortised, name, value)
    monkeypatch.setattr(amortised, "RATES", (1e-2,))
    path = tmp_path / "rows.json"
    given = ["--models", model, "--frameworks", framework, "--items", "5", "--steps", "4"]
    amortised.main([*given, "--json", str(path)])
    rows = json.loads(path.read_text())["rows"]
    special = [n for n in peers if n in amortised.EVENT_ONLY]
    refused = [row["guide"] for row in rows if row.get("cannot")]
    assert refused == ([] if model == "event" else special)
    rows = [row for row in rows if "cannot" not in row]
    measured = special if model == "event" else [n for n in peers if n not in special]
    assert [row["guide"] for row in rows] == ["by hand", "ours", *measured]
    for row in rows:
        assert row["model"] == model and row["framework"] == framework
        assert np.isfinite([row["elbo"], row["ms_per_step"], row["peak_mb"]]).all()
        assert row["elbo"] < row["truth"] + 1 and row["numbers"] > 0
    assert rows[0]["steps"] is not None and rows[1]["ratio"]["median"] > 0


@pytest.mark.parametrize(
    ("programs", "guide", "model"),
    [
        (amortised_pyro, "AutoStructured", "contrast"),
        (amortised_pyro, "EasyGuide", "event"),
        pytest.param(amortised_numpyro, "AutoSemiDAIS", "contrast", marks=pytest.mark.slow),
    ],
)
def test_a_peer_comes_nearer_the_truth_and_never_above_it(programs, guide, model):
    """Trained in mini-batches of 3 where it takes them."""
    problem = amortised_problems.make_problem(model, 5)
    run = programs.Run(problem, guide, 0.03, 200, 3)
    first = run.elbo(50)
    run.take(200)
    assert first + 0.5 < run.elbo(50) < problem.truth + 0.2


def test_a_guide_of_a_mini_batch_is_judged_on_all_items():
    run = amortised_numpyro.Run(
        amortised_problems.make_problem("event", 5), "AutoSemiDAIS", 0.03, 1, 3
    )
    sites = handlers.trace(handlers.seed(run._programs[1], 0)).get_trace(*run._data)
    assert sites["mini_batch"]["value"].shape == (5,)


@pytest.mark.parametrize(
    ("programs", "guide", "told"),
    [
        (amortised_pyro, "EasyGuide", "to be right of all common plates"),
        (amortised_numpyro, "AutoBatchedMultivariateNormal", "inconsistent batch shapes"),
    ],
)
def test_what_a_row_calls_impossible_is_refused_by_the_framework(programs, guide, told):
    problem = amortised_problems.make_problem("contrast", 5)
    assert amortised.why_not(guide, problem)
    with pytest.raises(ValueError, match=told):
        programs.Run(problem, guide, 0.03, 2, 3)


def test_a_covariance_of_all_data_is_for_few():
    few, many = (amortised_problems.make_problem("linear", n) for n in (5, 400))
    for guide in amortised.SQUARED:
        assert amortised.why_not(guide, few) is None
        assert amortised.why_not(guide, many) == "a covariance of all data: 1,440,000 numbers"


@pytest.mark.slow
def test_the_time_of_a_step_has_a_row_for_each_way(tmp_path, monkeypatch):
    """At another size than the usual one, which is that of the data, the networks and the mini-batch."""
    size = joint_step.Size(hidden=5, features=4, components=2, batch_size=3, steps=1)
    monkeypatch.setattr(joint_step, "SIZES", {"tiny": size})
    path = tmp_path / "rows.json"
    joint_step.main(["--sizes", "tiny", "--rounds", "2", "--json", str(path)])
    rows = json.loads(path.read_text())["rows"]
    assert [row["way"] for row in rows] == list(joint_step.WAYS)
    for row in rows:
        assert set(row["ms_per_step"]) == {"by hand", "ours"}
        assert row["ratio"]["low"] <= row["ratio"]["median"] <= row["ratio"]["high"]


@pytest.mark.parametrize("twin", [amortised_pyro, amortised_numpyro])
def test_networks_are_as_wide_as_asked(twin):
    problem = amortised_problems.make_problem("linear", 5, features=4, components=2)
    given = (problem, "by hand", 0.01, 1, 3, 7)
    outputs = 2 + 1 + 2
    assert twin.Run(*given).numbers == (4 + 1) * 7 + (7 + 1) * 7 + (7 + 1) * outputs
