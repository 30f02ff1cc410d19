"""Data files: what is read, what is refused, and how the message names the place."""

import csv
import io
import pickle
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from twinplate.data import load_generative, load_matrix
from twinplate.errors import InputError
from twinplate.survey import survey
from twinplate.table import Table, check_matrix, fingerprint

NAN = float("nan")
FLOATS = st.floats(allow_infinity=False, width=64)
MATRICES = hnp.arrays(np.float64, hnp.array_shapes(min_dims=2, max_dims=2), elements=FLOATS)


@pytest.fixture
def write(tmp_path: Path):
    """Write text or bytes to a file of the given name and return its path."""

    def write(content: str | bytes, name: str = "data.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def npy(x) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(x))
    return buffer.getvalue()


def npz(compressed: bool = False, **arrays) -> bytes:
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, **arrays)
    return buffer.getvalue()


def parquet(**columns) -> bytes:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


def refusal(function, *args, **kwargs) -> str:
    with pytest.raises(InputError) as caught:
        function(*args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    return message


def bits(x: np.ndarray) -> bytes:
    """The bytes of `x` with all NaNs alike: equality to the last bit, the sign of zero included."""
    return np.where(np.isnan(x), NAN, x).tobytes()


# ---------------------------------------------------------------------------------- what is read


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
        ("a\tb\n\t2\n", ("a", "b"), [[NAN, 2]]),
        (",b,NA\n1,2,3\n", ("column 1", "b", "NA"), [[1, 2, 3]]),
        ("nan,NA, ,NULL, NaN \n1,2,3,4,5\n", None, [[NAN] * 5, [1, 2, 3, 4, 5]]),
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


# ------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("text", "fragments"),
    [
        ("", ["empty", "no data rows"]),
        ("\n  \n\n", ["no data rows"]),
        ("\ufeff", ["no data rows"]),
        ("height,weight\n", ["no data rows"]),
        ("height,name\n1,2\n3, Bob \n", ["line 3", "column 2 ('name')", "'Bob'"]),
        ("1,2\n3,4\n5,x\n", ["line 3", "column 2 ", "'x'"]),
        ("1,Bob,3\n", ["line 1", "column 2 ", "'Bob'"]),
        ("a\n1_000\n", ["line 2", "'1_000'"]),
        ("a;b\n1,5;2,5\n", ["line 2", "column 1 ('a')", "'1,5'"]),
        ("1 2\n3 4\n", ["line 2", "'3 4'"]),
        ("a,b\n1,2\n3\n", ["line 3", "found 1 cells, expected 2"]),
        ("1,2\n3,4,5\n", ["line 2", "found 3 cells, expected 2"]),
        ("a\n1,2\n", ["line 2", "found 2 cells, expected 1"]),
        ("1,2\n\n3,4\n", ["line 2", "found 0 cells, expected 2"]),
        ("1\n2\n\n4\n", ["line 3", "found 0 cells, expected 1"]),
        ('"a\nb",c\n1,2\n3\n', ["line 4", "found 1 cells, expected 2"]),
        ('a,b\n1,"2\n3,4\n', ["line 3", "not valid CSV"]),
        ("a,b\n1,2\n3,-inf\n", ["1 infinite", "row 2", "column 2 ('b')"]),
        ("1,1e999\nInfinity,2\n", ["2 infinite", "row 1", "column 2:"]),
        (b"a,b\n1,\xff\n", ["UTF-8"]),
        ("a,b\n1,2\n".encode("utf-16"), ["UTF-8"]),
    ],
)
def test_refused_csv(write, text, fragments):
    message = refusal(load_matrix, write(text))
    assert "data.csv" in message
    assert all(fragment in message for fragment in fragments), message


def test_a_long_cell_is_quoted_short(write):
    assert len(refusal(load_matrix, write("a\n" + "x" * 10_000))) < 400


