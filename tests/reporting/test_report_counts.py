"""Reports on runs of counts: a bound in place of what is exact, calibration of whole numbers, a browser."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import scipy
from page_checks import Page, accessible, in_order, page
from verify_files import twinplate

from twinplate import (
    Fit,
    GeneralisedLinear,
    ProgramConfig,
    TrainingState,
    initial_params,
    load,
    make_program,
)
from twinplate.reporting.count_calibration import calibrate_counts

pytestmark = pytest.mark.usefixtures("own_folder")
__all__ = ["page"]
FIT = ("--components", "2", "--batch-size", "30", "--device", "cpu", "--steps", "40", "--quiet")
OUT = ("--out", "r.html", "--json", "r.json")
NAMES = ("g1", "g2", "g3", "g4", "g5")


def write(name: str, likelihood: str, missing: float = 0.0, num_items: int = 90) -> np.ndarray:
    """A file of counts with offsets in the column `depth`, and the counts (N, 5)."""
    rng = np.random.default_rng(1)
    depth, loadings = rng.uniform(1, 3, num_items), 0.8 * rng.normal(size=(5, 2))
    concentration = 3.0 if likelihood == "negative-binomial" else None
    model = GeneralisedLinear(likelihood, loadings, 0.3, concentration=concentration)
    x = model.simulate(num_items, rng, None if likelihood == "bernoulli" else depth)[0]
    x[rng.random(x.shape) < missing] = np.nan
    with Path(name).open("w") as file:
        file.write(",".join(["id", *NAMES, "depth"]) + "\n")
        for n, row in enumerate(x):
            cells = ("" if np.isnan(v) else str(int(v)) for v in row)
            file.write(f"cell{n},{','.join(cells)},{float(depth[n])!r}\n")
    return x


def fitted(data: str, out: str, *words: str) -> None:
    assert twinplate("fit", data, *FIT, "--out", out, *words) == 0


def test_the_page_of_counts_by_both_frameworks(page: Page) -> None:
    x = write("x.csv", "negative-binomial")
    words = ("--likelihood", "negative-binomial", "--offset", "depth")
    for backend in ("pyro", "numpyro"):
        fitted("x.csv", backend, *words, "--backend", backend)
    out = ("--data", "x.csv", "--out", "r.html", "--json", "r.json")
    assert twinplate("report", "pyro", "numpyro", *out) == 0
    in_order(page, Path("r.html"))
    accessible(page, Path("r.html"))
    text = page.run("document.body.innerText")
    assert "importance-weighted bound" in text and "Dashed: expected" in text.replace("; d", "; D")
    assert "exact log evidence" not in text and "nan" not in text.lower()
    found = json.loads(Path("r.json").read_text())
    fit, depth = load("pyro"), np.loadtxt("x.csv", delimiter=",", skiprows=1, usecols=6)
    bound = fit.evidence_bound(x, offsets=depth)
    assert found["runs"][0]["evidence_bound"] == pytest.approx(bound.mean, rel=1e-12)
    assert found["runs"][0]["evidence_bound_error"] == pytest.approx(bound.mean_error)
    assert found["runs"][0]["gap"] == pytest.approx(bound.missed.mean())
    assert found["agreement"][0]["evidence"] == pytest.approx(0, abs=0.3)
    shown = page.run(
        "[...document.querySelectorAll('#correlations figcaption')].map(e => e.innerText)"
    )
    assert len({caption.split("Components of ")[1].split(".")[0] for caption in shown}) == 1
    again = found["runs"][0]["command"]
    assert shlex.join(words) in shlex.join(again) and "--drop" not in again


@pytest.mark.parametrize(
    ("likelihood", "missing", "words"),
    [
        ("poisson", 0.15, ("--missing", "mask", "--backend", "pyro", "--drop", "depth")),
        ("bernoulli", 0.0, ("--backend", "numpyro", "--drop", "depth")),
    ],
)
def test_other_likelihoods_have_pages_too(page: Page, likelihood, missing, words) -> None:
    write("x.csv", likelihood, missing)
    fitted("x.csv", "run", "--likelihood", likelihood, *words)
    write("new.csv", likelihood, missing, num_items=20)
    for data in ((), ("--data", "x.csv"), ("--data", "new.csv")):
        assert twinplate("report", "run", *data, "--out", "r.html") == 0
        page.errors.clear()
        page.open(Path("r.html"))
        assert page.errors == [] and "nan" not in page.run("document.body.innerText").lower()


@pytest.mark.parametrize("likelihood", ["poisson", "negative-binomial", "bernoulli"])
@pytest.mark.parametrize("encoder", ["mlp", "experts"])
def test_calibration_tells_a_right_model_from_one_that_is_too_sure(likelihood, encoder) -> None:
    """By the guide, which starts near the posterior, and by weights where it has met no missing entry."""
    rng = np.random.default_rng(0)
    given = {"concentration": 2.0} if likelihood == "negative-binomial" else {}
    model = GeneralisedLinear(likelihood, 0.5 * rng.normal(size=(6, 2)), 0.5, **given)
    x = model.simulate(500, rng)[0]

    def calibration(model: GeneralisedLinear):
        config = ProgramConfig(6, 2, likelihood=likelihood, offset="none", encoder=encoder)
        program = make_program(x, config, model)
        state = TrainingState.start(initial_params(program, 0))
        if encoder == "experts":  # as one that has met missing entries
            moved = {name: np.ones_like(value) for name, value in state.variance.items()}
            state = TrainingState(state.params, state.mean, moved, state.average)
        return calibrate_counts(Fit(state, np.zeros(0), program=program), x, None)

    found = calibration(model)
    assert found.by == {"mlp": "importance weights", "experts": "guide"}[encoder]
    assert scipy.stats.kstest(found.z, "norm").pvalue > 0.005
    held = np.abs(found.frequencies.observed - found.frequencies.expected)
    assert np.mean(held <= 1.5 * found.frequencies.error) >= 0.8
    if likelihood == "bernoulli":
        sure = GeneralisedLinear(likelihood, 6 * model.loadings, 3.0)
    else:  # Poisson of a mean that is too high
        sure = GeneralisedLinear(likelihood, model.loadings, model.intercept + 1.2, **given)
    assert scipy.stats.kstest(calibration(sure).z, "norm").pvalue < 1e-4


def test_evidence_of_counts_and_of_normal_data_is_not_compared() -> None:
    write("x.csv", "poisson")
    common = ("--drop", "depth", "--backend", "pyro")
    fitted(
        "x.csv",
        "counts",
        "--likelihood",
        "poisson",
        "--no-offset",
        "--drop",
        "depth",
        "--backend",
        "pyro",
    )
    fitted("x.csv", "normal", *common)
    assert (
        twinplate(
            "report", "counts", "normal", "--data", "x.csv", "--out", "r.html", "--json", "r.json"
        )
        == 0
    )
    found = json.loads(Path("r.json").read_text())
    assert found["best"] == [] and "cannot be compared" in found["remarks"][0]["text"]
    assert "--no-offset" in found["runs"][0]["command"]


def test_a_report_takes_the_items_that_the_run_was_fitted_to() -> None:
    write("x.csv", "poisson")
    items = ",".join(f"cell{n}" for n in range(40))
    words = ("--likelihood", "poisson", "--offset", "depth", "--items", items, "--id-column", "id")
    fitted("x.csv", "run", *words, "--backend", "pyro")
    assert twinplate("report", "run", *OUT, "--data", "x.csv") == 0
    (found,) = json.loads(Path("r.json").read_text())["runs"]
    assert found["own_data"] and items in found["command"]
    write("new.csv", "poisson", num_items=30)  # which has not all of them: new items
    assert twinplate("report", "run", *OUT, "--data", "new.csv") == 0
    (found,) = json.loads(Path("r.json").read_text())["runs"]
    assert not found["own_data"] and found["hidden_entries"] == 30
