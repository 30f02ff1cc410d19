"""Data files: what is read, to the last bit."""

import csv
import io
from fractions import Fraction

import hypothesis.strategies as st
import numpy as np
import pytest
from data_files import MATRICES, NAN, bits, npy, npz, parquet
from hypothesis import given, settings

from twinplate import InputError
from twinplate.data.columns import Wanted
from twinplate.data.readers import load_matrix


@settings(deadline=None)
@given(x=MATRICES, separator=st.sampled_from(",;\t"), header=st.booleans(), bom=st.booleans())
def test_csv_round_trip_keeps_every_bit(tmp_path_factory, x, separator, header, bom):
    names = tuple(f"feature {j}" for j in range(x.shape[1]))
    path = tmp_path_factory.mktemp("csv") / "data.csv"
    with path.open("w", encoding="utf-8-sig" if bom else "utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=separator)
        writer.writerows(([names] if header else []) + x.tolist())
    table = load_matrix(path)
    assert table.x.shape == x.shape and bits(table.x) == bits(x)
    default = tuple(f"column {j + 1}" for j in range(x.shape[1]))
    assert table.columns == (names if header else default)


@settings(deadline=None)
@given(x=MATRICES, suffix=st.sampled_from([".npy", ".NPY", ".npz", ".parquet"]))
def test_binary_round_trip_keeps_every_bit(tmp_path_factory, x, suffix):
    names = [f"feature {j}" for j in range(x.shape[1])]
    content = {
        ".npy": lambda: npy(np.asfortranarray(x)),
        ".npz": lambda: npz(x=x, other=np.array(["not", "read"])),
        ".parquet": lambda: parquet(**dict(zip(names, x.T, strict=True))),
    }[suffix.lower()]()
    path = tmp_path_factory.mktemp("binary") / f"data{suffix}"
    path.write_bytes(content)
    table = load_matrix(path)
    assert table.x.dtype == np.float64 and table.x.flags.c_contiguous
    assert table.x.shape == x.shape and bits(table.x) == bits(x)
    assert (
        list(table.columns) == names if suffix == ".parquet" else len(table.columns) == len(names)
    )


@pytest.mark.parametrize(
    ("text", "columns", "x"),
    [
        ("1,2\n3,4\n", ("column 1", "column 2"), [[1, 2], [3, 4]]),
        ("\n \na,b\n1,2\n\n\n", ("a", "b"), [[1, 2]]),
        ('"a, c", b \n1,2', ("a, c", "b"), [[1, 2]]),
        ("a;b\r\n1;2\r\n", ("a", "b"), [[1, 2]]),
        ("\n\na;b\n1;2\n", ("a", "b"), [[1, 2]]),
        ('"a; b",c\n1,2\n', ("a; b", "c"), [[1, 2]]),
        ('"a, b";c\n1;2\n', ("a, b", "c"), [[1, 2]]),
        ("a\tb\n\t2\n", ("a", "b"), [[NAN, 2]]),
        (",b,NA\n1,2,3\n", ("column 1", "b", "NA"), [[1, 2, 3]]),
        ("nan,NA, ,NULL, NaN \n1,2,3,4,5\n", None, [[NAN] * 5, [1, 2, 3, 4, 5]]),
        ("N/A,None,#N/A,<NA>\n1,2,3,4\n", None, [[NAN] * 4, [1, 2, 3, 4]]),
        ("1,\n,1e-3\n", None, [[1, NAN], [NAN, 0.001]]),
        ('x\n1\n""\n3\n', ("x",), [[1], [NAN], [3]]),
        ("0,1\n5,6\n", ("column 1", "column 2"), [[0, 1], [5, 6]]),
        ("Größe,μ\n-1,+.5\n", ("Größe", "μ"), [[-1, 0.5]]),
    ],
)
def test_csv_text(write, text, columns, x):
    table = load_matrix(write(text))
    np.testing.assert_array_equal(table.x, x)
    assert columns is None or table.columns == columns


@pytest.mark.parametrize(
    "dtype", ["bool", "int8", "uint64", "float16", "float32", ">f8", "longdouble"]
)
def test_every_real_dtype_becomes_float64(write, dtype):
    x = np.array([[0, 1, 1], [1, 0, 1]], dtype=dtype)
    table = load_matrix(write(npy(x), "data.npy"))
    assert table.x.dtype == np.dtype("=f8")
    np.testing.assert_array_equal(table.x, [[0, 1, 1], [1, 0, 1]])


@pytest.mark.parametrize("compressed", [False, True])
def test_npz_with_one_array_of_any_name(write, compressed):
    path = write(npz(compressed, digits=[[1.0, NAN]]), "data.npz")
    np.testing.assert_array_equal(load_matrix(path).x, [[1, NAN]])


def test_parquet_types_and_nulls(write):
    pa = pytest.importorskip("pyarrow")
    columns = {
        "int": pa.array([2**40, None]),
        "bool": pa.array([True, None]),
        "half": pa.array(np.array([0.5, NAN], np.float16)),
        "decimal": pa.array([None, 1], pa.decimal128(5, 2)),
        "nothing": pa.nulls(2),
    }
    table = load_matrix(write(parquet(**columns), "data.parquet"))
    expected = [[2.0**40, 1, 0.5, NAN, NAN], [NAN, NAN, NAN, 1, NAN]]
    np.testing.assert_array_equal(table.x, expected)
    assert table.columns == tuple(columns)


def test_row_labels_of_a_pandas_frame_are_no_feature(write):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    meta = b'{"index_columns": ["__index_level_0__"], "columns": []}'
    table = pa.table({"a": [1.0, 2.0], "__index_level_0__": [7, 9]})
    buffer = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({b"pandas": meta}), buffer)
    loaded = load_matrix(write(buffer.getvalue(), "data.parquet"))
    assert loaded.columns == ("a",) and loaded.x.tolist() == [[1], [2]]
    assert loaded.items == ("7", "9") and loaded.left_out == ()