@pytest.mark.parametrize(
    ("array", "fragments"),
    [
        (np.ones(3), ["(3,)", "two dimensions"]),
        (np.ones((2, 3, 4)), ["(2, 3, 4)"]),
        (np.float64(1), ["()"]),
        (np.empty((0, 3)), ["no data", "(0, 3)"]),
        (np.empty((3, 0)), ["no data", "(3, 0)"]),
        (np.ones((2, 2), complex), ["complex128", "real"]),
        (np.array([["1", "2"]]), ["<U1", "real"]),
        (np.array([["2020-01-01"]], "M8[D]"), ["datetime64"]),
        (np.ones((2, 2), [("a", "f8")]), ["[('a', '<f8')]"]),
        (np.array([[1, None]]), ["Python objects"]),
        (np.array([[1.0, np.inf], [-np.inf, 0]]), ["2 infinite", "row 1", "column 2"]),
        (np.array([[1, np.finfo(np.longdouble).max]]), ["1 infinite"]),
    ],
)
@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_refused_arrays(write, array, fragments, suffix):
    content = npy(array) if suffix == "npy" else npz(x=array)
    message = refusal(load_matrix, write(content, f"data.{suffix}"))
    assert f"data.{suffix}" in message
    assert all(fragment in message for fragment in fragments), message


def test_npz_of_several_arrays_needs_one_called_x(write):
    message = refusal(load_matrix, write(npz(u=[[1.0]], v=[[2.0]]), "data.npz"))
    assert "u, v" in message and "`x`" in message
    assert "none" in refusal(load_matrix, write(npz(), "data.npz"))


def test_refused_parquet_columns(write):
    message = refusal(load_matrix, write(parquet(a=[1.0], name=["Bob"]), "data.parquet"))
    assert "column 2 ('name')" in message and "string" in message
    message = refusal(load_matrix, write(parquet(a=[1.0, -np.inf]), "data.parquet"))
    assert "row 2" in message and "('a')" in message
    assert "no data" in refusal(load_matrix, write(parquet(a=np.empty(0)), "data.parquet"))


WHOLE = {
    "data.npy": npy(np.ones((4, 3))),
    "data.npz": npz(x=np.ones((4, 3))),
    "data.NPZ": npz(compressed=True, x=np.arange(300.0).reshape(100, 3)),
}


