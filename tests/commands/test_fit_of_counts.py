"""`twinplate fit --likelihood` and what follows it: offsets in a column, holes, and what is refused."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas
import pytest
import xarray
from verify_files import twinplate

from twinplate import GeneralisedLinear, load

SMALL = ["--components", "2", "--batch-size", "20", "--device", "cpu", "--steps", "30"]
NAMES = ["g1", "g2", "g3", "g4"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with counts.csv, whose column `depth` holds offsets, and bits.csv."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    depth = rng.uniform(500, 2000, 40)
    loadings = 0.6 * rng.normal(size=(4, 2))
    model = GeneralisedLinear("negative-binomial", loadings, 1.5, concentration=4.0)
    x, _ = model.simulate(40, rng, depth / 1000)
    x[::6, 1] = np.nan
    bits = GeneralisedLinear("bernoulli", loadings).simulate(40, rng)[0]
    for name, values in (("counts.csv", x), ("bits.csv", bits)):
        cells = [["" if np.isnan(v) else str(int(v)) for v in row] for row in values]
        rows = [
            f"item{i},{','.join(row)},{d:.3f}"
            for i, (row, d) in enumerate(zip(cells, depth, strict=True))
        ]
        Path(name).write_text("\n".join([",".join(["cell id", *NAMES, "depth"]), *rows]))
    return tmp_path


def columns_of(path):
    with Path(path).open() as file:
        rows = list(csv.DictReader(file))
    return {
        name: np.array([float(row[name] or "nan") for row in rows]) for name in list(rows[0])[1:]
    }


@pytest.mark.parametrize("backend", ["pyro", "numpyro"])
def test_from_a_fit_to_scores_and_filled_holes(folder, backend, capsys):
    words = ["--likelihood", "negative-binomial", "--offset", "depth", "--missing", "mask"]
    words += ["--backend", backend, "--out", "run", "--json", "f.json"]
    assert twinplate("fit", "counts.csv", *SMALL, *words) == 0
    assert "importance-weighted bound" in capsys.readouterr().out
    given = columns_of("counts.csv")
    x, depth = np.column_stack([given[name] for name in NAMES]), given["depth"]
    fit = load("run")
    assert fit.program.config.offset == "given" and fit.features == tuple(NAMES)
    bound = fit.evidence_bound(x, offsets=depth)
    assert twinplate("score", "run", "counts.csv", "--out", "s.csv", "--json", "s.json") == 0
    found = columns_of("s.csv")
    np.testing.assert_allclose(found["evidence_bound"], bound.value, rtol=1e-12)
    np.testing.assert_allclose(found["evidence_bound_error"], bound.error, rtol=1e-9)
    np.testing.assert_allclose(found["effective_draws"], bound.effective_draws, rtol=1e-9)
    told = json.loads(Path("s.json").read_text())
    for one in (told, json.loads(Path("f.json").read_text())["nats_per_item"]):
        assert one["evidence_bound"] == pytest.approx(bound.mean)
        assert one["evidence_bound_error"] == pytest.approx(bound.mean_error)
        assert one["least_effective_draws"] == pytest.approx(min(bound.effective_draws))
    assert "log_evidence" not in told and "evidence_bound" in told["lowest"][0]
    assert twinplate("impute", "run", "counts.csv", "--out", "filled.csv") == 0
    filled = columns_of("filled.csv")
    expected = fit.predict(x, offsets=depth).imputed
    np.testing.assert_allclose(np.column_stack([filled[n] for n in NAMES]), expected, rtol=1e-9)
    out = capsys.readouterr().out
    assert "Offsets: depth" in out and "Left out: depth" not in out
    for words in ([], ["--backend", backend]):
        out = f"p{len(words)}.npz"
        assert twinplate("posterior", "run", "counts.csv", *words, "--out", out) == 0
        with np.load(out) as file:
            np.testing.assert_allclose(file["loc"], fit.posterior(x, offsets=depth).loc, rtol=1e-6)
    assert twinplate("summary", "run") == 0
    out = capsys.readouterr().out
    assert "likelihood: negative-binomial" in out and "offsets: column depth\n" in out
    Path("none.csv").write_text("cell id,g1,g2,g3,g4\na,1,,0,1\nb,0,1,1,0")
    assert twinplate("score", "run", "none.csv") == 2
    error = capsys.readouterr().err
    assert "the offsets of the items are expected in column 'depth'" in error


def test_what_is_filled_in_has_intervals_and_offsets(folder, capsys):
    words = ["--likelihood", "negative-binomial", "--offset", "depth", "--missing", "mask"]
    assert twinplate("fit", "counts.csv", *SMALL, *words, "--backend", "pyro", "--out", "run") == 0
    assert "Offsets: depth\n" in capsys.readouterr().out
    words = ["--lower", "low.csv", "--upper", "high.csv", "--level", "0.8"]
    assert twinplate("impute", "run", "counts.csv", "--out", "filled.csv", *words) == 0
    given = columns_of("counts.csv")
    x, depth = np.column_stack([given[name] for name in NAMES]), given["depth"]
    holes = np.isnan(x)
    ends = load("run").predict(x, offsets=depth).interval(0.8)
    for name, end in zip(("low.csv", "high.csv"), ends, strict=True):
        found = columns_of(name)
        assert list(found) == NAMES
        expected = np.where(holes, end, x)
        np.testing.assert_array_equal(np.column_stack(list(found.values())), expected)
    filled = columns_of("filled.csv")
    np.testing.assert_array_equal(filled["depth"], depth)
    Path("whole.csv").write_text(  # what was filled in is no count
        "\n".join(",".join(c.split(".")[0] for c in row.split(",")[:-1]) + f",{row.split(',')[-1]}"
                  for row in Path("filled.csv").read_text().splitlines())
    )  # fmt: skip
    assert twinplate("score", "run", "whole.csv") == 0
    assert twinplate("impute", "run", "counts.csv", "--out", "new.csv", "--lower", "new.csv") == 2
    assert "--out and --lower are both new.csv" in capsys.readouterr().err


def test_of_data_without_names_the_offsets_keep_their_place(folder):
    x = np.column_stack([np.full(20, 3.0), np.random.default_rng(0).poisson(3.0, (20, 3))])
    np.save("x.npy", x)
    words = ["--likelihood", "poisson", "--offset", "column 1", "--backend", "pyro", "--out", "run"]
    assert twinplate("fit", "x.npy", *SMALL, *words) == 0
    assert twinplate("impute", "run", "x.npy", "--out", "filled.npy") == 0
    np.testing.assert_array_equal(np.load("filled.npy"), x)
    assert twinplate("score", "run", "filled.npy") == 0


@pytest.mark.parametrize("likelihood", ["poisson", "negative-binomial", "bernoulli"])
def test_constant_columns_are_counts_but_no_zeros_and_ones(folder, likelihood, capsys):
    rng = np.random.default_rng(0)
    varying = (
        rng.poisson(2.0, (30, 2)) if likelihood != "bernoulli" else rng.integers(0, 2, (30, 2))
    )
    x = np.column_stack([varying, np.ones(30), np.zeros(30)]).astype(float)
    np.savetxt("x.csv", x, "%d", ",", header="a,b,one,zero", comments="")
    words = ["--likelihood", likelihood, "--backend", "numpyro", "--out", "run", "--quiet"]
    assert twinplate("fit", "x.csv", *SMALL, *words) == 0
    fit, told = load("run"), "Left out, as they are constant and tell nothing: one, zero"
    assert np.isfinite(fit.losses).all()
    if likelihood == "bernoulli":
        assert fit.features == ("a", "b") and told in capsys.readouterr().out
    else:
        assert fit.features == ("a", "b", "one", "zero") and told not in capsys.readouterr().out
        rate = np.exp(fit.intercept[2:] + 0.5 * np.sum(fit.loadings[2:] ** 2, axis=1))
        assert 0.5 < rate[0] < 1.5 and rate[1] < 0.1


def test_a_run_goes_on_with_the_offsets_of_then_alone(folder, capsys):
    words = ["--likelihood", "poisson", "--offset", "depth", "--missing", "mask"]
    assert twinplate("fit", "counts.csv", *SMALL, *words, "--out", "run", "--backend", "pyro") == 0
    assert twinplate("fit", "counts.csv", "--resume", "run", "--steps", "40") == 0
    assert len(load("run").losses) == 40
    text = Path("counts.csv").read_text().splitlines()
    text[3] = text[3].rsplit(",", 1)[0] + ",777"
    Path("counts.csv").write_text("\n".join(text))
    assert twinplate("fit", "counts.csv", "--resume", "run", "--steps", "50") == 2
    assert "column 'depth' of counts.csv holds other offsets" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("cell", "words", "message"),
    [
        ("1.5", [], "x.csv holds 1.5 in row 2, column 3 ('b'), which is no poisson data; expected whole"),
        ("-1", [], "column 3 ('b'), which is no poisson data"),
        ("1e20", [], "x.csv holds 1e+20 in row 2, column 3 ('b'), above 2^53"),
        ("1e20", ["--no-offset"], "above 2^53"),
    ],
)  # fmt: skip
def test_an_entry_that_cannot_be_is_called_as_the_file_calls_it(
    folder, cell, words, message, capsys
):
    text = "name,t,b,c\nu,1,2,3\nv,4,CELL,1\nw,1,1,2\n"
    Path("x.csv").write_text(text.replace("CELL", cell))
    small = [word.replace("2", "1") for word in SMALL]
    words = ["--likelihood", "poisson", "--backend", "pyro", *words]
    assert twinplate("fit", "x.csv", *small, *words, "--drop", "name", "--out", "run") == 2
    error = capsys.readouterr().err
    assert message in error and error.endswith(", or --likelihood normal\n")
    Path("good.csv").write_text(text.replace("CELL", "0"))
    assert twinplate("fit", "good.csv", *small, *words, "--drop", "name", "--out", "run") == 0
    assert twinplate("score", "run", "x.csv") == 2
    error = capsys.readouterr().err
    assert message in error and "likelihood normal" not in error


def test_of_counts_that_single_precision_does_not_hold_it_says_so(folder, capsys):
    Path("x.csv").write_text("a,b,c\n1,2,3\n4,16777217,1\n1,1,2\n")
    small = [word.replace("2", "1").replace("30", "1") for word in SMALL]
    words = ["--likelihood", "poisson", "--backend", "pyro", "--out", "run"]
    for more, said in ((["float32"], True), (["float64"], False)):
        assert twinplate("fit", "x.csv", *small, *words, "--precision", *more, "--no-offset") == 0
        out = capsys.readouterr().out
        note = "Note: x.csv holds 16777217 in row 2, column 2 ('b'), and float32 has not every"
        assert (note in out) == said
        words[-1] = "other"


@pytest.mark.parametrize("command", ["fit", "score"])
def test_an_item_without_counts_is_named(folder, command, capsys):
    Path("x.csv").write_text("id,a,b,c\nu,1,2,3\nv,4,1,1\nw,0,0,\n")
    small = [word.replace("2", "1") for word in SMALL]
    words = ["--likelihood", "poisson", "--missing", "mask", "--backend", "pyro", "--out", "run"]
    if command == "score":
        Path("good.csv").write_text(Path("x.csv").read_text().replace("0,0,", "0,1,"))
        assert twinplate("fit", "good.csv", *small, *words) == 0
    rest = ["run", "x.csv"] if command == "score" else ["x.csv", *small, *words]
    assert twinplate(command, *rest) == 2
    error = capsys.readouterr().err
    assert "item 'w' of x.csv counts nothing at all" in error
    said = {
        "fit": "give --offset COLUMN or --no-offset",
        "score": "a run that was fitted with",
    }
    assert said[command] in error


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["pyro", "numpyro"])
def test_two_devices_share_items_and_offsets(folder, backend, monkeypatch):
    """In a process of its own: torch starts others, JAX parts the CPU before anything else."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    words = [*SMALL, "--likelihood", "poisson", "--offset", "depth", "--missing", "mask"]
    words += ["--precision", "float64", "--backend", backend, "--quiet"]
    for devices in ("1", "2"):
        command = [sys.executable, "-m", "twinplate", "fit", "counts.csv", *words]
        subprocess.run([*command, "--devices", devices, "--out", devices], check=True, timeout=200)
    np.testing.assert_allclose(load("1").losses, load("2").losses, rtol=1e-11)


