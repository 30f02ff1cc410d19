"""The DataTree for ArviZ: its numbers by closed forms, ArviZ' own functions on it, to disk and back.

ArviZ 1 needs Python 3.12; with an older one its functions are left out.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from twinplate import (
    Fit,
    GeneralisedLinear,
    InputError,
    LinearGaussian,
    ProgramConfig,
    TrainingState,
    initial_params,
    make_program,
    to_arviz,
)
from twinplate.programs.closed_form import closed_form_params

xarray = pytest.importorskip("xarray")

N, D, K = 12, 6, 2
ITEMS = [f"plate/{n} é" for n in range(N)]
FEATURES = ("a/b", "chain", "x", "d d", "é", "item")


@pytest.fixture(scope="module")
def fit():
    """Its guide is the exact posterior; the names are those that break things."""
    rng = np.random.default_rng(0)
    model = LinearGaussian(rng.normal(size=(D, K)), rng.normal(size=D), rng.uniform(0.8, 1.5, D))
    x, _ = model.simulate(50, rng)
    program = make_program(x, ProgramConfig(D, K, encoder="experts", hidden_width=4), model)
    state = TrainingState.start(closed_form_params(program))
    return Fit(state, np.zeros(0), program=replace(program, features=FEATURES))


@pytest.fixture(scope="module", params=[0.0, 0.2], ids=["complete", "missing"])
def case(fit, request):
    """New items and their tree."""
    rng = np.random.default_rng(1)
    x, _ = fit.generative.simulate(N, rng)
    x[rng.random(x.shape) < request.param] = np.nan
    return x, to_arviz(fit, x, items=ITEMS, num_samples=500, seed=3)


def test_groups_dims_and_names(fit, case):
    x, tree = case
    assert set(tree.children) == {
        "posterior",
        "posterior_predictive",
        "log_likelihood",
        "observed_data",
        "constant_data",
    }
    assert dict(tree["posterior"]["a"].sizes) == {
        "chain": 4,
        "draw": 500,
        "item": N,
        "component": K,
    }
    predicted = tree["posterior_predictive"]["x"]
    assert dict(predicted.sizes) == {"chain": 4, "draw": 500, "item": N, "feature": D}
    assert predicted["item"].values.tolist() == ITEMS
    assert predicted["feature"].values.tolist() == list(FEATURES)
    np.testing.assert_array_equal(tree["observed_data"]["x"], x)
    np.testing.assert_array_equal(tree["constant_data"]["loadings"], fit.loadings)
    for group in tree.children.values():
        assert not {*group.data_vars} & {*group.dims}
        assert not any("/" in str(name) for name in (*group.data_vars, *group.dims))


def test_numbers_are_those_of_the_closed_forms(fit, case):
    x, tree = case
    draws = 2000
    predicted, found = tree["posterior_predictive"]["x"], fit.predict(x)
    off = np.abs(predicted.mean(("chain", "draw")) - found.mean)
    assert (off < 5 * found.scale / draws**0.5).all()
    np.testing.assert_allclose(predicted.std(("chain", "draw")), found.scale, rtol=0.1)
    a, likelihood = tree["posterior"]["a"].values, tree["log_likelihood"]["x"]
    mean = a @ fit.loadings.T + fit.intercept
    expected = stats.norm.logpdf(x, mean, fit.noise_scale)
    seen = ~np.isnan(x)
    if seen.all():
        assert likelihood.dims == ("chain", "draw", "item", "feature")
        np.testing.assert_allclose(likelihood, expected)
        return
    assert likelihood.dims == ("chain", "draw", "entry")
    np.testing.assert_allclose(likelihood, expected[:, :, seen])
    rows, columns = np.nonzero(seen)
    assert likelihood["item"].values.tolist() == [ITEMS[n] for n in rows]
    assert likelihood["feature"].values.tolist() == [FEATURES[d] for d in columns]


@pytest.mark.parametrize("engine", ["h5netcdf", "zarr"])
def test_to_disk_and_back(case, tmp_path, engine):
    pytest.importorskip(engine)
    _, tree = case
    if engine == "zarr":
        tree.to_zarr(tmp_path / "tree", zarr_format=2)  # the third has no texts yet
        found = xarray.open_datatree(tmp_path / "tree", engine="zarr")
    else:
        tree.to_netcdf(tmp_path / "tree", engine=engine)
        found = xarray.open_datatree(tmp_path / "tree", engine=engine)
    with found:
        assert found.identical(tree)


def test_arviz_takes_it(fit, case):
    """The evidence of every entry given the others of its item is in closed form too."""
    az = pytest.importorskip("arviz", minversion="1.0")
    import matplotlib.pyplot as plt

    x, tree = case
    summary = az.summary(tree, round_to="none")
    assert len(summary) == N * K and (summary["r_hat"] < 1.02).all()
    q = fit.posterior(x)
    np.testing.assert_allclose(summary["mean"], q.loc.ravel(), atol=0.1)
    with pytest.warns(UserWarning, match="Pareto"):  # of entries that decide on their item
        found = az.loo(tree, pointwise=True)
    rows, columns = np.nonzero(~np.isnan(x))
    kept, off = found.pareto_k.values.ravel() < 0.5, []
    for n, d in zip(rows, columns, strict=True):
        alone, rest = x[n : n + 1].copy(), x[n : n + 1].copy()
        rest[0, d] = np.nan
        off.append((fit.log_evidence(alone) - fit.log_evidence(rest))[0])
    np.testing.assert_allclose(found.elpd_i.values.ravel()[kept], np.array(off)[kept], atol=0.2)
    assert kept.sum() > len(kept) / 2
    az.plot_ppc_dist(tree)
    plt.close("all")


def test_one_chain_one_draw_no_item_and_what_is_refused(fit):
    x = np.zeros((2, D))
    bare = replace(fit, program=replace(fit.program, features=()))
    one = to_arviz(bare, x, num_chains=1, num_samples=1)
    assert one["posterior"]["a"].dims[:2] == ("chain", "draw")
    assert one["observed_data"]["x"]["feature"].values[-1] == f"column {D}"
    assert to_arviz(fit, x[:0], num_samples=3)["posterior"].sizes["item"] == 0
    for wrong, told in (
        ({"items": ["a"]}, "items names 1 item; expected 2"),
        ({"num_chains": 0}, "num_chains is 0"),
    ):
        with pytest.raises(InputError, match=told):
            to_arviz(fit, x, **wrong)


DENSITIES = {
    "poisson": lambda x, eta: stats.poisson(np.exp(eta)).logpmf(x),
    "negative-binomial": lambda x, eta: stats.nbinom(3.0, 3.0 / (3.0 + np.exp(eta))).logpmf(x),
    "bernoulli": lambda x, eta: stats.bernoulli(1 / (1 + np.exp(-eta))).logpmf(x),
}


@pytest.mark.parametrize("likelihood", DENSITIES)
def test_counts_have_a_tree_too(likelihood):
    """Densities by SciPy at the draws, measurements with their means, and what the model was."""
    rng = np.random.default_rng(0)
    concentration = 3.0 if likelihood == "negative-binomial" else None
    loadings, intercept = 0.3 * rng.normal(size=(D, K)), rng.normal(size=D)
    model = GeneralisedLinear(likelihood, loadings, intercept, concentration=concentration)
    offsets = None if likelihood == "bernoulli" else rng.uniform(0.5, 4.0, N)
    x, _ = model.simulate(N, rng, offsets)
    given = {} if offsets is None else {"offset": "given"}
    program = make_program(
        x,
        ProgramConfig(D, K, likelihood=likelihood, hidden_width=4, **given),
        model,
        offsets=offsets,
    )
    fit = Fit(TrainingState.start(initial_params(program, 0)), np.zeros(0), program=program)
    tree = to_arviz(fit, x, items=ITEMS, offsets=offsets, num_samples=500)
    a = tree["posterior"]["a"].values
    eta = a @ model.loadings.T + model.intercept
    eta = eta if offsets is None else eta + np.log(offsets)[:, None]
    found = tree["log_likelihood"]["x"].values
    np.testing.assert_allclose(found, DENSITIES[likelihood](x, eta), rtol=1e-9, atol=1e-9)
    drawn = tree["posterior_predictive"]["x"].values
    np.testing.assert_array_equal(drawn, np.floor(drawn))
    mean = np.exp(eta) if offsets is not None else 1 / (1 + np.exp(-eta))
    error = (drawn - mean).std((0, 1)) / np.sqrt(2000)
    assert (np.abs((drawn - mean).mean((0, 1))) < 5 * error + 1e-12).all()
    known = {"loadings", "intercept"} | ({"concentration"} if concentration else set())
    assert set(tree["constant_data"].data_vars) == known | ({"offset"} if given else set())
