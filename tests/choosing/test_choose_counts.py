"""`twinplate choose` of counts: bounds of held-out items, the truth of simulated ones, what is refused."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import scipy
from verify_files import twinplate

from twinplate import GeneralisedLinear
from twinplate.choosing import counts as choosing
from twinplate.choosing.counts import Counts, held_out_bounds, independent_counts
from twinplate.choosing.rule import choose
from twinplate.choosing.trials import try_covariances
from twinplate.commands import choice

pytestmark = pytest.mark.usefixtures("own_folder")


def items(likelihood: str, num_items: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Of two components, (N, 6), and their offsets (N,)."""
    rng = np.random.default_rng(4)
    depth, size = rng.uniform(0.5, 2.0, num_items), 3.0 if likelihood == "bernoulli" else 0.7
    given = {"concentration": 6.0} if likelihood == "negative-binomial" else {}
    bits = likelihood == "bernoulli"
    loadings = size * rng.normal(size=(6, 2))
    model = GeneralisedLinear(likelihood, loadings, 0.0 if bits else 1.5, **given)
    return model.simulate(num_items, rng, None if bits else depth)[0], depth


@pytest.mark.parametrize(
    "likelihood", ["poisson", pytest.param("negative-binomial", marks=pytest.mark.slow)]
)
def test_two_components_have_the_highest_bound(likelihood) -> None:
    x, depth = items(likelihood)
    found = held_out_bounds(x, (1, 2), Counts(likelihood, "given", depth), "pyro", steps=150)
    chosen = choose(found.bound)
    assert (1, 2)[chosen.chosen] == 2 and chosen.certainty > 0.95
    assert (found.mean_error < 0.1 * chosen.error[0]).all() and (found.mean_error > 0).all()


@pytest.mark.parametrize("likelihood", ["poisson", "negative-binomial", "bernoulli"])
def test_a_model_without_components_is_scipys(likelihood) -> None:
    x, depth = items(likelihood, 60)
    x[3, 1] = np.nan
    bits = likelihood == "bernoulli"
    found = independent_counts(
        x, Counts(likelihood, "" if bits else "given", None if bits else depth)
    )
    train, test = np.arange(60) % 5 != 2, np.arange(60) % 5 == 2
    expected = np.zeros(test.sum())
    for d in range(6):
        seen = train & ~np.isnan(x[:, d])
        if bits:
            mean = np.clip(x[seen, d].mean(), 0.5 / seen.sum(), 1 - 0.5 / seen.sum())
            expected += scipy.stats.bernoulli(mean).logpmf(x[test, d])
            continue
        mean = x[seen, d].sum() / depth[seen].sum()
        if likelihood == "poisson":
            expected += scipy.stats.poisson(mean * depth[test]).logpmf(x[test, d])
            continue

        def density(c, at, mean=mean, d=d):
            return scipy.stats.nbinom.logpmf(x[at, d], c, c / (c + mean * depth[at]))

        grid = np.geomspace(1e-2, 1e3, 1501)
        best = grid[np.argmax(density(grid[:, None], seen).sum(axis=1))]
        expected += density(best, test)
    np.testing.assert_allclose(found[test], expected, rtol=2e-3)


def test_the_command_and_its_own_command(monkeypatch, capsys) -> None:
    monkeypatch.setattr(choice, "try_covariances", lambda *given: try_covariances(*given, steps=3))
    short = held_out_bounds.__defaults__[0], 60
    monkeypatch.setattr(choosing.held_out_bounds, "__defaults__", short)
    monkeypatch.setattr(choice, "available_backends", lambda: ["pyro"])
    x, depth = items("poisson", 60)
    x[::7, 0] = np.nan
    rows = [",".join("" if np.isnan(v) else str(int(v)) for v in row) for row in x]
    lines = [f"p{n},{row},{float(o)!r}" for n, (row, o) in enumerate(zip(rows, depth, strict=True))]
    Path("x.csv").write_text("\n".join(["id,a,b,c,d,e,f,depth", *lines]) + "\n")
    words = ("--likelihood", "poisson", "--offset", "depth", "--json", "c.json")
    assert twinplate("choose", "x.csv", "--components", "1-2", *words, "--picture", "c.svg") == 0
    found, printed = json.loads(Path("c.json").read_text()), capsys.readouterr().out
    assert found["chosen"]["components"] == 2 and "bound on the log evidence" in printed
    assert all(0 < row["evidence_bound_error"] < 0.1 for row in found["components"])
    assert all(t["elbo"] < t["evidence_bound"] for t in found["trials"])
    asked = {}
    monkeypatch.setattr(
        "twinplate.commands.fit_command.run_fit", lambda request, *_: asked.update(r=request)
    )
    assert twinplate(*shlex.split(found["command"])[1:]) == 0
    request = asked["r"]
    assert (request.likelihood, request.offset, request.missing) == ("poisson", "depth", "mask")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--likelihood", "gamma"), "--likelihood is 'gamma'; expected one of normal, poisson"),
        (("--no-offset",), "--no-offset is given with --likelihood normal"),
        (("--likelihood", "bernoulli"), "no bernoulli data; expected zeros and ones"),
        (("--likelihood", "poisson"), "row 3 of x.csv counts nothing at all"),
    ],
)
def test_bad_input_is_one_sentence(capsys, words, sentence) -> None:
    x, _ = items("poisson", 30)
    x[2] = 0
    np.savetxt("x.csv", x, "%d", ",", header="a,b,c,d,e,f", comments="")
    assert twinplate("--quiet", "choose", "x.csv", *words) == 2
    text = capsys.readouterr().err.strip()
    assert sentence in text and "\n" not in text
