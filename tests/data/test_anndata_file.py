"""H5AD files by AnnData itself: read, written and refused."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from data_files import refusal
from scipy import sparse

from twinplate.data.columns import Wanted
from twinplate.data.readers import load_matrix
from twinplate.data.table import Names
from twinplate.data.writers import table_file

# AnnData asks pandas for an option that pandas 3.1 deprecates, and says before Python 3.12 that it will write
# another version of Zarr one day.
pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{warning}")
    for warning in ("The 'future.infer_string' option", "Writing zarr v2 data will no longer")
]

X = np.array([[0.0, 2.0, 255.0], [0.0, 0.0, np.nan]])
CELLS, GENES = ["AAAC-1", "AAAG/2"], ["B/C", "gene_id", "é"]


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
def test_cells_are_items_and_genes_features(tmp_path, kind):
    anndata, pandas = pytest.importorskip("anndata"), pytest.importorskip("pandas")
    index = [pandas.Index(names, dtype=object) for names in (CELLS, GENES)]
    frames = [pandas.DataFrame(index=names) for names in index]
    anndata.AnnData(kind(X), *frames).write_h5ad(tmp_path / "x.h5ad")
    table = load_matrix(tmp_path / "x.h5ad")
    np.testing.assert_array_equal(table.x, X)
    assert (table.columns, table.items, table.named) == (tuple(GENES), tuple(CELLS), True)
    some = load_matrix(tmp_path / "x.h5ad", choose=Wanted(columns=("é", "B/C")).choose)
    np.testing.assert_array_equal(some.x, X[:, [2, 0]])
    assert some.left_out == ("gene_id",) and some.items == tuple(CELLS)


def test_what_is_written_is_read_by_anndata(tmp_path):
    anndata = pytest.importorskip("anndata")
    path = tmp_path / "made" / "x.h5ad"
    with table_file(path, X.shape, Names(tuple(GENES), tuple(CELLS), "id")) as write:
        for row in X:
            write(row[None])
    found = anndata.read_h5ad(path)
    np.testing.assert_array_equal(found.X, X)
    assert (list(found.obs_names), list(found.var_names)) == (CELLS, GENES)


def test_a_damaged_file_is_told(tmp_path):
    pytest.importorskip("anndata")
    (tmp_path / "x.h5ad").write_bytes(b"no HDF5")
    assert "no H5AD file" in refusal(load_matrix, tmp_path / "x.h5ad")


def test_a_missing_package_is_told(tmp_path, monkeypatch):
    (tmp_path / "x.h5ad").write_bytes(b"not looked at")
    monkeypatch.setitem(sys.modules, "anndata", None)
    assert "pip install 'twinplate[anndata]'" in refusal(load_matrix, tmp_path / "x.h5ad")


@pytest.fixture
def layers():
    """An AnnData without X, with one layer of each kind."""
    anndata, pandas = pytest.importorskip("anndata"), pytest.importorskip("pandas")
    frames = [pandas.DataFrame(index=pandas.Index(names, dtype=object)) for names in (CELLS, GENES)]
    counts = X.astype(np.float32)
    found = {"counts": sparse.csr_matrix(counts), "log": np.log1p(X)}
    return anndata.AnnData(None, *frames, layers=found)


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_a_layer_is_read_by_its_name(tmp_path, layers, suffix):
    path = tmp_path / f"x.{suffix}"
    getattr(layers, {"h5ad": "write_h5ad", "zarr": "write_zarr"}[suffix])(path)
    for layer, expected in (("counts", X), ("log", np.log1p(X))):
        table = load_matrix(path, layer=layer)
        np.testing.assert_array_equal(table.x, expected)  # NaN that is stored in a sparse one, too
        assert (table.columns, table.items) == (tuple(GENES), tuple(CELLS))
    assert "has no layer 'raw'; it has counts, log" in refusal(load_matrix, path, layer="raw")
    assert "has no X; expected --layer" in refusal(load_matrix, path)


@pytest.mark.filterwarnings("ignore:.* names are not unique")
def test_names_that_are_there_twice_are_told(tmp_path, layers):
    path = tmp_path / "x.h5ad"
    layers.obs_names = ["cell", "cell"]
    layers.write_h5ad(path)
    told = refusal(load_matrix, path, layer="log", items=["cell"])
    assert "item 'cell' is there in" in told and "twice" in told
    layers.var_names = ["B", "B", "c"]
    layers.write_h5ad(path)
    assert "column 'B' is there twice" in refusal(load_matrix, path, layer="log")
