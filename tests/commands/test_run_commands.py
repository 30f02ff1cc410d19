"""`impute`, `score` and `summary`: what they write, by formulas of the joint normal; names kept."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xarray
from scipy import stats
from verify_files import twinplate as run

from twinplate import LinearGaussian, ProgramConfig, TrainingConfig, make_program
from twinplate.data.columns import Wanted
from twinplate.data.readers import load_matrix
from twinplate.programs.closed_form import closed_form_params
from twinplate.training.run_directory import save_run, versions
from twinplate.training.run_format import SavedRun

NAN = float("nan")
NAMES = ("height", "weight", "a,b", 'say "x"')
MODEL = LinearGaussian(
    [[1.0, 0.0], [2.0, 1.0], [-1.0, 1.0], [0.5, 3.0]], [1.0, 0, 2, 0], [0.5, 0.7, 1.0, 0.3]
)
COVARIANCE = MODEL.loadings @ MODEL.loadings.T + np.diag(MODEL.noise_scale**2)
X = np.array([[0.1, 2.0, NAN, 1e-7], [1 / 3, NAN, 3.0, NAN], [NAN, 1.0, 2.0, -4.0], [5, 1, 2, 3]])
ITEMS = ("first", "i,2", "07", "last")
TABLE = 'id,height,weight,"a,b","say ""x"""\nfirst,0.1,2,,1e-07\n"i,2",%r,,3,\n07,,1,2,-4\nlast,5,1,2,3\n'


@pytest.fixture(params=["experts"])
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request) -> Path:
    """A working directory with `run`, whose guide is the exact posterior, and data in every format."""
    monkeypatch.chdir(tmp_path)
    program = make_program(
        X[:, :], ProgramConfig(4, 2, encoder=request.param, hidden_width=3), MODEL
    )
    params = closed_form_params(program)
    nothing = {name: np.zeros_like(value) for name, value in params.items()}
    data = {"columns": list(NAMES), "named": True, "num_items": 4, "num_features": 4}
    data["fingerprint"] = ""
    training = TrainingConfig(steps=3).as_dict()
    config = {"program": program.config.as_dict(), "training": training, "backend": "pyro"}
    save_run(
        Path("run"),
        SavedRun(
            config,
            data,
            versions(),
            params,
            params,
            nothing,
            nothing,
            program.fixed,
            np.zeros(3),
            3,
        ),
    )
    Path("x.csv").write_text(TABLE % (1 / 3))
    rows = list(csv.reader(io.StringIO(TABLE % (1 / 3))))
    with Path("x.tsv").open("w", newline="") as file:
        csv.writer(file, delimiter="\t").writerows(rows)
    columns = dict(zip(NAMES, X.T, strict=True))
    pq.write_table(pa.table({"id": ITEMS, **columns}), "x.parquet")
    np.save("x.npy", X)
    np.savez("x.npz", x=X)
    axes = (("id", list(ITEMS)), ("measured", list(NAMES)))
    data = xarray.DataArray(X, axes, name="x").to_dataset()
    data.to_netcdf("x.nc", engine="h5netcdf")
    data.to_zarr("x.zarr", zarr_format=2)
    return tmp_path