@pytest.mark.parametrize("name", [*WHOLE, "data.parquet"])
def test_truncated_and_foreign_files(write, name):
    content = WHOLE.get(name) or parquet(a=np.ones(4))
    load_matrix(write(content, name))
    size = len(content)
    for length in sorted({0, 1, 3, 6, 9, 50, *range(10, size, size // 20), size - 1}):
        assert "truncated" in refusal(load_matrix, write(content[:length], name)), length
    for foreign in (b"a,b\n1,2\n", pickle.dumps([[1.0]]), b"\0" * 100):
        assert "truncated" in refusal(load_matrix, write(foreign, name))


def test_a_flipped_bit_in_npz_is_noticed(write):
    content = bytearray(WHOLE["data.NPZ"])
    content[len(content) // 2] ^= 1
    assert "damaged" in refusal(load_matrix, write(bytes(content), "data.npz"))


def test_pickles_are_never_run(write, tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "sprung",))

    for name, content in [
        ("a.npy", pickle.dumps(Trap())),
        ("b.npy", npy(np.array([[Trap()]]))),
        ("c.npz", npz(x=np.array([[Trap()]]))),
    ]:
        refusal(load_matrix, write(content, name))
    refusal(load_generative, write(npz(loadings=np.array([[Trap()]])), "d.npz"))
    assert not (tmp_path / "sprung").exists()


def test_missing_file_directory_suffix_permission(write, tmp_path, monkeypatch):
    assert "does not exist" in refusal(load_matrix, tmp_path / "no.csv")
    assert "is a directory" in refusal(load_matrix, tmp_path)
    for name in ("data.txt", "data"):
        message = refusal(load_matrix, write("1", name))
        assert all(suffix in message for suffix in (".csv", ".npy", ".npz", ".parquet"))
    monkeypatch.setattr("os.access", lambda *_: False)
    assert "no permission" in refusal(load_matrix, write("1"))


def test_parquet_without_pyarrow_names_the_extra(write):
    path = write(b"PAR1", "data.parquet")
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from twinplate.data import load_matrix\n"
        f"from pathlib import Path; load_matrix(Path({str(path)!r}))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "InputError" in run.stderr and "pip install 'twinplate[all]'" in run.stderr


# ---------------------------------------------------------------- what a model can be fitted to


def check(x, missing="mask", learn_noise=True):
    x = np.asarray(x, dtype=np.float64)
    table = Table(x, tuple("abcdefghi"[: x.shape[1]]), survey(x))
    check_matrix(table, missing=missing, learn_noise=learn_noise)


def test_a_sound_matrix_passes():
    check([[1, 2], [2, 1]], missing="error")
    check([[1, NAN], [2, 1], [NAN, 3]])
    check([[1, 5], [2, 5]], learn_noise=False)


@pytest.mark.parametrize(
    ("x", "options", "fragments"),
    [
        (
            [[1, 2, 3], [4, NAN, NAN]],
            {"missing": "error"},
            ["2 entries", "row 2", "column 2 ('b')", "--missing mask"],
        ),
        ([[1, NAN, 1], [2, NAN, 0]], {}, ["without any entry", "column 2 ('b')"]),
        ([[1, 2], [NAN, NAN], [3, 4], [NAN, NAN]], {}, ["2 items", "row 2"]),
        ([[1, 2], [NAN, NAN]], {"learn_noise": False}, ["1 items", "row 2"]),
        ([[1, 7], [2, 7]], {}, ["onstant", "column 2 ('b')", "noise_scale"]),
        ([[1, 7], [2, NAN]], {}, ["onstant", "column 2 ('b')"]),
        (np.ones((2, 9)), {}, ["column 5 ('e') and 4 more"]),
    ],
)
def test_refused_matrices(x, options, fragments):
    message = refusal(check, x, **options)
    assert all(fragment in message for fragment in fragments), message


def test_columns_without_a_name_are_named_once():
    x = np.full((2, 2), NAN)
    table = Table(x, ("column 1", "column 2"), survey(x))
    message = refusal(check_matrix, table, missing="mask", learn_noise=False)
    assert message == "Columns without any entry: column 1, column 2. Drop them."


# ------------------------------------------------------------------------------------ fingerprint


@given(x=MATRICES, y=MATRICES)
def test_fingerprints_are_equal_exactly_when_matrices_are(x, y):
    assert fingerprint(x) == fingerprint(np.asfortranarray(x)) == fingerprint(x.astype(">f8"))
    same = x.shape == y.shape and bits(x) == bits(y)
    assert (fingerprint(x) == fingerprint(y)) == same


def test_fingerprint_knows_shape_value_and_one_nan():
    x = np.arange(6.0).reshape(2, 3)
    assert len({fingerprint(x), fingerprint(x.T), fingerprint(x.reshape(3, 2))}) == 3
    assert fingerprint(x) != fingerprint(x + np.spacing(6.0))
    payload = np.array([[0x7FF8000000000001, 0xFFF8000000000000]], np.uint64).view(np.float64)
    assert fingerprint(payload) == fingerprint(np.array([[NAN, NAN]]))
    assert fingerprint(x) == fingerprint(x.astype(np.int32))


def test_fingerprint_is_fixed():
    """A run written today is recognised for good: the bytes hashed are spelled out here by hand."""
    import hashlib
    import struct

    expected = hashlib.sha256(b"float64 (1, 2) " + struct.pack("<dQ", 1.5, 0x7FF8 << 48))
    assert fingerprint(np.array([[1.5, -NAN]])) == expected.hexdigest()
