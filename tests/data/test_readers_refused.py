"""Data files: what is refused, and how the message names the place."""

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from data_files import npy, npz, parquet, refusal

from twinplate.data.readers import load_generative, load_matrix


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
        ("1,5;2,5\n3,5;4,5\n", ["line 2", "'3,5'", "decimal point"]),
        ('a,b\n"1,234.5",2\n', ["line 2", "'1,234.5'", "without commas between thousands"]),
        ("a,b\n1,5,2\n1,7,3\n", ["line 2", "found 3 cells, expected 2, as in the header"]),
        ("1 2\n3 4\n", ["line 2", "'3 4'"]),
        ("a,b\n1,2\n3\n", ["line 3", "found 1 cell, expected 2"]),
        ("1,2\n3,4,5\n", ["line 2", "found 3 cells, expected 2"]),
        ("a\n1,2\n", ["line 2", "found 2 cells, expected 1"]),
        ("1,2\n\n3,4\n", ["line 2", "found 0 cells, expected 2"]),
        ("1\n2\n\n4\n", ["line 3", "found 0 cells, expected 1"]),
        ('"a\nb",c\n1,2\n3\n', ["line 4", "found 1 cell, expected 2"]),
        ('a,b\n1,"2\n3,4\n', ["line 3", "not valid CSV"]),
        ("a,b\n1,2\n3,-inf\n", ["1 infinite entry", "row 2", "column 2 ('b')"]),
        ("1,1e999\nInfinity,2\n", ["2 infinite entries", "row 1", "column 2:"]),
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
        "from twinplate.data.readers import load_matrix\n"
        f"from pathlib import Path; load_matrix(Path({str(path)!r}))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "InputError" in run.stderr and "pip install 'twinplate[all]'" in run.stderr