def filled_in(item: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The item with conditional means in place of what is missing, and their standard deviations."""
    seen, gone = ~np.isnan(item), np.isnan(item)
    gain = COVARIANCE[np.ix_(gone, seen)] @ np.linalg.inv(COVARIANCE[np.ix_(seen, seen)])
    mean, sd = item.copy(), np.zeros(len(item))
    mean[gone] = MODEL.intercept[gone] + gain @ (item - MODEL.intercept)[seen]
    left = COVARIANCE[np.ix_(gone, gone)] - gain @ COVARIANCE[np.ix_(seen, gone)]
    sd[gone] = np.sqrt(np.diag(left))
    return mean, sd


@pytest.mark.parametrize("suffix", ["csv", "tsv", "npy", "npz", "parquet", "nc", "zarr"])
@pytest.mark.parametrize("exact", [[], ["--exact"]], ids=["guide", "exact"])
def test_what_is_missing_is_filled_in_and_the_rest_kept(
    folder: Path, suffix: str, exact: list[str]
) -> None:
    out, scale, high = (Path(f"{name}.{suffix}") for name in ("made/filled", "scale", "high"))
    files = ["--out", str(out), "--scale", str(scale), "--upper", str(high)]
    assert run("impute", "run", f"x.{suffix}", *files, *exact) == 0
    choose = Wanted(id_column="id").choose if suffix in ("csv", "tsv", "parquet") else None
    found, spread, above = (load_matrix(path, choose=choose) for path in (out, scale, high))
    np.testing.assert_allclose(above.x, found.x + stats.norm.ppf(0.95) * spread.x, rtol=1e-12)
    for n, item in enumerate(X):
        mean, sd = filled_in(item)
        np.testing.assert_allclose(found.x[n], mean, rtol=1e-9)
        np.testing.assert_allclose(spread.x[n], sd, rtol=1e-9)
    seen = ~np.isnan(X)
    np.testing.assert_array_equal(found.x[seen], X[seen])  # to the last bit, through text too
    if choose:
        for table in (found, spread):
            assert (table.columns, table.items, table.id_columns) == (NAMES, ITEMS, ("id",))
    if suffix in ("nc", "zarr"):
        assert (found.columns, found.items, found.id_columns) == (NAMES, ITEMS, ("id",))
    if suffix == "npz":
        assert np.load(out)["columns"].tolist() == list(NAMES)


def test_columns_are_found_by_name_and_come_out_in_the_order_of_the_run(folder: Path) -> None:
    text = 'weight,height,key,say "x","a,b"\n1,5,u,,2\n,1,v,3,\n'
    Path("other.csv").write_text(text)
    assert run("impute", "run", "other.csv", "--id-column", "key", "--out", "filled.csv") == 0
    lines = Path("filled.csv").read_text().splitlines()
    assert lines[0] == 'key,height,weight,"a,b","say ""x"""'
    assert lines[1].startswith("u,5,1,2,") and lines[2].startswith("v,1,")
    expected, _ = filled_in(np.array([5.0, 1.0, 2.0, NAN]))
    assert float(lines[1].split(",")[-1]) == pytest.approx(expected[3])


def test_data_without_names_get_none_in_text(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a run that has none either. A file that is mapped is the same, one with names keeps them."""
    np.savetxt("bare.csv", X, delimiter=",")
    header = json.loads(Path("run/run.json").read_text())
    header["data"] |= {"columns": [f"column {j}" for j in range(1, 5)], "named": False}
    del header["checksum"], header["notes"]  # as in a run of before
    Path("run/run.json").write_text(json.dumps(header))
    assert run("impute", "run", "bare.csv", "--out", "filled.csv") == 0
    assert len(Path("filled.csv").read_text().splitlines()) == 4
    assert run("impute", "run", "x.csv", "--out", "named.csv") == 0
    assert Path("named.csv").read_text().startswith("id,height,weight,")
    monkeypatch.setattr("twinplate.data.readers.MAPPED_BYTES", 0)
    assert run("impute", "run", "x.npy", "--out", "filled.npy") == 0
    np.testing.assert_array_equal(np.load("filled.npy"), np.loadtxt("filled.csv", delimiter=","))


def test_a_parquet_file_that_stays_on_disk_gives_the_same_files(folder: Path, monkeypatch) -> None:
    words = [
        "impute run x.parquet --out",
        "score run x.parquet --out",
        "posterior run x.parquet --out",
    ]
    outs = ["filled.csv", "scores.csv", "posterior.npz"]
    for where in ("held", "stays"):
        Path(where).mkdir()
        for given, out in zip(words, outs, strict=True):
            assert run(*given.split(), f"{where}/{out}") == 0
        monkeypatch.setattr("twinplate.data.readers.MAPPED_BYTES", 0)
    for out in outs[:2]:
        assert Path("stays", out).read_bytes() == Path("held", out).read_bytes()
    with np.load("held/posterior.npz") as held, np.load("stays/posterior.npz") as stays:
        np.testing.assert_array_equal(stays["scale_tril"], held["scale_tril"])


def test_all_names_of_the_items_come_out_and_whole_numbers_as_numbers(folder: Path) -> None:
    Path("two.csv").write_text(
        'run_id,id,height,weight,"a,b","say ""x"""\n7,a/b,1,,3,4\n9,c,1,2,3,4\n'
    )
    assert run("impute", "run", "two.csv", "--out", "filled.csv") == 0
    lines = Path("filled.csv").read_text().splitlines()
    assert lines[0].startswith("run_id,id,height,") and lines[1].startswith("7,a/b,1,")
    assert run("impute", "run", "two.csv", "--out", "filled.parquet") == 0
    table = pq.read_table("filled.parquet")
    assert table.column("run_id").to_pylist() == [7, 9]  # 07 would stay a text
    assert table.column("id").to_pylist() == ["a/b", "c"]


def test_items_are_chosen_by_their_names(folder: Path) -> None:
    assert run("impute", "run", "x.csv", "--items", 'last,"i,2"', "--out", "some.csv") == 0
    assert run("impute", "run", "x.csv", "--out", "all.csv") == 0
    names, _, second, _, last = Path("all.csv").read_text().splitlines()
    assert Path("some.csv").read_text().splitlines() == [names, last, second]


def test_the_posterior_needs_no_framework(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a | x of the joint normal, in covariance form; as either framework has it."""
    out = {name: f"{name}.npz" for name in ("NumPy", "pyro", "numpyro")}
    for name in ("pyro", "numpyro"):
        assert run("posterior", "run", "x.csv", "--backend", name, "--out", out[name]) == 0
    monkeypatch.setattr("twinplate.commands.posterior_command.load_backend", None)
    assert run("posterior", "run", "x.csv", "--out", out["NumPy"]) == 0
    found = {name: np.load(path) for name, path in out.items()}
    for name in ("pyro", "numpyro"):
        for array in ("loc", "scale_tril"):
            np.testing.assert_allclose(found[name][array], found["NumPy"][array], atol=1e-9)
    for n, item in enumerate(X):
        seen = ~np.isnan(item)
        gain = MODEL.loadings[seen].T @ np.linalg.inv(COVARIANCE[np.ix_(seen, seen)])
        expected = gain @ (item - MODEL.intercept)[seen]
        np.testing.assert_allclose(found["NumPy"]["loc"][n], expected, atol=1e-9)
    assert found["NumPy"]["items"].tolist() == list(ITEMS)


@pytest.mark.parametrize("suffix", ["csv", "parquet", "npz", "npy"])
def test_scores_are_log_densities_of_what_is_observed(
    folder: Path, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    out = f"scores.{suffix}"
    assert run("score", "run", "x.csv", "--out", out, "--json", "scores.json") == 0
    expected = []
    for item in X:
        seen = ~np.isnan(item)
        block = COVARIANCE[np.ix_(seen, seen)]
        expected.append(stats.multivariate_normal.logpdf(item[seen], MODEL.intercept[seen], block))
    found = load_matrix(
        Path(out), choose=Wanted(drop=("id",)).choose if suffix in ("csv", "parquet") else None
    )
    np.testing.assert_allclose(found.x[:, 0], expected, rtol=1e-9)
    np.testing.assert_allclose(found.x[:, 1], expected, rtol=1e-9)  # the guide misses nothing
    assert found.x[:, 2].tolist() == [3, 2, 3, 4]
    report = json.loads(Path("scores.json").read_text())
    assert report["log_evidence"] == pytest.approx(np.mean(expected))
    per_entry = np.array(expected) / [3, 2, 3, 4]
    worst = ITEMS[np.argmin(per_entry)]
    assert report["lowest"][0]["item"] == worst
    printed = capsys.readouterr().out
    assert f"{np.mean(expected):.4f}" in printed
    assert f"per observed entry: {worst} {per_entry.min():.2f}, " in printed


def test_scores_of_items_that_are_named_by_a_score(folder: Path) -> None:
    Path("named.csv").write_text((TABLE % (1 / 3)).replace("id,", "elbo,", 1))
    assert run("score", "run", "named.csv", "--id-column", "elbo", "--out", "scores.csv") == 0
    assert Path("scores.csv").read_text().splitlines()[0] == "item,log_evidence,elbo,observed"


@pytest.mark.parametrize("folder", ["mlp"], indirect=True)
def test_a_guide_of_complete_data_is_not_asked_what_it_has_not_seen(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The model answers all the same."""
    assert run("impute", "run", "x.csv", "--out", "filled.csv") == 2
    assert "never seen one missing" in capsys.readouterr().err
    assert not Path("filled.csv").exists()
    assert run("impute", "run", "x.csv", "--exact", "--out", "filled.csv") == 0
    assert run("score", "run", "x.csv", "--json", "scores.json") == 0
    assert "No ELBO: 4 entries of x are missing" in capsys.readouterr().out
    assert json.loads(Path("scores.json").read_text())["elbo"] is None


def test_the_summary_is_that_of_the_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("summary", "run", "--json", "summary.json") == 0
    report = json.loads(Path("summary.json").read_text())
    signal = MODEL.loadings**2 / np.diag(COVARIANCE)[:, None]
    shares = [part["share"] for part in report["components"]]
    np.testing.assert_allclose(shares, signal.mean(axis=0))
    assert (report["steps"], report["covariance"]) == (3, "full")
    told = capsys.readouterr().out
    assert "fitted by: pyro, to 4 items" in told and f"{shares[0]:.1%} of the variance" in told


BAD = [
    ("impute run x.csv --out x.csv", "exists already"),
    ("impute run x.csv --out filled.xlsx", ".csv, .tsv, .npy, .npz, .parquet"),
    ("impute run x.csv --out filled.csv --scale filled.csv", "expected two files"),
    ("impute run x.csv --out filled.csv --scale scale", "suffixes"),
    ("impute run x.csv --out filled.csv --lower low.csv --level 90", "level is 90"),
    ("impute run other.csv --out filled.csv", "missing: weight, a,b, say"),
    ("impute nowhere x.csv --out filled.csv", "does not exist"),
    ("score run wide.npy --out scores.csv", "have 5 columns"),
    ("score run x.csv --json nowhere/scores.json", "a directory that exists"),
    ("summary x.csv", "is a file, not a directory"),
    (
        "score run x.csv --items first,nobody",
        "x.csv has no item nobody; it has first, i,2, 07, last",
    ),
    ("score run x.csv --items first,first", "item 'first' is asked for twice"),
    ("score run x.npy --items 1", "does not name its items"),
    ("score run x.csv --items ,", "',' names nothing"),
    ("score run x.csv --layer counts", "as its kind of file has none"),
    ("score run x.nc --layer counts", "x.nc has no variable 'counts'; it has x"),
    ("impute run x.zarr --layer counts --out filled.zarr", "has no variable 'counts'"),
]


@pytest.mark.parametrize(("words", "told"), BAD, ids=[w for w, _ in BAD])
def test_bad_input_is_one_sentence_and_nothing_is_written(
    folder: Path, capsys: pytest.CaptureFixture[str], words: str, told: str
) -> None:
    Path("other.csv").write_text("height,size\n1,2\n3,4\n")
    np.save("wide.npy", np.ones((3, 5)))
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    assert run(*words.split()) == 2
    said = capsys.readouterr().err
    assert told in said and len(said.strip().splitlines()) == 1 and "Traceback" not in said
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == before
