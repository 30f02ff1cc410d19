"""Zarr stores and NetCDF files by their own libraries: read, written and refused."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from data_files import refusal

from twinplate.data.columns import Wanted
from twinplate.data.readers import load_matrix
from twinplate.data.table import Names
from twinplate.data.writers import table_file

xarray, zarr = pytest.importorskip("xarray"), pytest.importorskip("zarr")

X = np.array([[0.0, 2.0, 255.0], [1.0, 0.0, np.nan]])
ITEMS, FEATURES = ("one", "1/2"), ("a/b", "c", "é")


def stored(path, data):
    if path.suffix == ".nc":
        data.to_netcdf(path, engine="h5netcdf")
    else:
        data.to_zarr(path, zarr_format=2)
    return path


@pytest.mark.parametrize("suffix", ["nc", "zarr"])
def test_a_variable_is_read_with_its_coordinates(tmp_path, suffix):
    axes = {"day": list(ITEMS), "place": list(FEATURES)}
    both = {"x": (tuple(axes), X), "twice": (tuple(axes), 2 * X), "hour": ("day", [1, 2])}
    path = stored(tmp_path / f"x.{suffix}", xarray.Dataset(both, axes))
    table = load_matrix(path)
    np.testing.assert_array_equal(table.x, X)
    assert (table.columns, table.items, table.id_columns) == (FEATURES, ITEMS, ("day",))
    some = load_matrix(path, choose=Wanted(columns=("é", "c")).choose, layer="twice", items=["1/2"])
    np.testing.assert_array_equal(some.x, 2 * X[1:, [2, 1]])
    assert "has no variable 'raw'; it has " in refusal(load_matrix, path, layer="raw")
    assert "expected two, of items and of features" in refusal(load_matrix, path, layer="hour")


@pytest.mark.parametrize("suffix", ["nc", "zarr"])
def test_of_several_variables_none_is_guessed(tmp_path, suffix):
    both = dict.fromkeys(("first", "second"), (("n", "d"), X))
    path = stored(tmp_path / f"x.{suffix}", xarray.Dataset(both))
    assert "has first, second with two dims" in refusal(load_matrix, path)
    table = load_matrix(path, layer="second")
    assert not table.named and table.columns[0] == "column 1" and table.items == ()


def test_a_bare_array_is_read(tmp_path):
    zarr.save_array(str(tmp_path / "x.zarr"), X.astype(np.float32))
    np.testing.assert_array_equal(load_matrix(tmp_path / "x.zarr").x, X)
    assert "is one array" in refusal(load_matrix, tmp_path / "x.zarr", layer="counts")


@pytest.mark.parametrize("names", [Names(FEATURES, ITEMS, "day"), Names()])
@pytest.mark.parametrize("suffix", ["nc", "zarr"])
def test_what_is_written_is_read_by_xarray(tmp_path, suffix, names):
    path = tmp_path / f"x.{suffix}"
    with table_file(path, X.shape, names) as write:
        for row in X:
            write(row[None])
    opened = xarray.open_zarr(path, chunks=None) if suffix == "zarr" else xarray.open_dataset(path)
    with opened as found:
        np.testing.assert_array_equal(found["x"], X)
        assert found["x"].dims == ("day" if names.items else "item", "feature")
        if names.items:
            assert (
                tuple(found["day"].values) == ITEMS and tuple(found["feature"].values) == FEATURES
            )
    assert load_matrix(path).items == names.items


@pytest.mark.parametrize("suffix", ["nc", "zarr"])
def test_damage_and_a_missing_package_are_told(tmp_path, suffix, monkeypatch):
    path = tmp_path / f"x.{suffix}"
    if suffix == "zarr":
        path.mkdir()
    else:
        path.write_bytes(b"no NetCDF")
    assert "it is truncated, damaged or no" in refusal(load_matrix, path)
    monkeypatch.setitem(sys.modules, {"nc": "xarray", "zarr": "zarr"}[suffix], None)
    assert "install it with: pip install 'twinplate" in refusal(load_matrix, path)
