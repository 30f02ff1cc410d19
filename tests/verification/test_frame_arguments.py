"""Frames among the arguments stay frames, whether their columns hold names or numbers alone."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as numpyro_dist
import pandas
import polars
import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray

from numpyro_impl import Program as NumpyroProgram
from numpyro_impl.arguments import make_inputs as numpyro_inputs
from pyro_impl import Program
from pyro_impl.arguments import make_inputs as pyro_inputs
from twinplate import verify
from twinplate.verification.frames import is_frame
from twinplate.verification.recording import perturbed

COLUMNS = {"y": [0.3, -1.2, 0.7], "n": [1, 2, 3]}
NAMED = {**COLUMNS, "site": ["a", "b", "b"]}
FRAMES = {
    "pandas": pandas.DataFrame(COLUMNS),
    "pandas, named": pandas.DataFrame(NAMED),
    "polars": polars.DataFrame(COLUMNS),
    "polars, named": polars.DataFrame(NAMED),
    "xarray": xarray.Dataset({name: ("row", values) for name, values in COLUMNS.items()}),
}
SERIES = {
    "pandas": FRAMES["pandas"]["y"],
    "polars": FRAMES["polars"]["y"],
    "xarray": FRAMES["xarray"]["y"],
}


def pyro_model(frame):
    loc = pyro.sample("loc", dist.Normal(0.0, 2.0))
    y, n = (torch.as_tensor(np.array(frame[name].to_numpy())) for name in ("y", "n"))
    with pyro.plate("rows", len(y)):
        pyro.sample("y", dist.Normal(loc, n.sqrt()), obs=y)


def numpyro_model(frame, wrong=0):
    loc = numpyro.sample("loc", numpyro_dist.Normal(0.0, 2.0))
    y, n = (jnp.asarray(frame[name].to_numpy()) for name in ("y", "n"))
    with numpyro.plate("rows", len(y)):
        numpyro.sample("y", numpyro_dist.Normal(loc, jnp.sqrt(n + wrong)), obs=y)


@pytest.mark.parametrize("kind", FRAMES)
def test_a_frame_is_read_by_its_columns(kind):
    case = Program(pyro_model), NumpyroProgram(numpyro_model)
    report = verify(*case, args=(FRAMES[kind],))
    assert report.ok, report


def test_what_is_read_wrongly_from_a_frame_is_seen():
    second = NumpyroProgram(lambda frame: numpyro_model(frame, wrong=1))
    report = verify(Program(pyro_model), second, args=(FRAMES["pandas"],), seeds=(0,), stress=False)
    assert (report.verdict, report.findings[0].site) == ("differs", "y"), report


@pytest.mark.parametrize("kind", SERIES)
def test_a_series_stays_one(kind):
    def first(y):
        assert type(y) is type(SERIES[kind])
        pyro.sample("z", dist.Normal(torch.tensor(float(y.mean())), 1.0))

    def second(y):
        assert type(y) is type(SERIES[kind])
        numpyro.sample("z", numpyro_dist.Normal(float(y.mean()), 1.0))

    report = verify(Program(first), NumpyroProgram(second), args=(SERIES[kind],), seeds=(0,))
    assert report.ok, report


@pytest.mark.parametrize("make", [pyro_inputs, numpyro_inputs])
@pytest.mark.parametrize("kind", [*FRAMES, *(f"series, {kind}" for kind in SERIES)])
def test_real_columns_have_the_precision_of_the_run(make, kind):
    frame = SERIES[kind.removeprefix("series, ")] if "series" in kind else FRAMES[kind]
    inputs = make((frame,), {}, "float32")
    made = (inputs.arguments()[0] if hasattr(inputs, "arguments") else inputs.args)[0]
    assert type(made) is type(frame)
    column = made if "series" in kind else made["y"]
    assert column.to_numpy().dtype == np.float32
    np.testing.assert_array_equal(column.to_numpy(), np.float32(COLUMNS["y"]))
    if "series" not in kind:
        np.testing.assert_array_equal(made["n"].to_numpy(), COLUMNS["n"])


@pytest.mark.parametrize("kind", FRAMES)
def test_real_columns_are_moved_for_the_noise(kind):
    made = perturbed({"frame": FRAMES[kind]}, np.random.default_rng(0))["frame"]
    assert is_frame(made)
    moved = made["y"].to_numpy() / FRAMES[kind]["y"].to_numpy()
    assert (moved != 1).all()
    np.testing.assert_allclose(moved, 1, atol=1e-11)
    np.testing.assert_array_equal(made["n"].to_numpy(), COLUMNS["n"])


def test_columns_of_one_name_and_what_is_missing_stay():
    frame = pandas.DataFrame([[1.5, None, "a"]], columns=["x", "x", "name"]).astype({"name": "str"})
    made = pyro_inputs((frame,), {}, "float32").args[0]
    assert list(made.columns) == ["x", "x", "name"]
    assert made.iloc[0, 0] == 1.5
    assert pandas.isna(made.iloc[0, 1])
    nulls = polars.DataFrame({"x": [1.5, None]})
    made = pyro_inputs((nulls,), {}, "float32").args[0]
    assert made["x"].null_count() == 1
