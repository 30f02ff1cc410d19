"""Parquet by its row groups and Zarr by its chunks: the numbers of a matrix that is held in memory."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr
from data_files import bits, refusal

from twinplate import InputError
from twinplate.data.blocks import Walk, blocks, gather, on_disk
from twinplate.data.columns import ALL, Fitted, Wanted
from twinplate.data.readers import load_items, load_matrix
from twinplate.data.stored import Stored
from twinplate.data.table import fingerprint

# Texts in Zarr's third format, of which Zarr 3.1.0 says that they are not specified yet.
pytestmark = pytest.mark.filterwarnings("ignore:The codec `vlen-utf8`:UserWarning")

N, D, PART = 103, 4, 10
NAMES = tuple("abcd")


@pytest.fixture
def stays(monkeypatch):
    monkeypatch.setattr("twinplate.data.readers.MAPPED_BYTES", 0)


@pytest.fixture
def x():
    x = np.random.default_rng(0).normal(size=(N, D))
    x[5, 2] = x[99, 0] = np.nan
    return x


def parquet_of(path, x, part=PART, **first):
    columns = {**first, **dict(zip(NAMES, x.T, strict=True))}
    pq.write_table(pa.table(columns), path, row_group_size=part)
    return path


def zarr_of(path, x, part=PART, version=3, **beside):
    group = zarr.open_group(path, mode="w", zarr_format=version)
    group.create_array("x", data=x, chunks=(part, 3))
    for name, values in beside.items():
        group.create_array(name, data=np.array(values, np.dtypes.StringDType()))
    return path


WAYS = {".parquet": parquet_of, ".zarr": zarr_of}


@pytest.fixture(params=WAYS)
def file(request, tmp_path):
    """`file(x)`: where `x` lies, in parts of ten rows."""
    return lambda x, **how: WAYS[request.param](tmp_path / f"data{request.param}", x, **how)


def test_what_stays_on_disk_is_what_is_read(file, x, monkeypatch):
    small = load_matrix(file(x), fingerprinted=True)
    monkeypatch.setattr("twinplate.data.readers.MAPPED_BYTES", 8 * N * D - 1)
    large = load_matrix(file(x), fingerprinted=True)
    assert on_disk(large.x) and not on_disk(small.x) and bits(small.x) == bits(x)
    assert small.fingerprint == large.fingerprint == fingerprint(x)
    for name in ("mean", "variance", "low", "high", "observed"):
        np.testing.assert_array_equal(
            getattr(large.statistics, name), getattr(small.statistics, name)
        )
    assert bits(np.asarray(large.x)) == bits(x)


@pytest.mark.parametrize("block_bytes", [8 * D * 7, 8 * D * 25, 1 << 22])
def test_blocks_and_items_are_those_of_the_matrix(file, x, stays, monkeypatch, block_bytes):
    """Of blocks and chunks that are decoded together, in every order of sizes."""
    monkeypatch.setattr("twinplate.data.blocks.fitting.__defaults__", (block_bytes,))
    stored = load_matrix(file(x)).x
    for rows in (slice(None), slice(13, 58), slice(95, N)):
        for length in (None, 1, 10, 64):
            told: list[int] = []
            found = list(blocks(stored, lambda *t, told=told: told.extend(t), length, rows))
            first, end, _ = rows.indices(N)
            step = length or min(end - first, block_bytes // (8 * D))
            for (at, block), start in zip(found, range(first, end, step), strict=True):
                assert at == start and bits(block) == bits(x[start : min(start + step, end)])
            assert told[-2:] == [len(x[rows])] * 2
    places = np.random.default_rng(1).permutation(N)[:37]
    assert bits(gather(stored, places)) == bits(x[places])
    assert bits(gather(stored, np.array([3, 3, 102, 0, 3]))) == bits(x[[3, 3, 102, 0, 3]])
    assert gather(stored, np.array([], np.int64)).shape == (0, D)
    walk = Walk(stored)
    assert bits(np.concatenate([walk.next(n) for n in (3, 60, 0, 40)])) == bits(x)


def test_only_the_parts_of_the_rows_that_are_wanted_are_decoded(file, x, stays, monkeypatch):
    stored, begun = load_matrix(file(x)).x, []
    kind, pieces = type(stored), type(stored).pieces
    monkeypatch.setattr(
        kind, "pieces", lambda self, *rows: begun.append(rows) or pieces(self, *rows)
    )
    monkeypatch.setattr(stored, "edges", np.array([*range(0, N, PART), N]))
    gather(stored, np.array([57, 4, 51, 55]))
    assert begun == [(4, 5), (51, 58)]


def test_columns_are_chosen_without_being_read(file, x, stays, monkeypatch):
    path = file(x)
    names = [f"column {j}" for j in (4, 2)] if path.suffix == ".zarr" else ["d", "b"]
    chosen = Wanted(columns=tuple(names)).choose
    assert bits(np.asarray(load_matrix(path, choose=chosen).x)) == bits(x[:, [3, 1]])
    monkeypatch.setattr(Stored, "__array__", None)
    monkeypatch.setattr(Stored, "__getitem__", None)
    monkeypatch.setattr("twinplate.data.readers.read_statistics", None)
    known = Fitted(tuple(names), path.suffix == ".parquet", also=ALL)
    if path.suffix == ".parquet":
        assert load_items(path, chosen).shape == (N, 2)
        with pytest.raises(InputError, match="unknown: a, c"):
            load_items(path, known.choose)


def test_names_of_a_zarr_group(tmp_path, x):
    items = [f"item {n}" for n in range(N)]
    table = load_matrix(zarr_of(tmp_path / "x.zarr", x, columns=list(NAMES), items=items))
    assert table.columns == NAMES and table.items == tuple(items) and table.named
    zarr.save_array(tmp_path / "y.zarr", x.astype(np.float32))
    assert bits(load_matrix(tmp_path / "y.zarr").x) == bits(x.astype(np.float32).astype(float))
    message = refusal(load_matrix, zarr_of(tmp_path / "x.zarr", x, columns=["a"]))
    assert "1 name in `columns`" in message


def test_items_that_are_counted_or_named_are_no_features(tmp_path, x, stays, monkeypatch):
    counted = np.column_stack([np.arange(N), x])
    table = load_matrix(zarr_of(tmp_path / "x.zarr", counted))
    assert table.id_columns == ("column 1",) and bits(np.asarray(table.x)) == bits(x)
    path = parquet_of(tmp_path / "x.parquet", x, id=[f"item {n}" for n in range(N)])
    table = load_matrix(path)
    assert table.id_columns == ("id",) and table.items[7] == "item 7" and table.columns == NAMES
    monkeypatch.setattr("twinplate.data.parquet_file._texts", lambda source, columns: {})
    left = Fitted(NAMES, True, (), ("id",))  # names that nobody needs are not read
    assert bits(np.asarray(load_items(path, left.choose))) == bits(x)


def test_what_is_damaged_or_no_matrix_is_refused(tmp_path, x, stays):
    assert "x.zarr does not exist" in refusal(load_matrix, tmp_path / "x.zarr")
    (tmp_path / "x.zarr").mkdir()
    assert "no Zarr file" in refusal(load_matrix, tmp_path / "x.zarr")
    group = zarr.open_group(tmp_path / "x.zarr", mode="w")
    group.create_array("x", data=x[0])
    assert "expected two dimensions" in refusal(load_matrix, tmp_path / "x.zarr")
    path = zarr_of(tmp_path / "y.zarr", x)
    for chunk in (path / "x" / "c").rglob("*"):
        if chunk.is_file():
            chunk.write_bytes(chunk.read_bytes()[:-3])
    assert "truncated, damaged" in refusal(load_matrix, path)
    path = parquet_of(tmp_path / "x.parquet", x)
    content = path.read_bytes()
    path.write_bytes(content[:200] + bytes(400) + content[600:])
    assert "truncated, damaged" in refusal(load_matrix, path)


@pytest.mark.parametrize(
    ("filters", "why"),
    [(["pickle"], "no Zarr file"), (["vlen-utf8", "pickle"], "Python objects in `items`")],
)
def test_a_zarr_that_runs_what_it_decodes_is_refused(tmp_path, x, filters, why):
    """The second format knows a codec that unpickles. Zarr refuses it where it comes first."""
    place = zarr_of(tmp_path / "x.zarr", x, version=2)
    about = {"zarr_format": 2, "shape": [N], "chunks": [N], "dtype": "|O", "order": "C",
             "compressor": None, "fill_value": "", "filters": [{"id": f} for f in filters]}  # fmt: skip
    (place / "items").mkdir()
    (place / "items" / ".zarray").write_text(json.dumps(about))
    ran = tmp_path / "ran"
    (place / "items" / "0").write_bytes(f"cos\nsystem\n(S'touch {ran}'\ntR.".encode())
    assert why in refusal(load_matrix, place)
    assert not ran.exists()