@pytest.mark.filterwarnings("ignore:The 'future.infer_string' option", "ignore:Writing zarr v2")
@pytest.mark.parametrize("name", ["x.h5ad", "x.nc", "a.zarr", "x.zarr"])
def test_offsets_beside_a_matrix(folder, name, capsys):
    rng = np.random.default_rng(0)
    x, depth = rng.poisson(3.0, (20, 4)).astype(float), rng.uniform(1, 2, 20)
    ids = np.array([f"i{n}" for n in range(20)], object)
    if name in ("x.nc", "x.zarr"):
        coords = {"cell": ids, "gene": np.array(NAMES, object)}
        data = xarray.Dataset({"x": (("cell", "gene"), x), "tot": ("cell", depth)}, coords)
        data.to_netcdf(name, engine="h5netcdf") if name == "x.nc" else data.to_zarr(
            name, zarr_format=2
        )
    else:
        anndata = pytest.importorskip("anndata")
        obs = pandas.DataFrame({"tot": depth}, pandas.Index(ids, dtype=object))
        var = pandas.DataFrame(index=pandas.Index(NAMES, dtype=object))
        data = anndata.AnnData(x, obs, var)
        data.write_h5ad(name) if name == "x.h5ad" else data.write_zarr(name)
    words = ["--likelihood", "poisson", "--backend", "pyro", "--quiet"]
    assert twinplate("fit", name, *SMALL, *words, "--offset", "depth", "--out", "run") == 2
    error = capsys.readouterr().err
    assert f"{name} has no 'depth', neither a " in error and "(tot)" in error
    assert twinplate("fit", name, *SMALL, *words, "--offset", "tot", "--out", "run") == 0
    assert load("run").features == tuple(NAMES)
    assert twinplate("score", "run", name, "--items", "i3,i1", "--out", "s.csv") == 0
    bound = load("run").evidence_bound(x[[3, 1]], offsets=depth[[3, 1]])
    np.testing.assert_allclose(columns_of("s.csv")["evidence_bound"], bound.value)
    assert twinplate("impute", "run", name, "--out", "filled.csv") == 0
    np.testing.assert_array_equal(columns_of("filled.csv")["tot"], depth)
    assert twinplate("score", "run", "filled.csv") == 0
    assert twinplate("fit", name, "--resume", "run", "--steps", "31") == 0


