"""Labelled matrices of the libraries themselves: numbers of every type, gaps, names, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from twinplate import InputError
from twinplate.data.frames import item_names, items_of, to_frame

# AnnData asks pandas for an option that pandas 3.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The 'future.infer_string' option")

NAN = float("nan")
COLUMNS = {  # name -> numbers with a gap
    "small": [1, 255, None],
    "whole": [-3, None, 2**40],
    "real": [0.1, None, 1e300],
    "truth": [True, False, None],
}
EXPECTED = np.array([[1, -3, 0.1, 1], [255, NAN, NAN, 0], [NAN, 2**40, 1e300, NAN]])


def in_pandas():
    pandas = pytest.importorskip("pandas")
    types = {"small": "UInt8", "whole": "Int64", "real": "float64", "truth": "boolean"}
    return pandas.DataFrame(COLUMNS, index=["i/1", "i 2", "3"]).astype(types)


def in_polars():
    polars = pytest.importorskip("polars")
    types = {"small": polars.UInt8, "whole": polars.Int64, "real": polars.Float64}
    return polars.DataFrame(COLUMNS, schema={**types, "truth": polars.Boolean})


def in_xarray():
    xarray = pytest.importorskip("xarray")
    coords = {"cell": ["i/1", "i 2", "3"], "gene": list(COLUMNS)}
    return xarray.DataArray(EXPECTED, dims=("cell", "gene"), coords=coords)


def in_anndata(kind=np.asarray):
    anndata, pandas = pytest.importorskip("anndata"), pytest.importorskip("pandas")
    names = pandas.DataFrame(index=["i/1", "i 2", "3"]), pandas.DataFrame(index=list(COLUMNS))
    return anndata.AnnData(kind(EXPECTED), *names)


@pytest.mark.parametrize("made", [in_pandas, in_polars, in_xarray, in_anndata])
def test_numbers_of_every_type_are_float64_with_names(made):
    found = to_frame(made())
    assert found.x.dtype == np.float64 and found.columns == tuple(COLUMNS)
    np.testing.assert_array_equal(found.x, EXPECTED)
    assert found.items == (() if made is in_polars else ("i/1", "i 2", "3"))
    backwards = items_of(made(), tuple(COLUMNS)[::-1])
    np.testing.assert_array_equal(backwards, EXPECTED[:, ::-1])


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csc_array, sparse.coo_array])
def test_what_a_sparse_matrix_does_not_store_is_zero_and_its_nan_are_gaps(kind):
    stored = np.array([[0, 255, 0], [NAN, 0, 1]])
    for given in (kind(stored), kind(stored.astype(np.float32))):
        np.testing.assert_array_equal(to_frame(given).x, stored)
    bytes_only = kind(np.array([[0, 255]], dtype=np.uint8))
    assert to_frame(bytes_only).x.sum() == 255.0
    if kind is sparse.csr_matrix:
        np.testing.assert_array_equal(to_frame(in_anndata(kind)).x, EXPECTED)


def test_a_tensor_is_a_matrix_whether_or_not_it_is_trained():
    torch = pytest.importorskip("torch")
    values = torch.tensor([[1.5, NAN]], dtype=torch.bfloat16, requires_grad=True)
    found = to_frame(values)
    np.testing.assert_array_equal(found.x, [[1.5, NAN]])
    assert found.x.dtype == np.float64 and found.columns == found.items == ()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8", "bool"])
def test_an_array_of_jax_is_a_matrix_of_any_real_type(dtype):
    jnp = pytest.importorskip("jax.numpy")
    found = to_frame(jnp.array([[1, 0]], dtype))
    np.testing.assert_array_equal(found.x, [[1.0, 0.0]])
    assert found.x.dtype == np.float64 and found.columns == found.items == ()
    with pytest.raises(InputError, match="x holds complex64 values; expected real numbers"):
        to_frame(jnp.array([[1j]]))


def test_an_array_is_no_frame_and_a_frame_without_names_has_none():
    x = np.ones((2, 2), np.uint8)
    assert to_frame(x) is None and items_of(x, ("a", "b")) is x and item_names(x) == ()
    pandas = pytest.importorskip("pandas")
    bare = to_frame(pandas.DataFrame(x))
    assert (bare.columns, bare.items, bare.x.dtype) == ((), (), np.float64)
    assert items_of(pandas.DataFrame(x), ("a", "b")).shape == (2, 2)  # by place


def test_what_cannot_be_used_is_said_of_pandas():
    pandas = pytest.importorskip("pandas")
    frame = in_pandas()
    dates = pandas.to_datetime(["2020-01-01"] * 3)
    for column, told in (
        (["x", "y", "z"], "column 'more' of x has type"),
        (dates, "column 'more' of x has type datetime64"),
        (pandas.Categorical([1, 2, 3]), "type category"),
        ([1j, 2, 3], "complex"),
    ):
        with pytest.raises(InputError, match=told):
            to_frame(frame.assign(more=column))
    twice = pandas.concat([frame, frame[["small"]]], axis=1)
    with pytest.raises(InputError, match="'small' is there twice"):
        to_frame(twice)
    with pytest.raises(InputError, match=r"missing: size; unknown: truth"):
        items_of(frame, ("small", "whole", "real", "size"))


def test_what_cannot_be_used_is_said_of_the_others():
    polars = pytest.importorskip("polars")
    with pytest.raises(InputError, match="column 'text' of x has type String"):
        to_frame(polars.DataFrame({"text": ["a"]}))
    xarray = pytest.importorskip("xarray")
    with pytest.raises(InputError, match="expected two"):
        to_frame(xarray.DataArray(np.zeros((1, 2, 3))))
    empty = in_anndata()
    empty.X = None
    with pytest.raises(InputError, match="a layer"):
        to_frame(empty)


def test_what_a_masked_array_masks_is_missing():
    values = np.array([[1, 2], [999, 4]])
    frame = to_frame(np.ma.masked_array(values, values == 999))
    assert frame.x.dtype == np.float64
    np.testing.assert_array_equal(frame.x, [[1, 2], [np.nan, 4]])


def test_dims_of_xarray_that_say_that_features_come_first_are_refused():
    xarray = pytest.importorskip("xarray")
    x = np.arange(4.0).reshape(2, 2)  # of a square nothing else tells
    for dims in (("feature", "item"), ("features", "cell"), ("gene", "items")):
        with pytest.raises(InputError, match=r"features before items.*x.transpose\(\)"):
            to_frame(xarray.DataArray(x, dims=dims))
    known = xarray.DataArray(x, dims=("feature", "item"))
    np.testing.assert_array_equal(to_frame(known.transpose()).x, x.T)


@pytest.mark.parametrize("layout", ["to_sparse", "to_sparse_csr", "to_sparse_csc"])
@pytest.mark.filterwarnings("ignore:Sparse:UserWarning")
def test_what_a_sparse_tensor_does_not_store_is_zero(layout):
    torch = pytest.importorskip("torch")
    stored = torch.tensor([[0.0, 2.5, 0.0], [NAN, 0.0, 1.0]])
    np.testing.assert_array_equal(to_frame(getattr(stored, layout)()).x, stored.numpy())


def test_complex_numbers_are_refused_wherever_they_come_from():
    """Their imaginary part was dropped."""
    torch = pytest.importorskip("torch")
    for x in (torch.tensor([[1j]]), np.ma.masked_array([[1j]], [[False]])):
        with pytest.raises(InputError, match=r"x holds complex\d+ values; expected real"):
            to_frame(x)


def test_whole_numbers_of_128_bits_are_numbers_too():
    polars = pytest.importorskip("polars")
    for kind in (polars.Int128, polars.UInt128):
        x = polars.DataFrame({"a": [1, None, 2**40]}, schema={"a": kind})
        np.testing.assert_array_equal(to_frame(x).x, [[1.0], [NAN], [2.0**40]])


def test_what_holds_several_matrices_or_none_yet_is_told_what_to_do():
    polars, xarray = pytest.importorskip("polars"), pytest.importorskip("xarray")
    several = xarray.Dataset({"a": ("item", [1.0, 2.0]), "b": ("item", [3.0, 4.0])})
    with pytest.raises(InputError, match=r"Dataset, of a, b; expected a DataArray.*x\['a'\]"):
        to_frame(several)
    proposed = to_frame(several.to_dataarray("feature").T)
    np.testing.assert_array_equal(proposed.x, [[1.0, 3.0], [2.0, 4.0]])
    assert proposed.columns == ("a", "b")
    with pytest.raises(InputError, match=r"expected its rows: x.collect\(\)"):
        to_frame(polars.LazyFrame({"a": [1.0]}))