def test_parquet_of_a_partitioned_folder_and_twin_names(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    (tmp_path / "year=7").mkdir()
    path = tmp_path / "year=7" / "data.parquet"
    pq.write_table(pa.Table.from_arrays([pa.array([1.0]), pa.array([2.0])], ["a", "a"]), path)
    table = load_matrix(path)
    assert table.columns == ("a", "a") and table.x.tolist() == [[1, 2]]


def test_numbers_are_read_to_the_nearest_double(write):
    """Correct rounding of decimal text, against exact rational arithmetic."""
    text = ["0.1", "1e-310", "123456789012345678901234567890", "2.2250738585072011e-308", "5e-324"]
    x = load_matrix(write("\n".join(text))).x[:, 0]
    for value, exact in zip(x, map(Fraction, text), strict=True):
        error = abs(Fraction(float(value)) - exact)
        assert error <= Fraction(float(np.spacing(value))) / 2


def test_npz_with_names_beside_the_data(write):
    names, items = np.array(["a", "b"]), np.array([10, 20, 30])
    path = write(
        npz(x=[[1.0, 5.0], [2.0, 4.0], [3.0, 7.0]], columns=names, items=items), "data.npz"
    )
    found = load_matrix(path)
    assert found.columns == ("a", "b") and found.named
    assert found.items == ("10", "20", "30") and found.id_columns == ("items",)
    np.testing.assert_array_equal(found.x[:, 1], [5, 4, 7])
    swapped = load_matrix(path, choose=Wanted(columns=("b", "a")).choose)
    np.testing.assert_array_equal(swapped.x[:, swapped.columns.index("b")], [5, 4, 7])
    assert {*swapped.columns} == {"a", "b"}
    for wrong, told in (
        ({"columns": np.array(["a"])}, "1 name in `columns` and an `x` of shape"),
        ({"items": np.array([[1.0]])}, "expected a row of names"),
    ):
        with pytest.raises(InputError, match=told):
            load_matrix(write(npz(x=[[1.0, 5.0], [2.0, 4.0]], **wrong), "data.npz"))