def test_loadings_that_are_given_stay(folder):
    parts = np.arange(8.0).reshape(4, 2) / 8
    np.savez("parts.npz", loadings=parts)
    words = ["--loadings", "parts.npz", "--likelihood", "bernoulli", "--drop", "depth"]
    small = [word for word in SMALL if word not in ("--components", "2")]
    assert twinplate("fit", "bits.csv", *small, *words, "--out", "run", "--backend", "pyro") == 0
    fit = load("run")
    np.testing.assert_allclose(fit.loadings, parts, rtol=1e-6)
    assert fit.program.learned == ("intercept",)


def test_a_normal_fitted_to_small_counts_says_so(folder, capsys):
    words = ["--drop", "depth", "--backend", "pyro", "--out", "run"]
    assert twinplate("fit", "counts.csv", *SMALL, "--missing", "mask", *words) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "the data are small counts" in out and "`--likelihood poisson`" in out
    assert any("small counts" in note for note in load("run").notes)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--likelihood", "bernoulli"], "which is no bernoulli data; expected zeros and ones"),
        (["--likelihood", "gamma"], "--likelihood is 'gamma'; expected one of normal, poisson"),
        (["--offset", "depth"], "--offset is given with --likelihood normal"),
        (["--likelihood", "poisson"], "which is no poisson data"),  # the depths
        (["--likelihood", "poisson", "--offset", "g9"], "has no column g9"),
        (["--likelihood", "poisson", "--offset", "g1"], "column 'g1' of counts.csv: "),
        (["--likelihood", "poisson", "--offset", "g2"], "column 'g2' of counts.csv: "),
        (["--likelihood", "poisson", "--offset", "depth", "--no-offset"], "are both given"),
        (
            ["--likelihood", "poisson", "--offset", "depth", "--objective", "simulated"],
            "draws normal data only",
        ),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(folder, words, message, capsys):
    words = [*SMALL, "--missing", "mask", *words, "--out", "run", "--backend", "pyro"]
    assert twinplate("fit", "counts.csv", *words) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert sorted(path.name for path in folder.iterdir()) == ["bits.csv", "counts.csv"]


def test_nothing_is_filled_in_exactly(folder, capsys):
    words = ["--likelihood", "bernoulli", "--drop", "depth", "--out", "run", "--backend", "pyro"]
    assert twinplate("fit", "bits.csv", *SMALL, *words) == 0
    capsys.readouterr()
    assert twinplate("impute", "run", "bits.csv", "--exact", "--out", "f.csv") == 2
    error = capsys.readouterr().err
    assert "likelihood bernoulli, whose exact posterior has no closed form" in error
    assert "`generalised`" not in error
    Path("holes.csv").write_text("cell id,g1,g2,g3,g4\na,1,,0,1\nb,0,1,1,0")
    assert twinplate("impute", "run", "holes.csv", "--out", "f.csv") == 2
    error = capsys.readouterr().err
    assert "exact" not in error and "Fit data that have missing entries, too" in error
    assert not Path("f.csv").exists()
